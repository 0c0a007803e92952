use super::super::PART_BYTES_MIN;
use super::super::sim::{Fault, Sim};
use super::super::statistics::Call;
use super::super::{counted::Counted, prefixed::Prefixed};
use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Bytes that count how often they are read and fail when told to.
#[derive(Debug)]
struct Watched {
    bytes: Bytes,
    reads: AtomicU64,
    reads_max: u64,
    uploaded: AtomicU64,
}

impl Watched {
    fn new(len: u64, reads_max: u64) -> Self {
        let bytes = (0..len).map(|i| (i % 251).to_le_bytes()[0]).collect();
        Self { bytes, reads: AtomicU64::new(0), reads_max, uploaded: AtomicU64::new(0) }
    }
}

#[async_trait]
impl Source for Watched {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        if self.reads.fetch_add(1, Ordering::Relaxed) >= self.reads_max {
            let source = Arc::new(std::io::Error::other("told to fail"));
            return Err(Error::Unreachable { action: "read".to_owned(), location: name.to_owned(), source });
        }
        Source::read(&self.bytes, name, range).await
    }

    fn uploaded(&self, bytes: u64) {
        self.uploaded.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn resume() -> std::io::Result<Resume> {
    let (env, _, _) = engine::env::sim::env(1);
    env.fs.create_dir_all(Path::new("/scratch"))?;
    Ok(Resume { fs: env.fs, path: Path::new("/scratch/state").to_path_buf() })
}

fn parts(resume: Option<Resume>) -> Large {
    Large { part_bytes: PART_BYTES_MIN, at_once: 2, resume }
}

const LEN: u64 = 4 * PART_BYTES_MIN + 3;

#[tokio::test]
async fn an_upload_goes_on_after_a_crash_and_sends_no_part_twice() -> TestResult {
    let (sim, resume) = (Sim::new(), resume()?);
    let counted = Counted::new(Arc::new(sim.clone()));
    let store = Prefixed::new(Arc::new(counted.clone()), "p/".to_owned());
    let large = parts(Some(resume.clone()));
    let cut_short = Watched::new(LEN, 3);
    assert!(large.put(&store, "a", &cut_short).await.is_err());
    let sent = counted.statistics().ok_or("it counts")?.of(Call::Part).count;
    assert!((1..5).contains(&sent), "{sent} parts were sent");
    let whole = Watched::new(LEN, u64::MAX);
    large.put(&store, "a", &whole).await?;
    assert_eq!(store.get("a", LEN).await?, whole.bytes);
    let statistics = counted.statistics().ok_or("it counts")?;
    assert_eq!((statistics.of(Call::Begin).count, statistics.of(Call::Part).count), (1, 5));
    assert_eq!(whole.uploaded.load(Ordering::Relaxed), LEN, "progress reaches the end");
    assert!(!resume.fs.exists(&resume.path)?, "nothing is left behind");
    Ok(())
}

#[tokio::test]
async fn only_writes_are_asked_for() -> TestResult {
    let store = Counted::new(Arc::new(Sim::new()));
    parts(Some(resume()?)).put(&store, "a", &Watched::new(LEN, u64::MAX)).await?;
    parts(None).put(&store, "b", &Watched::new(PART_BYTES_MIN, u64::MAX)).await?;
    let statistics = store.statistics().ok_or("it counts")?;
    let asked: Vec<Call> =
        statistics.calls().filter(|(_, calls)| calls.count > 0).map(|(call, _)| call).collect();
    assert_eq!(asked, [Call::Put, Call::Begin, Call::Part, Call::Complete]);
    Ok(())
}

#[tokio::test]
async fn a_store_without_multipart_takes_large_objects_whole() -> TestResult {
    let (sim, resume) = (Sim::new(), resume()?);
    sim.set_without_multipart();
    let whole = Watched::new(LEN, u64::MAX);
    parts(Some(resume.clone())).put(&sim, "a", &whole).await?;
    assert_eq!(sim.get("a", LEN).await?, whole.bytes);
    assert_eq!(whole.uploaded.load(Ordering::Relaxed), LEN);
    assert!(!resume.fs.exists(&resume.path)?);
    Ok(())
}

#[tokio::test]
async fn an_upload_that_the_store_forgot_begins_again() -> TestResult {
    let (sim, resume) = (Sim::new(), resume()?);
    let large = parts(Some(resume));
    assert!(large.put(&sim, "a", &Watched::new(LEN, 3)).await.is_err());
    let forgotten = Upload { name: "a".to_owned(), id: "1".to_owned(), part_bytes: PART_BYTES_MIN };
    sim.abort(&forgotten).await?;
    let whole = Watched::new(LEN, u64::MAX);
    large.put(&sim, "a", &whole).await?;
    assert_eq!(sim.get("a", LEN).await?, whole.bytes);
    Ok(())
}

#[tokio::test]
async fn the_upload_of_another_object_is_given_up_and_a_refusal_leaves_none() -> TestResult {
    let (sim, resume) = (Sim::new(), resume()?);
    let large = parts(Some(resume.clone()));
    assert!(large.put(&sim, "a", &Watched::new(LEN, 2)).await.is_err());
    assert_eq!(sim.open_uploads(), 1);
    large.put(&sim, "b", &Watched::new(LEN + 1, u64::MAX)).await?;
    assert_eq!(sim.open_uploads(), 0);
    let first = Watched::new(LEN, u64::MAX);
    // The upload begins; its first part is refused.
    sim.fail_in_order(&[None, Some(Fault::Refused)]);
    assert!(large.put(&sim, "c", &first).await.is_err_and(|error| !error.is_transient()));
    assert_eq!(sim.open_uploads(), 0, "it was given up");
    assert!(!resume.fs.exists(&resume.path)?);
    Ok(())
}

#[tokio::test]
async fn a_state_file_that_was_torn_or_is_not_ours_costs_parts_and_no_object() -> TestResult {
    let (sim, resume) = (Sim::new(), resume()?);
    let large = parts(Some(resume.clone()));
    assert!(large.put(&sim, "a", &Watched::new(LEN, 3)).await.is_err());
    let bytes = engine::fs::read_file(&*resume.fs, &resume.path, 1 << 20)?;
    for len in 0..=bytes.len() {
        resume.fs.remove(&resume.path)?;
        let file = resume.fs.create(&resume.path)?;
        file.write_at(&bytes[..len], 0)?;
        let object = state::Object {
            location: sim.location(),
            name: "a".to_owned(),
            len: LEN,
            part_bytes: PART_BYTES_MIN,
        };
        let first_line = bytes.iter().position(|byte| *byte == b'\n').ok_or("a line")? + 1;
        match state::load(&resume, &object)? {
            state::Found::Same(_, tags) => assert!(len >= first_line && tags.len() <= 3, "{len}"),
            state::Found::Nothing => assert!(len < first_line, "{len}"),
            state::Found::Other(_) => return Err("it is this object".into()),
        }
    }
    let whole = Watched::new(LEN, u64::MAX);
    large.put(&sim, "a", &whole).await?;
    assert_eq!(sim.get("a", LEN).await?, whole.bytes);
    Ok(())
}
