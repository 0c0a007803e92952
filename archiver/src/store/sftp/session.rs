//! One SFTP session over the system's `ssh`, which many requests share.
//!
//! - `ssh` checks the host's key against `known_hosts` and finds keys and agents; it never asks a person.
//! - Requests are matched with their answers by id, so that many are on their way at once. A request whose caller went
//!   away is answered into nowhere.
//! - A session that ended, or did not answer in time, is not used again.

use super::wire::{self, PACKET_LEN_MAX, Reply, Request};
use super::{Failure, Host};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long a session may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Packets that wait to be written.
const WAITING_MAX: usize = 64;
/// What is kept of what `ssh` says, in bytes.
const SAID_LEN_MAX: usize = 4 << 10;

type Pending = Arc<Mutex<BTreeMap<u32, oneshot::Sender<Reply>>>>;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    packets: mpsc::Sender<Bytes>,
    pending: Pending,
    next: AtomicU32,
    ended: Arc<AtomicBool>,
    extensions: BTreeSet<String>,
    /// Killed with the session.
    _child: Child,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn command(host: &Host) -> Command {
    let mut command = Command::new(&host.program);
    command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"]);
    command.args([
        "-o",
        "ServerAliveInterval=15",
        "-o",
        "ServerAliveCountMax=2",
        "-o",
        "ClearAllForwardings=yes",
    ]);
    if let Some(port) = host.port {
        command.args(["-p", &port.to_string()]);
    }
    if let Some(key) = &host.key {
        command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(key);
    }
    if let Some(file) = &host.known_hosts {
        command.args(["-o", &format!("UserKnownHostsFile=\"{file}\"")]);
    }
    if let Some(user) = &host.user {
        command.args(["-l", user]);
    }
    command.args(["-s", "--", &host.name, "sftp"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Session {
    /// Begins a session.
    pub(super) async fn begin(host: &Host) -> Result<Self, Failure> {
        let program = || format!("cannot start {}", host.program);
        let mut child =
            command(host).spawn().map_err(|error| Failure::Refused(format!("{}: {error}", program())))?;
        let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::Refused(program()));
        };
        let said = tokio::spawn(collect(stderr));
        let greet = async {
            stdin.write_all(&wire::init()).await?;
            read_packet(&mut stdout).await
        };
        let extensions = match timeout(BEGIN_TIMEOUT, greet).await {
            Ok(Ok(Some(packet))) => wire::decode_version(packet)
                .ok_or_else(|| Failure::Refused("the server speaks no SFTP version 3".to_owned()))?,
            Ok(Ok(None) | Err(_)) => {
                // Its end closes the stream that is collected.
                let text = timeout(BEGIN_TIMEOUT, said).await.ok().and_then(Result::ok).unwrap_or_default();
                return Err(Failure::said(&text));
            }
            Err(_elapsed) => return Err(Failure::Unreachable("ssh did not connect in time".to_owned())),
        };
        let (packets, waiting) = mpsc::channel(WAITING_MAX);
        let (pending, ended) = (Pending::default(), Arc::new(AtomicBool::new(false)));
        tokio::spawn(write_packets(stdin, waiting));
        tokio::spawn(read_replies(stdout, Arc::clone(&pending), Arc::clone(&ended)));
        let extensions = extensions.into_iter().collect();
        Ok(Self { packets, pending, next: AtomicU32::new(0), ended, extensions, _child: child })
    }

    pub(super) fn has(&self, extension: &str) -> bool {
        self.extensions.contains(extension)
    }

    /// Whether it can be used no more.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, request: Request<'_>) -> Result<Reply, Failure> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.pending).insert(id, answer);
        let lost = || Failure::Unreachable("the connection ended".to_owned());
        // Looked at after the answer is awaited for: whoever ends the session later removes it.
        if self.ended() {
            lock(&self.pending).remove(&id);
            return Err(lost());
        }
        let packet = request.encode(id);
        let exchange = async {
            self.packets.send(packet).await.map_err(|_closed| lost())?;
            answered.await.map_err(|_ended| lost())
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(Reply::Failed { code, message })) => Err(Failure::Status { code, message }),
            Ok(answer) => answer,
            Err(_elapsed) => {
                self.ended.store(true, Ordering::Release);
                Err(Failure::Unreachable("the server did not answer in time".to_owned()))
            }
        }
    }
}

async fn write_packets(mut stdin: ChildStdin, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(packet) = waiting.recv().await {
        // The reader notices the end, too, and tells those who wait.
        if stdin.write_all(&packet).await.is_err() {
            return;
        }
    }
}

async fn read_replies(mut stdout: ChildStdout, pending: Pending, ended: Arc<AtomicBool>) {
    while let Ok(Some(packet)) = read_packet(&mut stdout).await {
        let Some((id, reply)) = wire::decode(packet) else { break };
        let waiting = lock(&pending).remove(&id);
        // Nobody waits for it when its caller went away.
        drop(waiting.map(|waiting| waiting.send(reply)));
    }
    ended.store(true, Ordering::Release);
    lock(&pending).clear();
}

/// The next packet, without its length; `None` at the end.
async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let mut len = [0; 4];
    if let Err(error) = stream.read_exact(&mut len).await {
        let end = error.kind() == std::io::ErrorKind::UnexpectedEof;
        return if end { Ok(None) } else { Err(error) };
    }
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len > PACKET_LEN_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("a packet of {len} bytes")));
    }
    let mut packet = BytesMut::zeroed(len);
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet.freeze()))
}

/// The first of what `ssh` says.
async fn collect(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(len @ 1..) = stderr.read(&mut chunk).await {
        let room = SAID_LEN_MAX.saturating_sub(said.len());
        said.extend_from_slice(&chunk[..len.min(room)]);
    }
    String::from_utf8_lossy(&said).into_owned()
}
