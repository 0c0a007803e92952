//! `cairn store`: what a place for archives can do.

use super::UsageError;
use super::columns::{cells, columns};
use super::restore::runtime;
use archiver::store;
use archiver::store::probe::{Check, Outcome, Report, probe};
use engine::Env;
use serde_json::{Value, json};

/// What `cairn store` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Try out what a store can do: writes a few objects below a fresh folder, and removes them
    Probe {
        /// URL of the store: file:///absolute/path, s3://bucket/prefix?endpoint=... or sftp://user@host/path
        #[arg(env = "CAIRN_ARCHIVE", value_name = "URL")]
        url: String,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Tries out a store.
///
/// # Errors
///
/// When the URL is wrong, or nothing can be written there.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Command::Probe { url, json } = args.command;
    let store = store::open(&url).map_err(|error| UsageError(error.to_string()))?;
    let report = runtime()?.block_on(probe(&*store, &*Env::real().random));
    if json {
        println!("{:#}", as_json(&report));
    } else {
        print!("{}", as_text(&report));
    }
    anyhow::ensure!(report.can_be_written(), "nothing can be written to {}", report.location);
    Ok(())
}

/// How it ended, in one word, and what is to be said about it.
fn words(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Works(how) => ("works", how),
        Outcome::Differs(how) => ("differs", how),
        Outcome::Unsupported => ("unsupported", ""),
        Outcome::Refused(said) => ("refused", said),
        Outcome::Unreachable(said) => ("unreachable", said),
    }
}

fn as_text(report: &Report) -> String {
    let mut rows = vec![cells(["CHECK", "USED BY", "RESULT", "MS", "REMARK"])];
    for Check { name, used_by, outcome, took } in &report.checks {
        let (result, remark) = words(outcome);
        let ms = took.as_millis().to_string();
        rows.push(cells([name, used_by, result, &ms, remark]));
    }
    let mut text = format!("{}\n{}", report.location, columns(&rows, ""));
    for name in &report.left {
        text.push_str(&format!("left behind: {name}\n"));
    }
    text
}

fn as_json(report: &Report) -> Value {
    let check = |Check { name, used_by, outcome, took }: &Check| {
        let (result, remark) = words(outcome);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        json!({ "check": name, "used_by": used_by, "result": result, "remark": remark, "ms": ms })
    };
    let checks: Vec<Value> = report.checks.iter().map(check).collect();
    json!({ "location": report.location, "checks": checks, "left": report.left })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_report_is_a_table_or_json() {
        let took = Duration::from_millis(3);
        let check = |name, outcome| Check { name, used_by: "restore", outcome, took };
        let report = Report {
            location: "s3://b".to_owned(),
            checks: vec![
                check("read", Outcome::Works(String::new())),
                check("remove", Outcome::Refused("no".to_owned())),
            ],
            left: vec!["probe-1/object".to_owned()],
        };
        let text = as_text(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[4]), (5, "s3://b", "left behind: probe-1/object"), "{text}");
        assert_eq!(
            lines[3].split_whitespace().collect::<Vec<_>>(),
            ["remove", "restore", "refused", "3", "no"]
        );
        let json = as_json(&report);
        assert_eq!(
            (json["checks"][1]["result"].as_str(), json["checks"][0]["ms"].as_u64()),
            (Some("refused"), Some(3))
        );
    }
}
