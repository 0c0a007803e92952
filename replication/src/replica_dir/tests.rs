//! One directory counts at every moment: the power goes at every operation of each step, and the next open is stopped as
//! well.

use super::*;
use crate::raft_snapshot::tests::{Content, Fault, Node, TestResult, content, options, transfer};
use crate::raft_snapshot::{Destination, Outgoing};
use engine::fs::sim::{Faults, Sim, Unsynced};

const GROUPS: &str = "/groups";
const GROUP: GroupId = GroupId(1);

/// What a crash may leave of unsynced writes.
fn leftovers(point: u64) -> Vec<Unsynced> {
    let reordered = (0..3).map(|seed| Unsynced::Reordered(point << 8 | seed));
    [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(point)].into_iter().chain(reordered).collect()
}

fn resolve(disk: &Sim) -> Result<ReplicaDir, Error> {
    ReplicaDir::open(Arc::new(disk.clone()), Path::new(GROUPS), GROUP)
}

/// A replica with some keys, and a leader with more.
struct Pair {
    leader: Node,
    replica: Node,
}

impl Pair {
    fn new() -> engine::Result<Self> {
        Ok(Self { leader: Node::with_keys(1, 0..9)?, replica: Node::with_keys(2, 0..4)? })
    }

    fn disk(&self) -> &Sim {
        &self.replica.disk
    }

    fn open(&self, dir: &Path) -> engine::Result<Engine> {
        Engine::open(self.replica.env.clone(), dir, options()).map(|(engine, _)| engine)
    }

    /// Receives the leader's snapshot where the next install looks for it.
    fn receive(&self, dirs: &ReplicaDir) -> Result<Received, Box<dyn std::error::Error>> {
        let into = Destination::in_place_of(&self.replica.engine, &dirs.incoming());
        Ok(transfer(self.leader.outgoing()?, into, Fault::default()).whole()?.0)
    }

    fn install(&self, dirs: &mut ReplicaDir, received: &Received) -> Result<Engine, Error> {
        let engine = dirs.install(received, |dir| self.open(dir))?;
        // A disk that stopped is what the tests want.
        let _closed = self.replica.engine.close();
        dirs.remove_replaced()?;
        Ok(engine)
    }

    fn names(&self) -> std::io::Result<Vec<String>> {
        self.disk().read_dir(Path::new(GROUPS))
    }
}

#[test]
fn a_new_group_and_one_of_an_earlier_version_live_in_the_directory_of_their_number() -> TestResult {
    let disk = Sim::new();
    let dirs = resolve(&disk)?;
    assert_eq!((dirs.engine_dir(), dirs.awaits_snapshot()), (PathBuf::from("/groups/1"), false));
    let pair = Pair::new()?;
    let before = content(&pair.replica.engine)?;
    pair.replica.engine.close()?;
    let dirs = resolve(pair.disk())?;
    pair.disk().crash(Unsynced::Lost);
    assert_eq!(content(&pair.open(&dirs.engine_dir())?)?, before);
    Ok(())
}

#[test]
fn an_installed_snapshot_counts_and_what_it_replaced_is_removed() -> TestResult {
    let pair = Pair::new()?;
    let mut dirs = resolve(pair.disk())?;
    let received = pair.receive(&dirs)?;
    let engine = pair.install(&mut dirs, &received)?;
    assert_eq!(content(&engine)?, content(&pair.leader.engine)?);
    assert_eq!(pair.names()?, ["1.current", "1.r1"]);
    assert_eq!((dirs.engine_dir(), dirs.incoming()), ("/groups/1.r1".into(), "/groups/1.r2".into()));
    // What the engine wrote afterwards is in the directory that counts.
    let tables = engine.dir().join("tables");
    assert!(tables.starts_with("/groups/1.r1"));
    Ok(())
}

#[test]
fn a_snapshot_that_opens_elsewhere_than_it_was_received_at_is_not_installed() -> TestResult {
    let pair = Pair::new()?;
    let mut dirs = resolve(pair.disk())?;
    let received = pair.receive(&dirs)?;
    let wrong = dirs.install(&received, |_| Ok(pair.replica.engine.clone()));
    assert!(matches!(wrong, Err(Error::Position { expected: 9, opened: 4, .. })), "{wrong:?}");
    assert_eq!(dirs.engine_dir(), Path::new("/groups/1"));
    assert_eq!(resolve(pair.disk())?.engine_dir(), Path::new("/groups/1"));
    Ok(())
}

#[test]
fn strays_of_this_group_are_removed_and_nothing_else_is() -> TestResult {
    let pair = Pair::new()?;
    let kept = ["1.r1", "11", "11.r7", "2.out0", "1.r01", "1.rx", "1.out", "1x", "1.current.old", "10.r2"];
    let strays = ["1.r2", "1.r900", "1.out0", "1.out31"];
    for name in kept.iter().chain(&strays) {
        pair.disk().create_dir_all(&Path::new(GROUPS).join(name).join("below"))?;
    }
    resolve(pair.disk())?;
    let mut expected: Vec<_> = kept.iter().chain(&["1"]).map(|name| (*name).to_owned()).collect();
    expected.sort();
    assert_eq!(pair.names()?, expected);
    Ok(())
}

#[test]
fn checkpoints_that_are_being_sent_outlive_an_install() -> TestResult {
    let pair = Pair::new()?;
    let mut dirs = resolve(pair.disk())?;
    let sending = Outgoing::prepare(&pair.replica.engine, &dirs.outgoing(3))?;
    let received = pair.receive(&dirs)?;
    pair.install(&mut dirs, &received)?;
    assert_eq!(pair.names()?, ["1.current", "1.out3", "1.r1"]);
    drop(sending);
    assert_eq!(pair.names()?, ["1.current", "1.r1"]);
    Ok(())
}

#[test]
fn a_replica_that_was_set_aside_stays_and_gives_its_tables_to_the_next_one() -> TestResult {
    let mut pair = Pair::new()?;
    let mut dirs = resolve(pair.disk())?;
    let received = pair.receive(&dirs)?;
    pair.replica.engine = pair.install(&mut dirs, &received)?;
    pair.replica.engine.close()?;
    let aside = dirs.set_aside()?;
    assert_eq!((aside.as_path(), dirs.awaits_snapshot()), (Path::new("/groups/1.r1"), true));
    assert_eq!(pair.names()?, ["1.current", "1.r1"]);
    let mut dirs = resolve(pair.disk())?;
    assert!(dirs.awaits_snapshot());
    assert_eq!(dirs.aside()?, std::slice::from_ref(&aside));
    let fs: Arc<dyn Fs> = Arc::new(pair.disk().clone());
    let into = Destination::in_place_of_nothing(fs, &dirs.incoming(), None, 9, 0).saving_from(&aside);
    let (received, moved) = transfer(pair.leader.outgoing()?, into, Fault::default()).whole()?;
    assert!(moved.held > moved.moved, "{moved:?}");
    pair.replica.engine = pair.install(&mut dirs, &received)?;
    assert_eq!(content(&pair.replica.engine)?, content(&pair.leader.engine)?);
    assert_eq!(pair.names()?, ["1.current", "1.r1", "1.r4"]);
    assert!(!resolve(pair.disk())?.awaits_snapshot());
    Ok(())
}

#[test]
fn no_more_than_a_few_damaged_replicas_are_kept_and_none_is_removed_for_another() -> TestResult {
    let pair = Pair::new()?;
    let mut dirs = resolve(pair.disk())?;
    for _ in 0..ASIDE_MAX {
        let dir = dirs.set_aside()?;
        pair.disk().create_dir_all(&dir)?;
    }
    let refused = dirs.set_aside();
    assert!(matches!(refused, Err(Error::Aside { .. })), "{refused:?}");
    let aside = resolve(pair.disk())?.aside()?;
    assert_eq!(aside.len(), ASIDE_MAX);
    // A person removes one.
    pair.disk().remove_dir_all(&aside[1])?;
    dirs.set_aside()?;
    assert_eq!(resolve(pair.disk())?.aside()?.len(), ASIDE_MAX - 1);
    Ok(())
}

#[test]
fn a_damaged_pointer_and_a_missing_engine_are_refused_by_name() -> TestResult {
    let pair = Pair::new()?;
    let mut dirs = resolve(pair.disk())?;
    let received = pair.receive(&dirs)?;
    drop(pair.install(&mut dirs, &received)?);
    let copy = pair.disk().fork();
    copy.flip_bit(Path::new("/groups/1.current"), 24, 1)?;
    let damaged = resolve(&copy);
    assert!(
        matches!(&damaged, Err(Error::Engine(error @ EngineError::Damaged { path, .. })) if path.ends_with("1.current") && is_damage(error)),
        "{damaged:?}"
    );
    pair.disk().remove_dir_all(Path::new("/groups/1.r1"))?;
    let missing = resolve(pair.disk());
    assert!(matches!(&missing, Err(Error::Engine(EngineError::Missing { .. }))), "{missing:?}");
    Ok(())
}

#[test]
fn half_a_snapshot_is_kept_until_the_log_has_brought_the_replica_past_it() -> TestResult {
    let pair = Pair::new()?;
    let dirs = resolve(pair.disk())?;
    let into = Destination::in_place_of(&pair.replica.engine, &dirs.incoming());
    let fault = Fault { cut: Some(4), ..Fault::default() };
    assert!(transfer(pair.leader.outgoing()?, into, fault).received.is_err());
    let dirs = resolve(pair.disk())?;
    dirs.discard_behind(8)?;
    assert_eq!(pair.names()?, ["1", "1.r1"]);
    dirs.discard_behind(9)?;
    assert_eq!(pair.names()?, ["1"]);
    Ok(())
}

/// What counts after a crash; `None` when the engine was set aside.
fn found(pair: &Pair) -> Result<Option<Content>, Box<dyn std::error::Error>> {
    let dirs = resolve(pair.disk())?;
    if dirs.awaits_snapshot() {
        let aside = pair.open(&dirs.aside()?[0])?;
        assert_eq!(content(&aside)?.applied.version, 4, "what was set aside is whole");
        return Ok(None);
    }
    let engine = pair.open(&dirs.engine_dir())?;
    engine.verify()?;
    Ok(Some(content(&engine)?))
}

/// Does `step` until the power goes at an operation, then looks at what counts, with the next open stopped at an operation
/// too; `may_be` is asked with whether the step came to its end.
fn crash_everywhere(
    step: impl Fn(&Pair, &mut ReplicaDir, &Received) -> bool,
    may_be: impl Fn(&Pair, bool, Option<Content>) -> engine::Result<bool>,
) -> Result<u64, Box<dyn std::error::Error>> {
    let prepared = || -> Result<_, Box<dyn std::error::Error>> {
        let pair = Pair::new()?;
        pair.replica.engine.sync()?;
        let dirs = resolve(pair.disk())?;
        let received = pair.receive(&dirs)?;
        pair.disk().set_faults(Faults::default());
        Ok((pair, dirs, received))
    };
    let (pair, mut dirs, received) = prepared()?;
    assert!(step(&pair, &mut dirs, &received));
    let ops = pair.disk().counts().ops;
    let mut crashes = 0;
    for op in 1..=ops + 1 {
        for unsynced in leftovers(op) {
            let (pair, mut dirs, received) = prepared()?;
            pair.disk().set_faults(Faults { stop_at_op: Some(op), ..Faults::default() });
            let done = step(&pair, &mut dirs, &received);
            pair.disk().crash(unsynced);
            let within = op % 7 + 1;
            pair.disk().set_faults(Faults { stop_at_op: Some(within), ..Faults::default() });
            let _stopped = resolve(pair.disk()).map(|dirs| pair.open(&dirs.engine_dir()));
            pair.disk().crash(unsynced);
            let found = found(&pair).map_err(|error| format!("operation {op}, {unsynced:?}: {error}"))?;
            assert!(may_be(&pair, done, found)?, "operation {op}, {unsynced:?}: neither old nor new");
            crashes += 1;
        }
    }
    Ok(crashes)
}

#[test]
fn the_power_may_go_at_any_operation_of_an_install() -> TestResult {
    let install = |pair: &Pair, dirs: &mut ReplicaDir, received: &Received| {
        dirs.install(received, |dir| pair.open(dir)).is_ok_and(|_engine| {
            let _closed = pair.replica.engine.close();
            // It is installed, whether what it replaced could be removed or not.
            let _removed = dirs.remove_replaced();
            true
        })
    };
    let crashes = crash_everywhere(install, |pair, done, found| {
        let is_new = found == Some(content(&pair.leader.engine)?);
        let old = Node::with_keys(2, 0..4)?;
        Ok(is_new || (!done && found == Some(content(&old.engine)?)))
    })?;
    println!("{crashes} crashes of an install: the old replica or the new one");
    Ok(())
}

#[test]
fn the_power_may_go_at_any_operation_of_setting_aside() -> TestResult {
    let set_aside = |_: &Pair, dirs: &mut ReplicaDir, _: &Received| dirs.set_aside().is_ok();
    let crashes = crash_everywhere(set_aside, |_, done, found| {
        let old = Node::with_keys(2, 0..4)?;
        Ok(found.is_none() || (!done && found == Some(content(&old.engine)?)))
    })?;
    println!("{crashes} crashes of setting aside: nothing lost");
    Ok(())
}

/// The rename of the pointer is there, and not durable, when the process ends; the next one removes the old replica.
#[test]
fn a_pointer_that_was_not_durable_is_made_so_before_anything_is_removed() -> TestResult {
    let pair = Pair::new()?;
    pair.replica.engine.sync()?;
    let mut dirs = resolve(pair.disk())?;
    let received = pair.receive(&dirs)?;
    let engine = pair.open(&received.dir)?;
    // A removal in vain, create, write, sync, rename, and then the sync of the directory.
    pair.disk().set_faults(Faults { fail_op: Some(6), ..Faults::default() });
    let failed = dirs.install(&received, |_| Ok(engine));
    assert!(matches!(failed, Err(Error::Engine(EngineError::Io { action: "sync", .. }))), "{failed:?}");
    drop(failed);
    let dirs = resolve(pair.disk())?;
    assert_eq!(dirs.engine_dir(), Path::new("/groups/1.r1"));
    pair.disk().crash(Unsynced::Lost);
    assert_eq!(found(&pair)?, Some(content(&pair.leader.engine)?));
    Ok(())
}
