//! Whether a directory lacks commits that its archive holds under the same lineage.
//!
//! Only what follows the last recorded progress is listed, so that the question stays cheap however old the
//! archive is. An archive that does not answer, or may only be written to, is no reason not to serve.

use crate::connect::errors::Chain;
use archiver::layout::{Kind, LINEAGES, LineageFolder, Name};
use archiver::ship::{ProgressMark, target_of};
use archiver::store::{self, ObjectStore};
use engine::{Engine, Versionstamp};
use std::time::Duration;

/// How long a start waits for the archive to say what it holds.
const ASK: Duration = Duration::from_secs(10);

/// The directory lacks commits that its archive holds. Restore them, or give them up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this directory ends at versionstamp {ours}, and its archive {location} holds commits up to {archived}: \
     restore the archive into another directory, or give those up with cairn recover --accept-loss"
)]
pub struct Behind {
    /// The last commit in the directory.
    pub ours: Versionstamp,
    /// The last commit found in the archive.
    pub archived: Versionstamp,
    /// The archive.
    pub location: String,
}

/// Refuses an engine that is behind its archive: it would give the same versionstamps again.
///
/// # Errors
///
/// [`Behind`] with both ends.
pub async fn refuse_if_behind(engine: &Engine, group: u64, store: &dyn ObjectStore) -> Result<(), Behind> {
    let ours = engine.applied().stamp;
    let location = store.location();
    match tokio::time::timeout(ASK, last_archived(engine, group, store)).await {
        Ok(Ok(Some(archived))) if archived > ours => Err(Behind { ours, archived, location }),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            let error = Chain(&error).to_string();
            tracing::info!(location, error, "cannot ask the archive whether it is ahead");
            Ok(())
        }
        Err(_elapsed) => {
            tracing::info!(location, "the archive did not say in time whether it is ahead");
            Ok(())
        }
    }
}

/// The last commit of the engine's lineage in the archive, of those after what is known to be there.
async fn last_archived(
    engine: &Engine,
    group: u64,
    store: &dyn ObjectStore,
) -> store::Result<Option<Versionstamp>> {
    let lineage = engine.lineage();
    let mark = ProgressMark::read(engine, group, target_of(&store.location()));
    let known = mark.map_or(Versionstamp::ZERO, |mark| mark.shipped());
    let folder = format!("{LINEAGES}{}/groups/{group}/segments/", LineageFolder::from(lineage));
    let mut after = format!("{folder}{known}");
    let mut last = None;
    loop {
        let page = store.list(&folder, Some(&after)).await?;
        last = last.max(page.objects.iter().filter_map(|object| segment_end(&object.name, group)).max());
        match page.objects.last() {
            Some(object) if page.more => after.clone_from(&object.name),
            _ => return Ok(last),
        }
    }
}

fn segment_end(name: &str, group: u64) -> Option<Versionstamp> {
    match Name::parse(name)?.kind {
        Kind::Segment(of, segment) if of == group => Some(segment.last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeClock, TestResult};
    use archiver::layout::{Digest, SegmentName, ShortHash};
    use archiver::store::sim::Sim as Bucket;
    use bytes::Bytes;
    use engine::fs::sim::Sim as Disk;
    use engine::{LineageId, Options, WriteBatch};

    const GROUP: u64 = 1;

    fn segment(epoch: u32, id: LineageId, last: u64) -> String {
        let name = SegmentName {
            first: Versionstamp::new(1, 0),
            last: Versionstamp::new(last, 0),
            base: Versionstamp::ZERO,
            hash_before: ShortHash([0; 8]),
            hash_after: ShortHash([1; 8]),
            first_ms: 1,
            last_ms: 2,
            term: 0,
            node: 1,
            digest: Digest([2; 16]),
            sealed: false,
        };
        Name { lineage: LineageFolder { epoch, id }, kind: Kind::Segment(GROUP, name) }.to_string()
    }

    fn engine_with_a_commit() -> Result<Engine, Box<dyn std::error::Error>> {
        let engine = crate::testing::engine(&Disk::new(), &FakeClock::at(1), Options::default())?;
        let mut batch = WriteBatch::new();
        batch.put(b"k", b"v", None)?;
        engine.commit(batch)?;
        Ok(engine)
    }

    #[tokio::test]
    async fn a_directory_that_lacks_archived_commits_is_refused() -> TestResult {
        let (engine, bucket) = (engine_with_a_commit()?, Bucket::new());
        let (ours, id) = (engine.applied().stamp, engine.lineage().id);
        let ask = || refuse_if_behind(&engine, GROUP, &bucket);
        assert_eq!(ask().await, Ok(()), "an empty archive");
        bucket.put(&segment(0, id, ours.version()), Bytes::new()).await?;
        assert_eq!(ask().await, Ok(()), "an archive that ends where we do");
        bucket.put(&segment(0, LineageId([9; 16]), 99), Bytes::new()).await?;
        bucket.put(&segment(1, id, 99), Bytes::new()).await?;
        assert_eq!(ask().await, Ok(()), "other lineages");
        bucket.put(&segment(0, id, 7), Bytes::new()).await?;
        let behind = Behind { ours, archived: Versionstamp::new(7, 0), location: bucket.location() };
        assert_eq!(ask().await, Err(behind));
        Ok(())
    }

    #[tokio::test]
    async fn an_archive_that_does_not_answer_is_no_reason_to_refuse() -> TestResult {
        let (engine, bucket) = (engine_with_a_commit()?, Bucket::new());
        bucket.put(&segment(0, engine.lineage().id, 7), Bytes::new()).await?;
        bucket.set_down(true);
        assert_eq!(refuse_if_behind(&engine, GROUP, &bucket).await, Ok(()));
        Ok(())
    }

    #[tokio::test]
    async fn a_new_lineage_may_go_on_from_where_the_directory_ends() -> TestResult {
        let (engine, bucket) = (engine_with_a_commit()?, Bucket::new());
        bucket.put(&segment(0, engine.lineage().id, 7), Bytes::new()).await?;
        engine.begin_lineage(LineageId([5; 16]))?;
        assert_eq!(refuse_if_behind(&engine, GROUP, &bucket).await, Ok(()));
        Ok(())
    }
}
