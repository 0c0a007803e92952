//! The directory of a server's data, and who may open it.
//!
//! | name | holds |
//! |---|---|
//! | `LOCK` | nothing; held for as long as a process has the directory open |
//! | `token` | the access token that was made here, readable by its owner alone |
//! | `cluster` | who this node is, see [`crate::cluster::identity`] |
//! | `joining` | the attempt to join a cluster that is under way |
//! | `groups/0` | the engine of the catalog: which databases and nodes there are |
//! | `groups/<n>` | the engine of data group n, from 1 |
//! | `raft` | the Raft log of all groups |
//! | `archive` | the default archive |
//! | `scratch` | checkpoints while they are uploaded |
//!
//! - One process at a time. A directory that holds something else, or a restore that did not end, is refused.
//! - A token is written whole or not at all.
//! - A directory of an earlier version has `groups/1` alone: it becomes a cluster of one.

use crate::catalog::{CatalogError, DatabasePlace, View};
use crate::cluster::identity::{Identity, IdentityError, replace_file};
use crate::connect::auth::{AccessTokenError, check_access_token};
use engine::fs::{DirLock, read_file};
use engine::{Budget, Engine, Env, Lineage, Options, Recovery};
use replication::GroupId;
use replication::replica_dir::{self, ReplicaDir};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "LOCK";
const TOKEN: &str = "token";
const GROUPS: &str = "groups";
const CLUSTER: &str = "cluster";
const JOINING: &str = "joining";
const RAFT: &str = "raft";
const ARCHIVE: &str = "archive";
const SCRATCH: &str = "scratch";
/// What a restore that has not ended leaves behind.
const RESTORING: &str = ".restoring";
/// What the directory of a standby holds until it is promoted.
const STANDBY: &str = archiver::restore::STANDBY_MARKER;
/// What a forced recovery that has not ended leaves behind.
const RECOVERING: &str = ".recovering";
/// Names that a directory may hold before it becomes a data directory: those of ours, and what a
/// fresh disk comes with.
const KNOWN: [&str; 8] = [LOCK, TOKEN, CLUSTER, JOINING, RAFT, GROUPS, ARCHIVE, "lost+found"];
/// Random bytes in a token that is made here.
const TOKEN_BYTES: usize = 24;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It holds other things. Give another directory.
    #[error("{} is not a data directory: it holds {name}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One name in it.
        name: String,
    },
    /// A restore into it did not end. Run it again, or restore into another directory.
    #[error("the restore into {} did not finish: run the same cairn restore again, and it goes on", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// It follows an archive. Promote it first.
    #[error("{} is a standby: serve it with cairn standby serve, or make it a cluster with cairn standby promote", path.display())]
    Standby {
        /// The directory.
        path: PathBuf,
    },
    /// Other nodes hold the same data: it cannot be changed here alone. Go through a server.
    #[error("{} is the data of one node of a cluster: it cannot be changed apart from the others", path.display())]
    NotAlone {
        /// The directory.
        path: PathBuf,
    },
    /// The content of the default database was replaced: the catalog says where it is now. Go through a server.
    #[error("the default database in {} was replaced while it was served: start cairn serve and write through it", path.display())]
    Moved {
        /// The directory.
        path: PathBuf,
    },
    /// The Raft log in it cannot be read.
    #[error(transparent)]
    Raft(#[from] replication::OpenError),
    /// The catalog in it cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A forced recovery of it did not end. Do it again.
    #[error("the forced recovery of {} did not finish: run it again", path.display())]
    Recovering {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has it open. Stop that process first.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The token in it cannot be used. Delete the file to have a new one made.
    #[error("the access token in {} cannot be used: {reason}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: AccessTokenError,
    },
    /// The disk failed. Look at the disk.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The engine in it cannot be opened.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// Where a replica is cannot be read.
    #[error(transparent)]
    Replica(#[from] replica_dir::Error),
    /// Who the node is cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |source| DataDirError::Io { action, path: path.to_path_buf(), source }
}

/// A data directory that this process holds. Dropping it lets another one in.
#[derive(Debug)]
pub struct DataDir {
    env: Env,
    path: PathBuf,
    _lock: Box<dyn DirLock>,
}

/// The access token of a directory.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The token.
    pub text: String,
    /// Whether it was made just now.
    pub made: bool,
}

/// Opens a data directory and the engine of its first data group, with the engine's defaults; for commands that write to it
/// and end. Where there is a Raft log, a new lineage begins: what is written past the log must not be taken for a part of it.
///
/// # Errors
///
/// When the directory is that of one node among others; see [`DataDirError`].
pub fn open(path: &Path) -> Result<(DataDir, Engine), DataDirError> {
    let env = Env::real();
    let dir = DataDir::open(env.clone(), path)?;
    if dir.group_ids()?.contains(&GroupId::CATALOG) {
        dir.check_catalog()?;
    }
    if dir.identity()?.is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(io_error("read the Raft log of", path))?;
        runtime.block_on(replication::salvage(&env, path, &[GroupId::FIRST], None))?;
    }
    let (engine, _recovery) = dir.open_engine(Options::default())?;
    Ok((dir, engine))
}

/// Where the default archive of a data directory is.
pub fn archive_in(data: &Path) -> PathBuf {
    data.join(ARCHIVE)
}

impl DataDir {
    /// Opens a directory, creating it when needed, and takes its lock.
    ///
    /// # Errors
    ///
    /// When it holds something else, is in use, holds half a restore, or the disk fails.
    pub fn open(env: Env, path: &Path) -> Result<DataDir, DataDirError> {
        let dir = Self::open_to_recover(env, path)?;
        let recovering = path.join(RECOVERING);
        if dir.env.fs.exists(&recovering).map_err(io_error("look for", &recovering))? {
            return Err(DataDirError::Recovering { path: path.to_path_buf() });
        }
        Ok(dir)
    }

    /// Opens a directory as [`open`](Self::open) does, also one whose forced recovery did not end.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_to_recover(env: Env, path: &Path) -> Result<DataDir, DataDirError> {
        env.fs.create_dir_all(path).map_err(io_error("create directory", path))?;
        let names = env.fs.read_dir(path).map_err(io_error("read directory", path))?;
        if names.iter().any(|name| name == RESTORING) {
            return Err(DataDirError::Unfinished { path: path.to_path_buf() });
        }
        if names.iter().any(|name| name == STANDBY) {
            return Err(DataDirError::Standby { path: path.to_path_buf() });
        }
        let ours = names.iter().any(|name| name == GROUPS || name == LOCK);
        let foreign = names.into_iter().find(|name| !KNOWN.contains(&name.as_str()));
        if let Some(name) = foreign.filter(|_| !ours) {
            return Err(DataDirError::Foreign { path: path.to_path_buf(), name });
        }
        let lock_path = path.join(LOCK);
        let _lock = env.fs.lock(&lock_path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DataDirError::InUse { path: path.to_path_buf() },
            _ => io_error("lock", &lock_path)(error),
        })?;
        Ok(DataDir { env, path: path.to_path_buf(), _lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the default archive is.
    pub fn archive(&self) -> PathBuf {
        archive_in(&self.path)
    }

    /// Where checkpoints are while they are uploaded.
    pub fn scratch(&self) -> PathBuf {
        self.path.join(SCRATCH)
    }

    /// Where a token that was made here is kept.
    pub fn token_path(&self) -> PathBuf {
        self.path.join(TOKEN)
    }

    /// Who this node is; `None` when the directory has never been served, or by an earlier version alone.
    ///
    /// # Errors
    ///
    /// When that cannot be read, or a later version wrote it.
    pub fn identity(&self) -> Result<Option<Identity>, DataDirError> {
        Ok(Identity::read(&*self.env.fs, &self.path.join(CLUSTER))?)
    }

    /// Says who this node is, durably.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), DataDirError> {
        identity.write(&*self.env.fs, &self.path.join(CLUSTER))?;
        let joining = self.path.join(JOINING);
        match self.env.fs.remove(&joining) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &joining)(error)),
            _ => Ok(()),
        }
    }

    /// Names the attempt to join a cluster: the same until it has succeeded, so that a second try is given the same id,
    /// and another one after the directory was wiped.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn joining(&self) -> Result<[u8; 16], DataDirError> {
        let path = self.path.join(JOINING);
        let kept = match read_file(&*self.env.fs, &path, 64) {
            Ok(bytes) => <[u8; 16]>::try_from(bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        if let Some(attempt) = kept {
            return Ok(attempt);
        }
        let mut attempt = [0; 16];
        self.env.random.fill(&mut attempt);
        replace_file(&*self.env.fs, &path, &attempt).map_err(io_error("write", &path))?;
        Ok(attempt)
    }

    /// Removes the empty engines that an attempt to join left, which ended before it was let in.
    ///
    /// # Errors
    ///
    /// When there is data in one of them, or the disk fails.
    pub fn clear_unfinished_join(&self) -> Result<(), DataDirError> {
        for group in self.group_ids()? {
            let path = self.engine_path(group)?;
            let (engine, _recovery) = self.open_engine_of(group, Options::default())?;
            let is_empty = engine.applied().version == 0;
            engine.close()?;
            drop(engine);
            if !is_empty {
                return Err(DataDirError::Foreign {
                    path: self.path.clone(),
                    name: format!("{GROUPS}/{group}"),
                });
            }
            self.env.fs.remove_dir_all(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// Whether an attempt to join is under way.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn is_joining(&self) -> Result<bool, DataDirError> {
        let path = self.path.join(JOINING);
        self.env.fs.exists(&path).map_err(io_error("look for", &path))
    }

    /// Says, durably, that a forced recovery is under way: until it has ended, nobody else opens the directory.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn begin_recovery(&self) -> Result<(), DataDirError> {
        let path = self.path.join(RECOVERING);
        replace_file(&*self.env.fs, &path, b"").map_err(io_error("write", &path))
    }

    /// Says, durably, that the recovery has ended.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn end_recovery(&self) -> Result<(), DataDirError> {
        let path = self.path.join(RECOVERING);
        self.env.fs.remove(&path).map_err(io_error("remove", &path))?;
        self.env.fs.sync_dir(&self.path).map_err(io_error("sync directory", &self.path))
    }

    /// Refuses a directory of one node among others, and one whose default database is not where it was at first.
    fn check_catalog(&self) -> Result<(), DataDirError> {
        let (catalog, _recovery) = self.open_engine_of(GroupId::CATALOG, Options::default())?;
        let snapshot = catalog.snapshot();
        let view = View::new(&snapshot);
        let (nodes, place) = (view.nodes(), view.default_place());
        drop(snapshot);
        catalog.close()?;
        if self.identity()?.is_some() && nodes?.len() > 1 {
            return Err(DataDirError::NotAlone { path: self.path.clone() });
        }
        if place? != DatabasePlace::DEFAULT {
            return Err(DataDirError::Moved { path: self.path.clone() });
        }
        Ok(())
    }

    /// Where the Raft log is.
    pub fn raft(&self) -> PathBuf {
        self.path.join(RAFT)
    }

    /// Where the engines of all groups are.
    pub fn groups(&self) -> PathBuf {
        self.path.join(GROUPS)
    }

    /// The groups that have a directory here, rising.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn group_ids(&self) -> Result<Vec<GroupId>, DataDirError> {
        let names = match self.env.fs.read_dir(&self.groups()) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io_error("read directory", &self.groups())(error)),
        };
        let mut ids: Vec<_> = names.iter().filter_map(|name| name.parse().ok().map(GroupId)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Creates the engine of a group that continues a lineage of another node.
    ///
    /// # Errors
    ///
    /// When there is one already, or the disk fails.
    pub fn create_engine(
        &self,
        group: GroupId,
        lineage: Lineage,
        options: Options,
    ) -> Result<Engine, DataDirError> {
        Ok(Engine::create(self.env.clone(), &self.engine_path(group)?, options, lineage)?)
    }

    /// Opens the engine of a group.
    ///
    /// # Errors
    ///
    /// When it is damaged or cannot be opened.
    pub fn open_engine_of(
        &self,
        group: GroupId,
        options: Options,
    ) -> Result<(Engine, Recovery), DataDirError> {
        Ok(Engine::open(self.env.clone(), &self.engine_path(group)?, options)?)
    }

    /// Opens the engine of the first data group.
    ///
    /// # Errors
    ///
    /// When it is damaged or cannot be opened.
    pub fn open_engine(&self, options: Options) -> Result<(Engine, Recovery), DataDirError> {
        self.open_engine_of(GroupId::FIRST, options)
    }

    /// Opens the engine as one of those that share `budget`.
    ///
    /// # Errors
    ///
    /// When it is damaged or cannot be opened.
    pub fn open_engine_with_budget(
        &self,
        options: Options,
        budget: &Arc<Budget>,
    ) -> Result<(Engine, Recovery), DataDirError> {
        Ok(Engine::open_with_budget(self.env.clone(), &self.engine_path(GroupId::FIRST)?, options, budget)?)
    }

    fn engine_path(&self, group: GroupId) -> Result<PathBuf, DataDirError> {
        // A Raft snapshot may have taken the place of the engine, in another directory.
        let dir = ReplicaDir::open(Arc::clone(&self.env.fs), &self.groups(), group)?;
        let path = dir.engine_dir();
        self.env.fs.create_dir_all(&path).map_err(io_error("create directory", &path))?;
        Ok(path)
    }

    /// The access token that is kept here, made when there is none.
    ///
    /// # Errors
    ///
    /// When what is kept cannot be used, or the disk fails.
    pub fn access_token(&self) -> Result<AccessToken, DataDirError> {
        let path = self.token_path();
        match std::fs::read_to_string(&path) {
            Ok(kept) => {
                let text = kept.trim_end().to_owned();
                check_access_token(&text).map_err(|reason| DataDirError::Token { path, reason })?;
                Ok(AccessToken { text, made: false })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_token(&path),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn make_token(&self, path: &Path) -> Result<AccessToken, DataDirError> {
        let mut secret = [0; TOKEN_BYTES];
        self.env.random.fill(&mut secret);
        let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let unfinished = path.with_extension("new");
        write_secret(&unfinished, &text).map_err(io_error("write", &unfinished))?;
        std::fs::rename(&unfinished, path).map_err(io_error("rename", &unfinished))?;
        self.env.fs.sync_dir(&self.path).map_err(io_error("sync directory", &self.path))?;
        Ok(AccessToken { text, made: true })
    }
}

/// Writes a file that its owner alone can read, and makes it durable.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_can_read_it() -> TestResult {
        let temp = tempfile::tempdir()?;
        let dir = DataDir::open(Env::real(), &temp.path().join("a/b"))?;
        let first = dir.access_token()?;
        let again = dir.access_token()?;
        assert!(first.made && !again.made);
        assert_eq!(first.text, again.text);
        assert_eq!(first.text.len(), 2 * TOKEN_BYTES);
        let mode = std::fs::metadata(dir.token_path())?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        Ok(())
    }

    #[test]
    fn an_attempt_to_join_keeps_its_name_until_it_has_succeeded() -> TestResult {
        let temp = tempfile::tempdir()?;
        let dir = DataDir::open(Env::real(), temp.path())?;
        let attempt = dir.joining()?;
        assert_eq!(dir.joining()?, attempt);
        let identity = Identity {
            cluster: replication::ClusterId([1; 16]),
            lineage: engine::LineageId([2; 16]),
            epoch: 0,
            node: replication::NodeId(2),
            groups: 1,
            address: "10.0.0.2:4513".to_owned(),
            region: String::new(),
        };
        dir.set_identity(&identity)?;
        assert_eq!(dir.identity()?, Some(identity));
        assert_ne!(dir.joining()?, attempt);
        Ok(())
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_lets_go() -> TestResult {
        let temp = tempfile::tempdir()?;
        let first = DataDir::open(Env::real(), temp.path())?;
        let second = DataDir::open(Env::real(), temp.path());
        assert!(matches!(second, Err(DataDirError::InUse { .. })), "{second:?}");
        drop(first);
        DataDir::open(Env::real(), temp.path())?;
        Ok(())
    }

    #[test]
    fn a_directory_with_other_things_or_half_a_restore_is_refused() -> TestResult {
        let temp = tempfile::tempdir()?;
        std::fs::write(temp.path().join("thesis.tex"), "x")?;
        let opened = DataDir::open(Env::real(), temp.path());
        assert!(matches!(opened, Err(DataDirError::Foreign { .. })), "{opened:?}");
        assert!(!temp.path().join(LOCK).exists());
        let temp = tempfile::tempdir()?;
        std::fs::create_dir(temp.path().join(RESTORING))?;
        let opened = DataDir::open(Env::real(), temp.path());
        assert!(matches!(opened, Err(DataDirError::Unfinished { .. })), "{opened:?}");
        Ok(())
    }

    #[test]
    fn a_kept_token_that_no_header_can_carry_is_refused() -> TestResult {
        let temp = tempfile::tempdir()?;
        let dir = DataDir::open(Env::real(), temp.path())?;
        std::fs::write(dir.token_path(), "short\n")?;
        assert!(matches!(dir.access_token(), Err(DataDirError::Token { .. })));
        Ok(())
    }
}
