//! What every store must do, as one suite that each implementation runs.

use super::{Error, ObjectStore, PAGE_OBJECTS_MAX, list_all};
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

/// Runs the suite against an empty store, which is empty again afterwards.
///
/// # Errors
///
/// The sentence that does not hold, or what the store said.
pub async fn run(store: &dyn ObjectStore) -> Result<(), String> {
    objects_come_back(store).await?;
    absent_objects_are_told_apart(store).await?;
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
