//! Long work as the admin API shows it.

use archiver::job::{JobStatus, Outcome};
use serde::{Deserialize, Serialize};

/// How far a job of a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobReport {
    /// 16 hexadecimal digits.
    pub id: String,
    /// `backup`, `restore`, `verify`, `prune`, `merge`, `sync` or `import`.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What it does at the moment.
    pub phase: String,
    /// When it began, Unix milliseconds.
    pub begun_ms: u64,
    /// When it ended, Unix milliseconds.
    pub ended_ms: Option<u64>,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all, once they are known.
    pub bytes_total: Option<u64>,
    /// Keys done.
    pub keys: u64,
    /// Bytes a second, lately.
    pub bytes_per_s: u64,
    /// Seconds left, when they can be told.
    pub eta_s: Option<u64>,
    /// Bytes a second, at most.
    pub bytes_per_s_max: Option<u64>,
    /// `working`, `cancelling`, `done`, `cancelled` or `failed`.
    pub state: String,
    /// What came of it, or why it failed.
    pub result: Option<String>,
}

impl From<JobStatus> for JobReport {
    fn from(job: JobStatus) -> Self {
        let (state, result) = match job.outcome {
            None if job.is_cancelled => ("cancelling", None),
            None => ("working", None),
            Some(Outcome::Done(result)) => ("done", Some(result)),
            Some(Outcome::Cancelled) => ("cancelled", None),
            Some(Outcome::Failed(reason)) => ("failed", Some(reason)),
        };
        Self {
            id: job.id.to_string(),
            kind: job.kind.as_str().to_owned(),
            subject: job.subject,
            phase: job.phase.to_owned(),
            begun_ms: job.begun_ms,
            ended_ms: job.ended_ms,
            bytes: job.bytes,
            bytes_total: job.bytes_total,
            keys: job.keys,
            bytes_per_s: job.bytes_per_s,
            eta_s: job.eta_s,
            bytes_per_s_max: job.bytes_per_s_max,
            state: state.to_owned(),
            result,
        }
    }
}
