//! What `cairn serve` can be told, and from where: a flag, else the environment, else the file, else the
//! default.
//!
//! - Every setting has a flag, a variable and a key in the file, of the same name.
//! - Anything that is not understood is refused before anything is opened.

pub mod archive;
pub mod cluster;
pub mod tls;
pub mod units;

use crate::connect::auth::check_access_token;
use archive::{ArchiveFlags, ArchiveSettings, Urls};
use cluster::{ClusterFlags, ClusterSettings};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tls::{TlsFlags, TlsSettings};
use units::{Bytes, Millis};

/// Where data is kept unless told otherwise.
pub const DEFAULT_DATA: &str = "./cairn-data";
/// Where requests are awaited unless told otherwise: this machine alone can reach it.
pub const DEFAULT_ADDR: &str = "127.0.0.1:4512";
/// How long old versions can be read unless told otherwise, in milliseconds.
pub const DEFAULT_HISTORY_MS: u64 = 60 * 60 * 1000;
/// Bytes that old versions may take unless told otherwise: as much as the disk's reserve.
pub const DEFAULT_HISTORY_BYTES_MAX: u64 = 1 << 30;
/// Threads that serve, at most.
const THREADS_MAX: usize = 1_024;

/// The flags of `cairn serve`, each with its environment variable.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Directory of the data; created when needed [default: ./cairn-data]
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Address to serve on; only this machine can reach the default [default: 127.0.0.1:4512]
    #[arg(long, env = "CAIRN_ADDR", value_name = "IP:PORT")]
    pub addr: Option<String>,

    /// Access token that clients must give [default: made once, kept in the file token of the data directory]
    #[arg(long, env = "DENO_KV_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub access_token: Option<String>,

    /// File with the same settings, in TOML
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How the log is written: text or json [default: text]
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Free disk space at which writes stop, such as 10GiB [default: the larger of 1 GiB and 5 % of the disk]
    #[arg(long, env = "CAIRN_DISK_RESERVE", value_name = "SIZE")]
    pub disk_reserve: Option<String>,

    /// How long old versions can be read, such as 1h [default: 1h]
    #[arg(long, env = "CAIRN_HISTORY", value_name = "DURATION")]
    pub history: Option<String>,

    /// Disk that old versions may take; past it they are kept for less long [default: 1GiB]
    #[arg(long, env = "CAIRN_HISTORY_SIZE", value_name = "SIZE")]
    pub history_size: Option<String>,

    /// Memory for cached blocks, the newest writes and the upkeep of the data, such as 512MiB [default: 160MiB]
    #[arg(long, env = "CAIRN_MEMORY", value_name = "SIZE")]
    pub memory: Option<String>,

    /// Threads that serve; upkeep has its own [default: one less than the machine has processors, at least 1]
    #[arg(long, env = "CAIRN_THREADS", value_name = "COUNT")]
    pub threads: Option<u64>,

    /// Stored data that is read again in a second, to find what the disk has damaged; 0 is none [default: 8MiB]
    #[arg(long, env = "CAIRN_SCRUB", value_name = "SIZE")]
    pub scrub: Option<String>,

    /// Archives.
    #[command(flatten)]
    pub archives: ArchiveFlags,

    /// What a node of a cluster is told.
    #[command(flatten)]
    pub cluster: ClusterFlags,

    /// Certificates.
    #[command(flatten)]
    pub tls: TlsFlags,
}

/// The same settings in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data: Option<PathBuf>,
    addr: Option<String>,
    archive: Option<Urls>,
    archives: Option<Vec<String>>,
    archive_recipient: Option<Urls>,
    archive_recipients_file: Option<PathBuf>,
    archive_interval: Option<String>,
    archive_rate: Option<String>,
    archive_keep: Option<String>,
    verify_every: Option<String>,
    access_token: Option<String>,
    log_format: Option<String>,
    disk_reserve: Option<String>,
    history: Option<String>,
    history_size: Option<String>,
    memory: Option<String>,
    threads: Option<u64>,
    scrub: Option<String>,
    archive_retention: Option<String>,
    checkpoint_interval: Option<String>,
    peer_addr: Option<String>,
    peer_advertise: Option<String>,
    join: Option<String>,
    learner: Option<bool>,
    region: Option<String>,
    primary_region: Option<String>,
    groups: Option<u64>,
    read_lease: Option<bool>,
    heartbeat: Option<String>,
    election: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    peer_cert: Option<PathBuf>,
    peer_key: Option<PathBuf>,
    peer_ca: Option<PathBuf>,
    peer_name: Option<String>,
}

impl File {
    /// What it says of archives.
    fn archives(&mut self) -> ArchiveFlags {
        let one = self.archive.take().map(Vec::from).unwrap_or_default();
        ArchiveFlags {
            archive: one.into_iter().chain(self.archives.take().unwrap_or_default()).collect(),
            archive_recipient: self.archive_recipient.take().map(Vec::from).unwrap_or_default(),
            archive_recipients_file: self.archive_recipients_file.take(),
            archive_interval: self.archive_interval.take(),
            archive_rate: self.archive_rate.take(),
            archive_retention: self.archive_retention.take(),
            archive_keep: self.archive_keep.take(),
            verify_every: self.verify_every.take(),
            checkpoint_interval: self.checkpoint_interval.take(),
        }
    }

    /// What it says of certificates.
    fn tls(&mut self) -> TlsFlags {
        TlsFlags {
            tls_cert: self.tls_cert.take(),
            tls_key: self.tls_key.take(),
            tls_ca: self.tls_ca.take(),
            peer_cert: self.peer_cert.take(),
            peer_key: self.peer_key.take(),
            peer_ca: self.peer_ca.take(),
            peer_name: self.peer_name.take(),
        }
    }

    /// What it says of the cluster.
    fn cluster(&mut self) -> ClusterFlags {
        ClusterFlags {
            peer_addr: self.peer_addr.take(),
            peer_advertise: self.peer_advertise.take(),
            join: self.join.take(),
            learner: self.learner == Some(true),
            region: self.region.take(),
            primary_region: self.primary_region.take(),
            groups: self.groups,
            read_lease: self.read_lease == Some(true),
            heartbeat: self.heartbeat.take(),
            election: self.election.take(),
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What a server runs with.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Directory of the data.
    pub data: PathBuf,
    /// Address to serve on.
    pub addr: SocketAddr,
    /// Where and how commits are archived.
    pub archive: ArchiveSettings,
    /// The access token, when one was given.
    pub access_token: Option<String>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Free bytes at which writes stop; `None` is the engine's default.
    pub disk_reserve_bytes: Option<u64>,
    /// How long old versions can be read, in milliseconds.
    pub history_ms: u64,
    /// Bytes that old versions may take.
    pub history_bytes_max: u64,
    /// Memory of the engine, in bytes; `None` is its default.
    pub memory_bytes_max: Option<u64>,
    /// Threads that serve.
    pub threads: usize,
    /// Bytes of tables of each group that are read again in a second; `None` is the default.
    pub scrub_bytes_per_s: Option<u64>,
    /// What a node of a cluster runs with.
    pub cluster: ClusterSettings,
    /// Which certificates there are.
    pub tls: TlsSettings,
}

impl std::fmt::Debug for Settings {
    /// Everything but the access token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("data", &self.data)
            .field("addr", &self.addr)
            .field("archive", &self.archive)
            .field("log_format", &self.log_format)
            .field("disk_reserve_bytes", &self.disk_reserve_bytes)
            .field("history_ms", &self.history_ms)
            .field("history_bytes_max", &self.history_bytes_max)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .field("threads", &self.threads)
            .field("scrub_bytes_per_s", &self.scrub_bytes_per_s)
            .field("cluster", &self.cluster)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// What a user has to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting whose value cannot be used.
    #[error("invalid value for {name}: {reason}")]
    Value {
        /// The setting, as a flag is written without its dashes.
        name: &'static str,
        /// What is wrong. Never holds a secret.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read config file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("config file {}, line {line}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, on one line.
        reason: String,
    },
}

impl Settings {
    /// Joins what was said where. Clap has put the environment behind the flags.
    ///
    /// # Errors
    ///
    /// When a value cannot be used, or the file cannot be read.
    pub fn resolve(flags: Flags) -> Result<Settings, ConfigError> {
        let mut file = flags.config.as_deref().map_or_else(|| Ok(File::default()), read_file)?;
        let access_token = flags.access_token.or(file.access_token.take());
        if let Some(token) = &access_token {
            check_access_token(token).map_err(invalid("access-token"))?;
        }
        let data = flags.data.or(file.data.take()).unwrap_or_else(|| DEFAULT_DATA.into());
        if data.as_os_str().is_empty() {
            return Err(ConfigError::Value { name: "data", reason: "expected a directory".to_owned() });
        }
        let log_format = flags.log_format.or(file.log_format.take());
        let cluster = flags.cluster.or(file.cluster());
        let tls = flags.tls.or(file.tls());
        let archives = file.archives();
        let addr = addr(flags.addr.or(file.addr).as_deref().unwrap_or(DEFAULT_ADDR))?;
        Ok(Settings {
            data,
            addr,
            cluster: ClusterSettings::resolve(cluster, addr)?,
            tls: TlsSettings::resolve(tls)?,
            archive: ArchiveSettings::resolve(flags.archives.or(archives))?,
            access_token,
            log_format: log_format.as_deref().map_or(Ok(LogFormat::Text), parse_log_format)?,
            disk_reserve_bytes: bytes("disk-reserve", flags.disk_reserve.or(file.disk_reserve))?,
            history_ms: millis("history", flags.history.or(file.history))?.unwrap_or(DEFAULT_HISTORY_MS),
            history_bytes_max: bytes("history-size", flags.history_size.or(file.history_size))?
                .unwrap_or(DEFAULT_HISTORY_BYTES_MAX),
            memory_bytes_max: bytes("memory", flags.memory.or(file.memory))?,
            threads: flags.threads.or(file.threads).map_or_else(|| Ok(default_threads()), threads)?,
            scrub_bytes_per_s: bytes("scrub", flags.scrub.or(file.scrub))?,
        })
    }
}

fn invalid<E: ToString>(name: &'static str) -> impl FnOnce(E) -> ConfigError {
    move |error| ConfigError::Value { name, reason: error.to_string() }
}

/// One processor is left to the thread that syncs the log and to those of upkeep: where a request goes from thread to thread
/// on few processors, waking them costs more than they win.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().saturating_sub(1).max(1))
}

fn threads(count: u64) -> Result<usize, ConfigError> {
    let threads = usize::try_from(count).ok().filter(|threads| (1..=THREADS_MAX).contains(threads));
    threads.ok_or_else(|| invalid("threads")(format!("expected 1 to {THREADS_MAX}, not {count}")))
}

fn addr(text: &str) -> Result<SocketAddr, ConfigError> {
    let reason = |_| format!("expected <ip>:<port> such as {DEFAULT_ADDR}, not '{text}'");
    text.parse().map_err(reason).map_err(invalid("addr"))
}

fn parse_log_format(text: &str) -> Result<LogFormat, ConfigError> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(invalid("log-format")(format!("expected text or json, not '{text}'"))),
    }
}

fn bytes(name: &'static str, text: Option<String>) -> Result<Option<u64>, ConfigError> {
    let size = text.map(|text| text.parse::<Bytes>()).transpose();
    Ok(size.map_err(invalid(name))?.map(|Bytes(bytes)| bytes))
}

fn millis(name: &'static str, text: Option<String>) -> Result<Option<u64>, ConfigError> {
    let time = text.map(|text| text.parse::<Millis>()).transpose();
    Ok(time.map_err(invalid(name))?.map(|Millis(ms)| ms))
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
        let reason = error.message().lines().collect::<Vec<_>>().join(", ");
        ConfigError::Parse { path: path.to_path_buf(), line, reason }
    })
}

#[cfg(test)]
mod tests;
