//! `cairn jobs`: the long work of a node.

use super::columns::{cells, columns};
use super::operate::Node;
use crate::config::units::Bytes;
use crate::jobs::JobReport;
use hyper::Method;
use indicatif::{BinaryBytes, HumanDuration};
use serde_json::json;
use std::time::Duration;

/// What `cairn jobs` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what a node works on, and what it has done lately
    List {
        #[command(flatten)]
        node: Node,
    },
    /// Ask a job to stop; it ends where nothing is left half done
    Cancel {
        /// Its id
        job: String,
        #[command(flatten)]
        node: Node,
    },
    /// Bound the bytes that a job moves in a second
    Throttle {
        /// Its id
        job: String,
        /// Such as 10MiB; none lifts the bound
        rate: String,
        #[command(flatten)]
        node: Node,
    },
}

/// Shows, cancels or slows jobs.
///
/// # Errors
///
/// When the node cannot be reached, or knows no such job.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List { node } => {
            let jobs: Vec<JobReport> = node.ask(async |client| client.get("/jobs").await)?;
            node.show(&jobs, |jobs| table(jobs))
        }
        Command::Cancel { job, node } => {
            let path = format!("/jobs/{job}/cancel");
            let job: JobReport =
                node.ask(async |client| client.send(Method::POST, &path, &json!({})).await)?;
            node.show(&job, |job| table(std::slice::from_ref(job)))
        }
        Command::Throttle { job, rate, node } => {
            let path = format!("/jobs/{job}/rate");
            let body = json!({ "bytesPerS": bound(&rate)? });
            let job: JobReport = node.ask(async |client| client.send(Method::PUT, &path, &body).await)?;
            node.show(&job, |job| table(std::slice::from_ref(job)))
        }
    }
}

fn bound(rate: &str) -> Result<Option<u64>, super::UsageError> {
    if rate == "none" {
        return Ok(None);
    }
    let bytes = rate.parse::<Bytes>().ok().filter(|bytes| bytes.0 > 0);
    let invalid = || super::UsageError(format!("expected a size such as 10MiB, or none, not '{rate}'"));
    bytes.map(|bytes| Some(bytes.0)).ok_or_else(invalid)
}

fn table(jobs: &[JobReport]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let mut rows = vec![cells(["id", "kind", "state", "phase", "done", "rate", "left", "subject", "result"])];
    rows.extend(jobs.iter().map(row));
    columns(&rows, "")
}

fn row(job: &JobReport) -> Vec<String> {
    let total = job.bytes_total.map(|total| format!(" of {}", BinaryBytes(total)));
    vec![
        job.id.clone(),
        job.kind.clone(),
        job.state.clone(),
        job.phase.clone(),
        format!("{}{}", BinaryBytes(job.bytes), total.unwrap_or_default()),
        if job.ended_ms.is_none() { format!("{}/s", BinaryBytes(job.bytes_per_s)) } else { String::new() },
        job.eta_s.map(|s| HumanDuration(Duration::from_secs(s)).to_string()).unwrap_or_default(),
        job.subject.clone(),
        job.result.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, ended_ms: Option<u64>) -> JobReport {
        JobReport {
            id: "00000000000000ff".to_owned(),
            kind: "verify".to_owned(),
            subject: "file:///a".to_owned(),
            phase: "tables".to_owned(),
            begun_ms: 1,
            ended_ms,
            bytes: 1 << 20,
            bytes_total: Some(3 << 20),
            keys: 0,
            bytes_per_s: 1 << 20,
            eta_s: ended_ms.is_none().then_some(2),
            bytes_per_s_max: None,
            state: state.to_owned(),
            result: None,
        }
    }

    #[test]
    fn a_job_is_one_line() {
        let text = table(&[job("working", None), job("cancelled", Some(2))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains("1.00 MiB of 3.00 MiB") && lines[1].contains("2 seconds"), "{text}");
        assert!(!lines[2].contains("/s"), "what has ended has no rate: {text}");
        assert_eq!(table(&[]), "no jobs\n");
    }

    #[test]
    fn a_bound_is_a_size_or_none() {
        assert_eq!(bound("none").ok(), Some(None));
        assert_eq!(bound("10MiB").ok(), Some(Some(10 << 20)));
        assert!(bound("0").is_err() && bound("fast").is_err());
    }
}
