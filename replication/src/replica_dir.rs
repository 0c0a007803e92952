//! Where the replica of a group lives on disk, and the one atomic step by which it is replaced.
//!
//! ```text
//! groups/<n>             the engine, unless the pointer says otherwise
//! groups/<n>.current     the pointer: the number of the directory that counts
//! groups/<n>.r<k>        the engine with number k
//! groups/<n>.r<k + 1>    where a raft snapshot arrives while k counts
//! groups/<n>.out<i>      checkpoints while they are sent
//! ```
//!
//! - **Exactly one directory counts, at every moment and after every crash**: the one that the pointer names, which is
//!   replaced by one rename. Directory 0 is `groups/<n>`, and counts where there is no pointer.
//! - **A directory is complete before the pointer names it**, and an engine was opened in it.
//! - **Nothing is removed before the pointer that no longer names it is durable.** Then what it replaced is removed, now or at
//!   the next open, and so is what a crash left. Of half-received snapshots one is kept, to go on with.
//! - **A damaged replica is set aside and never removed**, until a person does: the pointer lists it.
//! - A pointer that cannot be read is damage. Nothing is guessed from the directories that are there.
//!
//! # Why a replica that lost its engine may go on
//!
//! What Raft needs to be safe is the vote and the log: that nobody votes twice in a term, and that what was acknowledged is
//! found by the majority that elects the next leader. Both stand in the Raft log of the node, not in its engine. The engine
//! is what the committed part of the log came to: the same on every replica, so any other replica's will do. A
//! node whose vote and log are intact has therefore broken no promise by losing its engine, and keeps its id, which a node
//! that lost its log must not.
//!
//! Two things must hold. The log before its purge point is gone, so only a snapshot that stands at the purge point or after
//! it can take the place of the engine ([`Destination::from_version`]). And until it is there, the group does not
//! run on this node: a leader that cannot apply could not serve, and nobody could send it a snapshot. So the snapshot is
//! fetched from any other replica (each holds a committed prefix) before the group is started, and what the log has after it is
//! applied as after any restart. With no other replica there is nothing to fetch: then the archive is what is left.

mod pointer;
#[cfg(test)]
mod tests;

use crate::GroupId;
use crate::durable_file::{self, NEW_SUFFIX};
use crate::raft_snapshot::{Received, offered_version};
use engine::fs::Fs;
use engine::{Checkpoint, Engine, Error as EngineError};
use pointer::Pointer;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(doc)]
use crate::raft_snapshot::Destination;

/// Damaged replicas of one group that are kept beside the one that counts; at least one must be removed by hand
/// before another can be set aside.
pub const ASIDE_MAX: usize = 4;

/// Why a replica was not opened, replaced or set aside.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine or the disk says so. When it came while a replica was replaced, either one may count after a crash: stop
    /// the group, look at the disk, and start again.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An engine that was opened in a received snapshot does not stand where the snapshot does. This is a bug.
    #[error("the snapshot in {} opens at version {opened}, and {expected} was received", dir.display())]
    Position {
        /// Where.
        dir: PathBuf,
        /// What was received.
        expected: u64,
        /// Where the engine stands.
        opened: u64,
    },
    /// Too many damaged replicas are kept already. Look at them, remove some, and start again.
    #[error("{ASIDE_MAX} damaged replicas stand beside {} already: look at them and remove some", dir.display())]
    Aside {
        /// The one that would be another.
        dir: PathBuf,
    },
}

/// The directories of one group. One at a time.
#[derive(Debug)]
pub struct ReplicaDir {
    fs: Arc<dyn Fs>,
    groups: PathBuf,
    group: GroupId,
    pointer: Pointer,
}

impl ReplicaDir {
    /// Finds out which directory counts, and removes what does not and is of no use.
    ///
    /// # Errors
    ///
    /// [`EngineError::Damaged`] for a pointer that is not intact; [`EngineError::Missing`] when the engine that it names is
    /// not there; what the disk says.
    pub fn open(fs: Arc<dyn Fs>, groups: &Path, group: GroupId) -> Result<Self, Error> {
        fs.create_dir_all(groups).map_err(EngineError::io("create", groups))?;
        let path = groups.join(pointer_name(group));
        let pointer = match durable_file::read(&*fs, &path, Pointer::BYTES_MAX)? {
            None => Pointer::default(),
            Some(bytes) => Pointer::decode(&bytes, group).map_err(EngineError::damaged(&path, 0))?,
        };
        let replica = Self { fs, groups: groups.to_path_buf(), group, pointer };
        let manifest = replica.engine_dir().join(Checkpoint::MANIFEST);
        if replica.pointer.holds_engine && !replica.exists(&manifest)? {
            return Err(EngineError::Missing { path: manifest, needed_by: "the pointer of its group" }.into());
        }
        // The pointer may have been written by a process that was killed before it was durable.
        replica.fs.sync_dir(groups).map_err(EngineError::io("sync", groups))?;
        replica.remove_strays(true)?;
        Ok(replica)
    }

    /// The directory that counts.
    pub fn engine_dir(&self) -> PathBuf {
        self.dir_of(self.pointer.current)
    }

    /// Whether it has to wait for a raft snapshot: its engine was set aside.
    pub fn awaits_snapshot(&self) -> bool {
        self.pointer.current > 0 && !self.pointer.holds_engine
    }

    /// Where a raft snapshot is received.
    pub fn incoming(&self) -> PathBuf {
        self.dir_of(self.pointer.current + 1)
    }

    /// Where a checkpoint is made to be sent: one directory for each number.
    pub fn outgoing(&self, number: u64) -> PathBuf {
        self.groups.join(format!("{}.out{number}", self.group))
    }

    /// Damaged replicas that were set aside and are still there.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn aside(&self) -> Result<Vec<PathBuf>, Error> {
        let mut aside = Vec::new();
        for dir in self.pointer.aside.iter().map(|number| self.dir_of(*number)) {
            if self.exists(&dir)? {
                aside.push(dir);
            }
        }
        Ok(aside)
    }

    /// Makes a received snapshot the replica: opens an engine in it by `open`, and switches to it durably.
    ///
    /// Who calls this applies nothing to the old engine meanwhile. On return the old engine no longer counts: close it, and
    /// then call [`remove_replaced`](Self::remove_replaced).
    ///
    /// # Errors
    ///
    /// See [`Error`]. Until the switch the old engine counts, and the snapshot stays for the next try.
    ///
    /// # Panics
    ///
    /// If the snapshot was not received in [`incoming`](Self::incoming).
    pub fn install(
        &mut self,
        received: &Received,
        open: impl FnOnce(&Path) -> engine::Result<Engine>,
    ) -> Result<Engine, Error> {
        assert_eq!(received.dir, self.incoming(), "a snapshot is received where it is installed from");
        let engine = open(&received.dir)?;
        let (opened, expected) = (engine.applied(), received.checkpoint.applied);
        if opened != expected {
            let (dir, expected, opened) = (received.dir.clone(), expected.version, opened.version);
            return Err(Error::Position { dir, expected, opened });
        }
        self.switch_to(&engine)?;
        Ok(engine)
    }

    /// Switches, durably, to an engine that is open in [`incoming`](Self::incoming) and durable.
    ///
    /// # Errors
    ///
    /// What the disk says. Either may count then.
    ///
    /// # Panics
    ///
    /// If the engine is in another directory.
    pub fn switch_to(&mut self, engine: &Engine) -> Result<(), Error> {
        assert_eq!(engine.dir(), self.incoming(), "an engine is switched to where it was received");
        let Pointer { current, aside, .. } = self.pointer.clone();
        self.point_to(Pointer { current: current + 1, holds_engine: true, aside })
    }

    /// Removes the replica that [`install`](Self::install) replaced.
    ///
    /// # Errors
    ///
    /// What the disk says; it is removed at the next open then.
    pub fn remove_replaced(&self) -> Result<(), Error> {
        self.remove_strays(false)
    }

    /// Puts the engine that counts aside, where it stays until a person removes it, and goes on with none. Close it first if
    /// it is open. Its directory, which [`aside`](Self::aside) lists, may still give tables to the snapshot that takes
    /// its place.
    ///
    /// # Errors
    ///
    /// [`Error::Aside`] when too many are kept; what the disk says.
    pub fn set_aside(&mut self) -> Result<PathBuf, Error> {
        let dir = self.engine_dir();
        let mut aside = Vec::new();
        for number in &self.pointer.aside {
            if self.exists(&self.dir_of(*number))? {
                aside.push(*number);
            }
        }
        if aside.len() >= ASIDE_MAX {
            return Err(Error::Aside { dir });
        }
        aside.push(self.pointer.current);
        // The next number may hold half of a snapshot: the one after it is empty.
        let current = self.pointer.current + 2;
        self.point_to(Pointer { current, holds_engine: false, aside })?;
        self.remove_strays(false)?;
        tracing::warn!(dir = %dir.display(), "a damaged replica was set aside; it is kept until somebody removes it");
        Ok(dir)
    }

    /// Removes a half-received snapshot that stands before `applied`: the log has brought the replica further.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn discard_behind(&self, applied: u64) -> Result<(), Error> {
        let dir = self.incoming();
        if self.exists(&dir)? && offered_version(&*self.fs, &dir)?.is_none_or(|offered| offered <= applied) {
            self.remove_dir(&dir)?;
        }
        Ok(())
    }

    fn point_to(&mut self, pointer: Pointer) -> Result<(), Error> {
        let bytes = pointer.encode(self.group);
        durable_file::replace(&*self.fs, &self.groups, &pointer_name(self.group), &bytes)?;
        self.pointer = pointer;
        Ok(())
    }

    /// Removes what is of no use; at the open also checkpoints that were being sent.
    fn remove_strays(&self, at_open: bool) -> Result<(), Error> {
        let names = self.fs.read_dir(&self.groups).map_err(EngineError::io("list", &self.groups))?;
        for name in names {
            match parse(&name, self.group) {
                Some(Part::Engine(number)) if !self.keeps(number) => self.remove_dir(&self.dir_of(number))?,
                Some(Part::Outgoing) if at_open => self.remove_dir(&self.groups.join(name))?,
                Some(Part::NewPointer) => durable_file::remove_if_there(&*self.fs, &self.groups.join(name))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn keeps(&self, number: u64) -> bool {
        let Pointer { current, aside, .. } = &self.pointer;
        number == *current || number == current + 1 || aside.contains(&number)
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), Error> {
        Ok(self.fs.remove_dir_all(dir).map_err(EngineError::io("remove", dir))?)
    }

    fn exists(&self, path: &Path) -> Result<bool, Error> {
        Ok(self.fs.exists(path).map_err(EngineError::io("look for", path))?)
    }

    fn dir_of(&self, number: u64) -> PathBuf {
        match number {
            0 => self.groups.join(self.group.to_string()),
            number => self.groups.join(format!("{}.r{number}", self.group)),
        }
    }
}

/// Whether an engine could not be opened because of what is on its disk, so that another replica can mend it.
pub fn is_damage(error: &EngineError) -> bool {
    matches!(error, EngineError::Damaged { .. } | EngineError::Missing { .. })
}

fn pointer_name(group: GroupId) -> String {
    format!("{group}.current")
}

/// What a name in the directory of groups stands for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Engine(u64),
    Outgoing,
    NewPointer,
}

/// `None` for what belongs to another group, for the pointer, and for what nobody here has made.
fn parse(name: &str, group: GroupId) -> Option<Part> {
    let rest = name.strip_prefix(&group.to_string())?;
    if rest.is_empty() {
        return Some(Part::Engine(0));
    }
    if let Some(number) = rest.strip_prefix(".r") {
        return parse_number(number).filter(|number| *number > 0).map(Part::Engine);
    }
    if let Some(number) = rest.strip_prefix(".out") {
        return parse_number(number).map(|_| Part::Outgoing);
    }
    (name == format!("{}{NEW_SUFFIX}", pointer_name(group))).then_some(Part::NewPointer)
}

/// A decimal number in the form in which numbers are written.
fn parse_number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
