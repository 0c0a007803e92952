//! What every store must do, as one suite that each implementation runs.

use super::{Error, ObjectStore, PAGE_OBJECTS_MAX, PART_BYTES_MIN, Tag, list_all};
use bytes::Bytes;

fn ensure(holds: bool, sentence: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("a store must conform: {sentence}")) }
}

fn text(error: Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What a real server was seen to lack, and an archive can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacks {
    /// Multipart uploads (`rclone serve s3` answers them with another document than S3 does).
    Multipart,
    /// The word that an upload is gone (moto answers with an internal error).
    NoUpload,
}

/// Runs the suite against an empty store, which is empty again afterwards.
///
/// # Errors
///
/// The sentence that does not hold, or what the store said.
pub async fn run(store: &dyn ObjectStore) -> Result<(), String> {
    run_but(store, None).await
}

/// Runs the suite but for what the store lacks, which it must lack.
///
/// # Errors
///
/// The sentence that does not hold, or what the store said.
pub async fn run_but(store: &dyn ObjectStore, lacks: Option<Lacks>) -> Result<(), String> {
    objects_come_back(store).await?;
    absent_objects_are_told_apart(store).await?;
    ranges_come_back(store).await?;
    if lacks == Some(Lacks::Multipart) {
        let begun = store.begin("whole/x", PART_BYTES_MIN).await;
        ensure(matches!(begun, Err(Error::Unsupported { .. })), "what cannot be done is said to be so")?;
    } else {
        parts_become_an_object(store).await?;
        uploads_can_be_given_up(store, lacks != Some(Lacks::NoUpload)).await?;
    }
    listings_are_sorted_and_paged(store).await?;
    for object in list_all(store, "").await.map_err(text)? {
        store.delete(&object.name).await.map_err(text)?;
    }
    ensure(list_all(store, "").await.map_err(text)?.is_empty(), "a deleted object is listed no more")
}

async fn objects_come_back(store: &dyn ObjectStore) -> Result<(), String> {
    let large: Bytes = (0..3_000_000u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    for (name, bytes) in
        [("a/empty", Bytes::new()), ("a/small.x", Bytes::from_static(b"\0\xff")), ("b", large)]
    {
        store.put(name, bytes.clone()).await.map_err(text)?;
        store.put(name, bytes.clone()).await.map_err(text)?;
        let len = bytes.len() as u64;
        ensure(store.get(name, len).await.map_err(text)? == bytes, "the bytes put are the bytes got")?;
        if len > 0 {
            let result = store.get(name, len - 1).await;
            ensure(matches!(result, Err(Error::TooLarge { .. })), "more than is allowed is not read")?;
        }
    }
    let result = store.put("a/../b", Bytes::new()).await;
    ensure(matches!(result, Err(Error::Name { .. })), "a name that leaves the store is refused")
}

async fn ranges_come_back(store: &dyn ObjectStore) -> Result<(), String> {
    let bytes: Bytes = (0..=255u8).collect();
    store.put("ranges", bytes.clone()).await.map_err(text)?;
    store.put("ranges.empty", Bytes::new()).await.map_err(text)?;
    for (range, expected) in [
        (0..256, bytes.clone()),
        (0..1, bytes.slice(0..1)),
        (7..19, bytes.slice(7..19)),
        (250..300, bytes.slice(250..)),
        (255..256, bytes.slice(255..)),
        (256..300, Bytes::new()),
        (1_000..2_000, Bytes::new()),
        (5..5, Bytes::new()),
    ] {
        let got = store.get_range("ranges", range.clone()).await.map_err(text)?;
        ensure(
            got == expected,
            &format!("bytes {range:?} of an object are those, not {} others", got.len()),
        )?;
    }
    let nothing = store.get_range("ranges.empty", 0..10).await.map_err(text)?;
    ensure(nothing.is_empty(), "an empty object has no bytes in any range")?;
    let result = store.get_range("absent", 0..10).await;
    ensure(matches!(result, Err(Error::NotFound { .. })), "an absent object has no range")
}

async fn parts_become_an_object(store: &dyn ObjectStore) -> Result<(), String> {
    let part_len = usize::try_from(PART_BYTES_MIN).map_err(|error| error.to_string())?;
    let part = |seed: u8| -> Bytes {
        (0..PART_BYTES_MIN).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1] ^ seed).collect()
    };
    let (first, second, last) = (part(1), part(2), Bytes::from_static(b"the rest"));
    let upload = store.begin("whole/x", PART_BYTES_MIN).await.map_err(text)?;
    // Out of order, and one twice.
    let three = store.part(&upload, 3, last.clone()).await.map_err(text)?;
    let one = store.part(&upload, 1, first.clone()).await.map_err(text)?;
    store.part(&upload, 2, second.clone()).await.map_err(text)?;
    let two = store.part(&upload, 2, second.clone()).await.map_err(text)?;
    ensure(store.get("whole/x", 1).await.is_err(), "what is not complete is not an object")?;
    let listed = list_all(store, "whole").await.map_err(text)?;
    ensure(listed.is_empty(), "what is not complete is not listed")?;
    let tags: [Tag; 3] = [one, two, three];
    store.complete(&upload, &tags).await.map_err(text)?;
    let whole = [first, second, last].concat();
    let len = whole.len() as u64;
    ensure(store.get("whole/x", len).await.map_err(text)? == whole, "the parts make up the object")?;
    let at = part_len as u64 - 2;
    let got = store.get_range("whole/x", at..at + 4).await.map_err(text)?;
    ensure(got == whole[part_len - 2..part_len + 2], "a range may cross two parts")?;
    let listed = list_all(store, "whole").await.map_err(text)?;
    ensure(listed.len() == 1 && listed[0].bytes == len, "what is complete is listed with its size")?;
    let again = store.part(&upload, 1, Bytes::from_static(b"late")).await;
    ensure(again.is_err(), "a completed upload takes no part")?;
    ensure(store.get("whole/x", len).await.map_err(text)? == whole, "a late part changes nothing")
}

async fn uploads_can_be_given_up(store: &dyn ObjectStore, told_apart: bool) -> Result<(), String> {
    let gone = |error: Option<Error>| match error {
        Some(Error::NoUpload { .. }) => told_apart,
        Some(_) => !told_apart,
        None => false,
    };
    let upload = store.begin("whole/y", PART_BYTES_MIN).await.map_err(text)?;
    let tag = store.part(&upload, 1, Bytes::from_static(b"1")).await.map_err(text)?;
    store.abort(&upload).await.map_err(text)?;
    store.abort(&upload).await.map_err(text)?;
    let result = store.complete(&upload, &[tag]).await;
    ensure(gone(result.err()), "an upload that was given up cannot be completed")?;
    let result = store.part(&upload, 2, Bytes::from_static(b"2")).await;
    ensure(gone(result.err()), "an upload that was given up takes no part")?;
    let result = store.get("whole/y", 1).await;
    ensure(matches!(result, Err(Error::NotFound { .. })), "an upload that was given up leaves no object")?;
    let result = store.begin("a/../b", PART_BYTES_MIN).await;
    ensure(
        matches!(result, Err(Error::Name { .. })),
        "an upload under a name that leaves the store is refused",
    )
}

async fn absent_objects_are_told_apart(store: &dyn ObjectStore) -> Result<(), String> {
    for name in ["absent", "a/absent", "a"] {
        let result = store.get(name, 10).await;
        ensure(matches!(result, Err(Error::NotFound { .. })), "an absent object is not found")?;
    }
    store.delete("a/absent").await.map_err(text)?;
    store.delete("a/small.x").await.map_err(text)?;
    store.delete("a/small.x").await.map_err(text)?;
    let result = store.get("a/small.x", 10).await;
    ensure(matches!(result, Err(Error::NotFound { .. })), "a deleted object is not found")
}

async fn listings_are_sorted_and_paged(store: &dyn ObjectStore) -> Result<(), String> {
    let count = PAGE_OBJECTS_MAX + 3;
    // Names that sort differently as paths than as bytes.
    for name in ["l-1/x", "l/x", "l.y", "l0"] {
        store.put(name, Bytes::from_static(b"1")).await.map_err(text)?;
    }
    let names: Vec<String> = (0..count).map(|i| format!("many/{i:05}")).collect();
    for name in &names {
        store.put(name, Bytes::from_static(b"22")).await.map_err(text)?;
    }
    let found = list_all(store, "l").await.map_err(text)?;
    let found: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
    ensure(found == ["l-1/x", "l.y", "l/x", "l0"], "names are sorted as bytes, and a prefix is no folder")?;
    let first = store.list("many/", None).await.map_err(text)?;
    ensure(first.more && first.objects.len() <= PAGE_OBJECTS_MAX, "a page is bounded")?;
    let all = list_all(store, "many/").await.map_err(text)?;
    ensure(all.iter().map(|object| &object.name).eq(&names), "the pages make up the listing")?;
    ensure(all.iter().all(|object| object.bytes == 2), "a listing says the size")?;
    let rest = store.list("many/", Some(&names[count - 3])).await.map_err(text)?;
    ensure(rest.objects.len() == 2 && !rest.more, "a listing starts after a name")
}
