use super::*;
use engine::env::sim::env;
use engine::{ContentHash, Options};
use std::path::Path;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn prefixes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn what_is_erased_holds_every_other_key_and_no_wanted_one() -> TestResult {
    let (env, _disk, _clock) = env(1);
    let (engine, _) = Engine::open(env, Path::new("/db"), Options::default())?;
    let keys = ["a", "ab", "abc", "abd", "b", "ba", "bab", "c\u{7f}", "z"];
    let mut batch = WriteBatch::new();
    for key in keys {
        batch.put(key.as_bytes(), b"1", Some(1))?;
    }
    batch.put(&[0xff, 0xff, 1], b"1", None)?;
    engine.commit(batch)?;
    for wanted in [&["ab"][..], &["ab", "b"], &["abd", "bab"], &["zz"], &["a", "ab"], &["q"]] {
        let wanted = prefixes(wanted);
        let erased = others(&engine, &wanted)?;
        for key in keys.iter().map(|key| key.as_bytes()).chain([&[0xff, 0xff, 1][..]]) {
            let is_wanted = wanted.iter().any(|prefix| key.starts_with(prefix));
            let is_erased = erased.iter().any(|other| match other {
                Other::Key(other) => key == other,
                Other::Below(prefix) => key.starts_with(prefix),
            });
            assert_ne!(is_wanted, is_erased, "{key:?} of {wanted:?}: {erased:?}");
        }
    }
    Ok(())
}

#[test]
fn a_record_keeps_what_is_in_the_scope() -> TestResult {
    let mut mixed = WriteBatch::new();
    mixed.put(b"ours1", b"v", Some(9))?;
    mixed.put(b"theirs", b"v", None)?;
    mixed.delete(b"ours2")?;
    mixed.delete_prefix(b"theirs")?;
    mixed.delete_prefix(b"ou")?;
    let mut theirs = WriteBatch::new();
    theirs.put(b"theirs", b"v", None)?;
    let batches = vec![(1, mixed), (2, theirs)];
    let record =
        Record { version: 1, term: 0, time_ms: 1, hash: ContentHash::EMPTY, batches, marks: Vec::new() };
    assert_eq!(Scope::All.narrow(record.clone()), record);
    let narrowed = Scope::Prefixes(prefixes(&["ours"])).narrow(record);
    let mut expected = WriteBatch::new();
    expected.put(b"ours1", b"v", Some(9))?;
    expected.delete(b"ours2")?;
    expected.delete_prefix(b"ou")?;
    assert_eq!(narrowed.batches, [(1, expected)]);
    Ok(())
}

#[test]
fn the_end_of_a_prefix_is_after_all_of_its_keys() {
    assert_eq!(after(b"a".to_vec()), Some(b"b".to_vec()));
    assert_eq!(after(vec![1, 0xff, 0xff]), Some(vec![2]));
    assert_eq!(after(vec![0xff]), None);
    assert_eq!(after(Vec::new()), None);
}
