//! Tries out what a store can do, for people: correctness never rests on the result.
//!
//! - Everything is written below a fresh folder, and removed at the end; what could not be removed is named.
//! - A check that lacks a right says so and stops no other.

use super::{Error, ObjectStore, PART_BYTES_MIN, list_all};
use bytes::Bytes;
use engine::Random;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Writers that create the same object at the same time.
pub const CREATIONS: usize = 16;
/// Objects of the listing that is tried.
const LISTED: usize = 5;

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It does what it should; in a few words.
    Works(String),
    /// It does something else: what.
    Differs(String),
    /// It cannot do this at all.
    Unsupported,
    /// It said no, most likely because a right is missing: what it said.
    Refused(String),
    /// It could not be reached: what was said.
    Unreachable(String),
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What of ours uses it.
    pub used_by: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What a store can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The store.
    pub location: String,
    /// What was tried, in this order.
    pub checks: Vec<Check>,
    /// Objects that could not be removed.
    pub left: Vec<String>,
}

impl Report {
    /// Whether an archive can be written there.
    pub fn can_be_written(&self) -> bool {
        self.checks.first().is_some_and(|check| matches!(check.outcome, Outcome::Works(_)))
    }
}

type Tried = Result<Result<String, String>, Error>;

/// What holds, or the words for what does not.
fn holds(is: bool, works: impl Into<String>, differs: impl Into<String>) -> Tried {
    Ok(if is { Ok(works.into()) } else { Err(differs.into()) })
}

async fn check(name: &'static str, used_by: &'static str, trial: impl Future<Output = Tried>) -> Check {
    let began = Instant::now();
    let outcome = match trial.await {
        Ok(Ok(works)) => Outcome::Works(works),
        Ok(Err(differs)) => Outcome::Differs(differs),
        Err(Error::Unsupported { .. }) => Outcome::Unsupported,
        Err(error) if error.is_transient() => Outcome::Unreachable(with_causes(&error)),
        Err(error @ Error::Refused { .. }) => Outcome::Refused(with_causes(&error)),
        Err(error) => Outcome::Differs(with_causes(&error)),
    };
    Check { name, used_by, outcome, took: began.elapsed() }
}

fn with_causes(error: &Error) -> String {
    crate::error::with_causes(error)
}

/// Tries everything, then removes what it wrote.
pub async fn probe(store: &dyn ObjectStore, random: &dyn Random) -> Report {
    let mut id = [0; 16];
    random.fill(&mut id);
    let trial = Trial { store, folder: format!("probe-{:032x}", u128::from_be_bytes(id)) };
    let mut checks = vec![
        check("write", "shipping", trial.write()).await,
        check("write again", "shipping", trial.write()).await,
        check("multipart", "checkpoints", trial.multipart()).await,
        check("read", "restore", trial.read()).await,
        check("read a range", "restore", trial.read_range()).await,
        check("list from a name", "restore, retention", trial.list()).await,
        check("create once", "nothing", trial.create()).await,
    ];
    let mut left = Vec::new();
    checks.push(check("remove", "retention", trial.remove(&mut left)).await);
    Report { location: store.location(), checks, left }
}

struct Trial<'a> {
    store: &'a dyn ObjectStore,
    folder: String,
}

impl Trial<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// The bytes of the small object: each value once.
    fn bytes() -> Bytes {
        (0..=255u8).collect()
    }

    fn listed(&self) -> Vec<String> {
        (0..LISTED).map(|number| self.name(&format!("list/{number}"))).collect()
    }

    /// Every name that may have been written.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["object", "parts", "once"].map(|name| self.name(name)).to_vec();
        names.extend(self.listed());
        names
    }

    async fn write(&self) -> Tried {
        self.store.put(&self.name("object"), Self::bytes()).await?;
        Ok(Ok(String::new()))
    }

    async fn read(&self) -> Tried {
        let bytes = self.store.get(&self.name("object"), 1 << 10).await?;
        holds(bytes == Self::bytes(), "", format!("{} other bytes came back", bytes.len()))
    }

    async fn read_range(&self) -> Tried {
        let bytes = self.store.get_range(&self.name("object"), 7..19).await?;
        let right = bytes == Self::bytes().slice(7..19);
        holds(right, "", format!("{} other bytes came back", bytes.len()))
    }

    async fn list(&self) -> Tried {
        let names = self.listed();
        for name in &names {
            self.store.put(name, Bytes::from_static(b"1")).await?;
        }
        let page = self.store.list(&self.name("list/"), Some(&names[1])).await?;
        let found: Vec<String> = page.objects.into_iter().map(|object| object.name).collect();
        if found == names[2..] {
            return Ok(Ok(String::new()));
        }
        let all = list_all(self.store, &self.name("list/")).await?;
        Ok(Err(format!("{} of {} objects after the second, {} in all", found.len(), LISTED - 2, all.len())))
    }

    async fn multipart(&self) -> Tried {
        let (name, last) = (self.name("parts"), Bytes::from_static(b"the end"));
        let first = Bytes::from(vec![7; usize::try_from(PART_BYTES_MIN).unwrap_or(usize::MAX)]);
        let upload = self.store.begin(&name, PART_BYTES_MIN).await?;
        let parts = async {
            let second = self.store.part(&upload, 2, last.clone()).await?;
            let tags = [self.store.part(&upload, 1, first).await?, second];
            self.store.complete(&upload, &tags).await
        };
        if let Err(error) = parts.await {
            if let Err(error) = self.store.abort(&upload).await {
                tracing::warn!(name, %error, "an upload is left behind");
            }
            return Err(error);
        }
        // Who may only write learns no more than that it was taken.
        match self.store.get_range(&name, PART_BYTES_MIN - 1..PART_BYTES_MIN + 7).await {
            Ok(bytes) => {
                holds(bytes[..] == *b"\x07the end", "2 parts", "the parts do not make up the object")
            }
            Err(error @ Error::NotFound { .. }) => Err(error),
            Err(_) => Ok(Ok("2 parts, not read".to_owned())),
        }
    }

    async fn create(&self) -> Tried {
        let name = self.name("once");
        let bytes = |writer: usize| Bytes::from(format!("writer {writer:02}"));
        let created = join_all((0..CREATIONS).map(|writer| self.store.create(&name, bytes(writer)))).await;
        let winners: Vec<usize> =
            (0..CREATIONS).filter(|writer| matches!(created[*writer], Ok(true))).collect();
        // Some servers fail a writer that meets another one; when each fails, the request itself is what they do not know.
        let failed = created.iter().filter(|created| created.is_err()).count();
        if failed == created.len()
            && let Some(Err(error)) = created.into_iter().next()
        {
            return Err(error);
        }
        let [winner] = winners[..] else {
            return Ok(Err(format!(
                "{} of {CREATIONS} writers at once were told that they created it",
                winners.len()
            )));
        };
        match self.store.get(&name, 1 << 10).await {
            Ok(there) => {
                let works = format!("1 of {CREATIONS} writers at once");
                holds(there == bytes(winner), works, "the writer that was told so did not create it")
            }
            Err(error @ Error::NotFound { .. }) => Err(error),
            Err(_) => Ok(Ok(format!("1 of {CREATIONS} writers at once, not read"))),
        }
    }

    async fn remove(&self, left: &mut Vec<String>) -> Tried {
        let names = self.names();
        let removals = names.iter().map(|name| async move { (name, self.store.delete(name).await) });
        let removed: Vec<_> = stream::iter(removals).buffer_unordered(4).collect().await;
        let mut first = None;
        for (name, done) in removed {
            if let Err(error) = done {
                left.push(name.clone());
                first.get_or_insert(error);
            }
        }
        left.sort_unstable();
        if let Some(error) = first {
            return Err(error);
        }
        match self.store.list(&self.folder, None).await {
            Ok(page) => {
                left.extend(page.objects.into_iter().map(|object| object.name));
                holds(left.is_empty(), "", format!("{} objects are still listed", left.len()))
            }
            Err(_) => Ok(Ok("not listed".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::Local;
    use super::super::sim::{Fault, Sim};
    use super::*;
    use engine::env::sim::SimRandom;

    fn outcomes(report: &Report) -> Vec<(&str, bool)> {
        report.checks.iter().map(|check| (check.name, matches!(check.outcome, Outcome::Works(_)))).collect()
    }

    #[tokio::test]
    async fn a_directory_can_do_everything_and_is_empty_again() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let store = Local::new(directory.path().to_path_buf());
        let report = probe(&store, &SimRandom::new(1)).await;
        assert!(outcomes(&report).iter().all(|(_, works)| *works), "{report:?}");
        assert!(report.left.is_empty() && report.can_be_written());
        assert!(list_all(&store, "").await?.is_empty());
        Ok(())
    }

    #[tokio::test]
    async fn what_does_not_work_is_told_apart_and_what_is_left_is_named() {
        let sim = Sim::new();
        // Both writes; begin and its first part, which is refused; then everything goes well but the removals.
        sim.fail_in_order(&[None, None, None, Some(Fault::Refused)]);
        let report = probe(&sim, &SimRandom::new(1)).await;
        let failed: Vec<&Check> =
            report.checks.iter().filter(|check| !matches!(check.outcome, Outcome::Works(_))).collect();
        assert!(
            matches!(&failed[..], [Check { name: "multipart", outcome: Outcome::Refused(_), .. }]),
            "{failed:?}"
        );
        assert_eq!((sim.names().len(), sim.open_uploads()), (0, 0));
        sim.set_down(true);
        let report = probe(&sim, &SimRandom::new(2)).await;
        assert!(
            report.checks.iter().all(|check| matches!(check.outcome, Outcome::Unreachable(_))),
            "{report:?}"
        );
        assert!(!report.can_be_written() && report.left.len() == 8, "{report:?}");
    }

    #[tokio::test]
    async fn a_store_that_lies_about_creations_is_seen() {
        let sim = Sim::new();
        let trial = Trial { store: &sim, folder: "probe-x".to_owned() };
        sim.fail_in_order(&[Some(Fault::Lied), None]);
        let seen = check("create once", "", trial.create()).await;
        assert!(matches!(&seen.outcome, Outcome::Differs(what) if what.starts_with("2 of 16")), "{seen:?}");
    }
}
