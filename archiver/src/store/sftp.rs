//! A store in a directory of another machine, over SFTP.
//!
//! - The system's `ssh` carries it: host keys, keys, agents, jumps and `~/.ssh/config` are as everywhere else. It is started
//!   with the first request and asks no questions: a host that `known_hosts` does not know is refused.
//! - An object is written under a temporary name, synced (`fsync@openssh.com`, where the server has it) and renamed
//!   (`posix-rename@openssh.com`): it is there whole or not at all. SFTP cannot sync a directory, so how soon a name
//!   outlives a power cut is up to the file system of the server.
//! - Names that start with a dot are not objects; temporary files and multipart uploads live in `.tmp`.

mod listing;
mod session;
mod transfer;
mod wire;

use super::local::upload::{tag, tagged_len};
use super::{Error, ObjectStore, Page, Result, Tag, Upload, check_name};
use async_trait::async_trait;
use bytes::Bytes;
use engine::env::{Clock, Random, SystemClock, SystemRandom};
use session::Session;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use wire::{CREATE, EXCLUSIVE, NO_SUCH_FILE, PERMISSION_DENIED, READ, Reply, Request, WRITE};

/// Temporary files of dead writers are removed once they are this old.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);
const TEMPORARY: &str = ".tmp";

/// Where an SFTP server is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The program that connects: `ssh`, or what `CAIRN_SSH` says.
    pub program: String,
    /// Its name or address, or a name of `~/.ssh/config`.
    pub name: String,
    /// The user, when not the one that `ssh` takes.
    pub user: Option<String>,
    /// The port, when not the one that `ssh` takes.
    pub port: Option<u16>,
    /// The file of the private key, when not those that `ssh` or its agent has.
    pub key: Option<String>,
    /// The file of known hosts, when not `~/.ssh/known_hosts`.
    pub known_hosts: Option<String>,
}

/// Reads a packet as the answer to the first one and as any later one. Returns how many bytes what was read holds, for the fuzzer.
pub(crate) fn read_reply(packet: Bytes) -> usize {
    let extensions = wire::decode_version(packet.clone()).unwrap_or_default();
    // A name that is no text is shown with replacements of three bytes each.
    let named = extensions.iter().map(|name| name.replace('\u{fffd}', "").len()).sum::<usize>();
    named.max(wire::decode(packet).map_or(0, |(_, reply)| reply.held()))
}

/// A store in a directory over SFTP.
#[derive(Debug, Clone)]
pub struct Sftp {
    host: Arc<Host>,
    /// Absolute, without a slash at its end.
    root: String,
    session: Arc<Mutex<Option<Arc<Session>>>>,
}

/// What can go wrong below the store.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Not now.
    #[error("{0}")]
    Unreachable(String),
    /// Not like this.
    #[error("{0}")]
    Refused(String),
    /// The server said no.
    #[error("the server answered {code}: {message}")]
    Status { code: u32, message: String },
    /// Sorted already.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Failure {
    /// What `ssh` said before it ended.
    fn said(text: &str) -> Self {
        let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let line = if line.is_empty() { "ssh ended".to_owned() } else { format!("ssh said: {line}") };
        if text.contains("Host key verification failed") {
            Self::Refused(format!("{line} (add the host's key to known_hosts, as with ssh-keyscan)"))
        } else if ["Permission denied", "Bad configuration", "subsystem request failed"]
            .iter()
            .any(|no| text.contains(no))
        {
            Self::Refused(line)
        } else {
            Self::Unreachable(line)
        }
    }

    const fn is_absent(&self) -> bool {
        matches!(self, Self::Status { code: NO_SUCH_FILE, .. })
    }
}

type Outcome<T> = std::result::Result<T, Failure>;

impl Sftp {
    /// The store in the directory `root`, an absolute path. Sends no request.
    pub fn new(host: Host, root: &str) -> Self {
        Self { host: Arc::new(host), root: root.trim_end_matches('/').to_owned(), session: Arc::default() }
    }

    /// The session that is open, or a new one.
    async fn session(&self) -> Outcome<Arc<Session>> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| !session.ended()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::begin(&self.host).await?);
        if !session.has("posix-rename@openssh.com") {
            let lacks = "the server cannot rename over a file (posix-rename@openssh.com)";
            return Err(Failure::Refused(lacks.to_owned()));
        }
        if !session.has("fsync@openssh.com") {
            tracing::warn!(
                location = self.location(),
                "the server cannot sync files: a power cut there may lose some"
            );
        }
        self.remove_abandoned(&session).await?;
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    fn sort<T>(&self, action: impl FnOnce() -> String, done: Outcome<T>) -> Result<T> {
        let location = self.location();
        done.map_err(|failure| match failure {
            Failure::Store(error) => error,
            Failure::Unreachable(_) => {
                Error::Unreachable { action: action(), location, source: Arc::new(failure) }
            }
            Failure::Refused(_) | Failure::Status { .. } => {
                Error::Refused { action: action(), location, source: Arc::new(failure) }
            }
        })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    fn temporary(&self, id: &str) -> String {
        format!("{}/{TEMPORARY}/{id}", self.root)
    }

    /// The path of an upload whose id is one of ours.
    fn upload_path(&self, upload: &Upload) -> Outcome<String> {
        if upload.id.len() == 32 && upload.id.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(self.temporary(&upload.id))
        } else {
            Err(self.no_upload(upload).into())
        }
    }

    fn no_upload(&self, upload: &Upload) -> Error {
        Error::NoUpload { name: upload.name.clone(), location: self.location() }
    }

    fn not_found(&self, name: &str) -> Error {
        Error::NotFound { name: name.to_owned(), location: self.location() }
    }

    /// Creates a new temporary file, and its directory when that is not there.
    async fn create_temporary(&self, session: &Session, id: &str) -> Outcome<Bytes> {
        let (path, flags) = (self.temporary(id), WRITE | CREATE | EXCLUSIVE);
        match transfer::open(session, &path, flags).await {
            Err(failure) if failure.is_absent() => {
                transfer::make_dirs(session, &format!("{}/{TEMPORARY}", self.root)).await?;
                transfer::open(session, &path, flags).await
            }
            opened => opened,
        }
    }

    /// Writes a temporary file, durably, and says where.
    async fn write_temporary(&self, session: &Session, bytes: &Bytes) -> Outcome<String> {
        let id = fresh_id();
        let handle = self.create_temporary(session, &id).await?;
        transfer::write(session, &handle, 0, bytes).await?;
        transfer::sync_and_close(session, &handle).await?;
        Ok(self.temporary(&id))
    }

    async fn put_whole(&self, name: &str, bytes: &Bytes) -> Outcome<()> {
        let session = self.session().await?;
        let temporary = self.write_temporary(&session, bytes).await?;
        transfer::rename(&session, &temporary, &self.path(name)).await
    }

    async fn create_whole(&self, name: &str, bytes: &Bytes) -> Outcome<bool> {
        let session = self.session().await?;
        let location = self.location();
        if !session.has("hardlink@openssh.com") {
            return Err(Error::Unsupported { action: format!("create {name}"), location }.into());
        }
        let (temporary, path) = (self.write_temporary(&session, bytes).await?, self.path(name));
        transfer::make_parent(&session, &path).await?;
        let linked = session.ask(Request::Link { from: &temporary, to: &path }).await;
        transfer::remove(&session, &temporary).await?;
        match linked {
            Ok(_) => Ok(true),
            // Version 3 has no code for a file that is there.
            Err(Failure::Status { code, .. }) if code != PERMISSION_DENIED => {
                session.ask(Request::Stat { path: &path }).await.map(|_| false)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn read(&self, name: &str, range: Range<u64>, len_max: Option<u64>) -> Outcome<Bytes> {
        let session = self.session().await?;
        let handle = match transfer::open(&session, &self.path(name), READ).await {
            Err(failure) if failure.is_absent() => return Err(self.not_found(name).into()),
            opened => opened?,
        };
        let read = async {
            let attributes = transfer::attributes(&session, &handle).await?;
            match len_max {
                _ if attributes.directory => Err(self.not_found(name).into()),
                Some(len_max) if attributes.len > len_max => {
                    Err(Error::TooLarge { name: name.to_owned(), len_max }.into())
                }
                _ => transfer::read(&session, &handle, range.start..range.end.min(attributes.len)).await,
            }
        };
        let read = read.await;
        session.ask(Request::Close { handle: &handle }).await?;
        read
    }

    async fn begin_upload(&self, name: &str, part_bytes: u64) -> Outcome<Upload> {
        let session = self.session().await?;
        let upload = Upload { name: name.to_owned(), id: fresh_id(), part_bytes };
        let handle = self.create_temporary(&session, &upload.id).await?;
        transfer::sync_and_close(&session, &handle).await?;
        Ok(upload)
    }

    async fn open_upload(&self, session: &Session, upload: &Upload) -> Outcome<Bytes> {
        match transfer::open(session, &self.upload_path(upload)?, WRITE).await {
            Err(failure) if failure.is_absent() => Err(self.no_upload(upload).into()),
            opened => opened,
        }
    }

    async fn put_part(&self, upload: &Upload, number: u32, bytes: &Bytes) -> Outcome<Tag> {
        let session = self.session().await?;
        let handle = self.open_upload(&session, upload).await?;
        let offset = u64::from(number.saturating_sub(1)) * upload.part_bytes;
        transfer::write(&session, &handle, offset, bytes).await?;
        transfer::sync_and_close(&session, &handle).await?;
        Ok(tag(bytes))
    }

    async fn complete_upload(&self, upload: &Upload, tags: &[Tag]) -> Outcome<()> {
        let session = self.session().await?;
        let handle = self.open_upload(&session, upload).await?;
        let lens = tags.iter().map(tagged_len).collect::<Option<Vec<u64>>>();
        let whole = lens.filter(|lens| lens.iter().rev().skip(1).all(|len| *len == upload.part_bytes));
        let wrong = || Failure::Refused("the parts are not those of this upload".to_owned());
        let len: u64 = whole.ok_or_else(wrong)?.iter().sum();
        let there = transfer::attributes(&session, &handle).await?.len;
        if there < len {
            return Err(wrong());
        }
        if there > len {
            session.ask(Request::SetLen { handle: &handle, len }).await?;
        }
        transfer::sync_and_close(&session, &handle).await?;
        transfer::rename(&session, &self.upload_path(upload)?, &self.path(&upload.name)).await
    }

    /// Removes what dead writers left.
    async fn remove_abandoned(&self, session: &Session) -> Outcome<()> {
        let directory = format!("{}/{TEMPORARY}", self.root);
        for entry in transfer::entries(session, &directory).await? {
            let age_ms = SystemClock.now_ms().saturating_sub(u64::from(entry.attributes.modified_s) * 1_000);
            if let Ok(name) = String::from_utf8(entry.name)
                && !entry.attributes.directory
                && u128::from(age_ms) > ABANDONED_AFTER.as_millis()
            {
                transfer::remove(session, &self.temporary(&name)).await?;
            }
        }
        Ok(())
    }
}

/// A name that nobody else draws.
fn fresh_id() -> String {
    let mut bytes = [0; 16];
    SystemRandom.fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[async_trait]
impl ObjectStore for Sftp {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        check_name(name)?;
        self.sort(|| format!("write {name}"), self.put_whole(name, &bytes).await)
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        check_name(name)?;
        self.sort(|| format!("read {name}"), self.read(name, 0..u64::MAX, Some(len_max)).await)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        check_name(name)?;
        self.sort(|| format!("read {name}"), self.read(name, range, None).await)
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        check_name(name)?;
        self.sort(|| format!("create {name}"), self.create_whole(name, &bytes).await)
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        check_name(name)?;
        self.sort(|| format!("begin {name}"), self.begin_upload(name, part_bytes).await)
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        let action = || format!("write part {number} of {}", upload.name);
        self.sort(action, self.put_part(upload, number, &bytes).await)
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        check_name(&upload.name)?;
        self.sort(|| format!("complete {}", upload.name), self.complete_upload(upload, tags).await)
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let give_up = async {
            match self.upload_path(upload) {
                Ok(path) => transfer::remove(&*self.session().await?, &path).await,
                Err(_not_ours) => Ok(()),
            }
        };
        self.sort(|| format!("give up {}", upload.name), give_up.await)
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        let list = async { listing::page(&*self.session().await?, &self.root, prefix, start_after).await };
        self.sort(|| format!("list {prefix}"), list.await)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let delete = async { transfer::remove(&*self.session().await?, &self.path(name)).await };
        self.sort(|| format!("remove {name}"), delete.await)
    }

    fn location(&self) -> String {
        let user = self.host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.host.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("sftp://{user}{}{port}{}", self.host.name, self.root)
    }
}

fn unexpected(reply: &Reply) -> Failure {
    tracing::debug!(?reply, "out of place");
    Failure::Unreachable("the server gave an answer that is out of place".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(program: &str) -> Host {
        let (program, name) = (program.to_owned(), "nowhere".to_owned());
        Host { program, name, user: None, port: Some(1), key: None, known_hosts: None }
    }

    #[tokio::test]
    async fn what_ssh_says_is_shown_and_sorted() {
        for (said, transient) in [
            ("kex_exchange_identification: Connection reset by peer", true),
            ("", true),
            ("No ED25519 host key is known for h\r\nHost key verification failed.", false),
            ("u@h: Permission denied (publickey).", false),
        ] {
            let store = Sftp::new(host("ssh"), "/x/");
            let error = store.sort(|| "write a".to_owned(), Err::<(), _>(Failure::said(said))).err();
            assert_eq!(error.map(|error| error.is_transient()), Some(transient), "{said}");
        }
        assert_eq!(Sftp::new(host("ssh"), "/x/").location(), "sftp://nowhere:1/x");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_or_ends_at_once_is_an_error() {
        for (program, transient) in [("/absent/ssh", false), ("/bin/false", true), ("/bin/echo", true)] {
            let result = Sftp::new(host(program), "/x").put("a", Bytes::new()).await;
            assert!(
                result.as_ref().is_err_and(|error| error.is_transient() == transient),
                "{program}: {result:?}"
            );
        }
    }
}
