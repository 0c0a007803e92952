//! The log of the process: events to standard error, as text or JSON.
//!
//! ERROR means that a person must look. Levels are set by `RUST_LOG`, such as `info,cairn=debug`.
//!
//! The consensus library tells every lost heartbeat as a warning and its own end as an error. What matters of it this process
//! says itself, once and in its own words, so the library is silent unless `RUST_LOG` says otherwise. The library of the Raft
//! log warns of each tail that a crash tore; whether anything is missing is judged by the watermark, which is not silent.

use crate::config::LogFormat;
use std::io;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

const DEFAULT_FILTER: &str = "info,openraft=off,raft_engine=error";

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The variable cannot be read. Change it.
    #[error("invalid value for RUST_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::FromEnvError),
    /// Something else logs already.
    #[error(transparent)]
    Init(#[from] TryInitError),
}

/// Starts to log. Once per process.
///
/// # Errors
///
/// When `RUST_LOG` cannot be read, or logging has started before.
pub fn start(format: LogFormat) -> Result<(), TelemetryError> {
    let filter = if std::env::var_os("RUST_LOG").is_some_and(|filter| !filter.is_empty()) {
        EnvFilter::try_from_default_env()?
    } else {
        EnvFilter::new(DEFAULT_FILTER)
    };
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => {
            events.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).finish().try_init()?
        }
        LogFormat::Json => events.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}
