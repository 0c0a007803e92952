use super::*;
use engine::env::sim::env;
use engine::{ContentHash, Options};
use std::path::Path;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn prefixes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn a_key_of_somebody_else_is_found_and_refused_and_no_wanted_one_is() -> TestResult {
    let (env, _disk, _clock) = env(1);
    let (engine, _) = Engine::open(env, Path::new("/db"), Options::default())?;
    let keys = ["a", "ab", "abc", "abd", "b", "ba", "bab", "c\u{7f}"];
    let mut batch = WriteBatch::new();
    for key in keys {
        // Long expired.
        batch.put(key.as_bytes(), b"1", Some(1))?;
    }
    batch.put(&[0xff, 0xff, 1], b"1", None)?;
    engine.commit(batch)?;
    let high = [0xff];
    for (wanted, first) in [
        (&["ab"][..], Some(&b"a"[..])),
        (&["a"], Some(b"b")),
        (&["a", "b"], Some(b"c\x7f")),
        (&["a", "b", "c"], Some(&[0xff, 0xff, 1])),
        (&["zz"], Some(b"a")),
        (&[""], None),
    ] {
        let wanted = prefixes(wanted);
        assert_eq!(stray(&engine, &wanted)?.as_deref(), first, "{wanted:?}");
    }
    let all = [prefixes(&["a", "b", "c"]), vec![high.to_vec()]].concat();
    assert_eq!(stray(&engine, &all)?, None);
    let before = engine.applied().stamp;
    let refused = Scope::Prefixes(prefixes(&["a", "b"])).begin(&engine);
    assert!(matches!(&refused, Err(Error::Differs { what }) if what.contains("637f")), "{refused:?}");
    assert_eq!(engine.applied().stamp, before, "and nothing is committed");
    Scope::Prefixes(all).begin(&engine)?;
    assert!(engine.applied().stamp > before, "it begins with a commit of its own");
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
