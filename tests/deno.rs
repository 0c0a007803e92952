//! The examples, run by the real Deno and by Node with the real `@deno/kv`.
//!
//! Each example asserts what it shows and fails otherwise; here it is run, and the lines that it
//! prints for each thing shown are counted, so that an example that does nothing fails too.

use crate::rig::server::{Ended, Serve, cairn, run, succeed};
use crate::rig::{TestResult, peers, until};
use anyhow::Context;

/// Each example and how many things it shows.
const EXAMPLES: [(&str, usize); 4] =
    [("secondary_indexes", 16), ("watch", 6), ("expiry", 5), ("counters", 7)];

fn shown(ended: &Ended) -> usize {
    ended.stdout.lines().filter(|line| line.starts_with("ok: ")).count()
}

#[test]
fn the_examples_run_in_the_real_deno() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = Serve::on(data.path()).start()?;
    for (name, things) in EXAMPLES {
        let script = peers::examples().join(name).with_extension("ts");
        assert_eq!(shown(&peers::run_in_deno(&script, &[], &server)?), things, "{name}");
    }
    server.stop()
}

#[test]
fn the_examples_run_in_node_with_the_real_npm_client() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = Serve::on(data.path()).start()?;
    let folder = peers::node_folder()?;
    for file in std::fs::read_dir(peers::examples())? {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), folder.path().join(file.file_name()))?;
        }
    }
    for (name, things) in EXAMPLES {
        // As a reader of the README does: first in Deno, which writes values that Node cannot read.
        peers::run_in_deno(&peers::examples().join(name).with_extension("ts"), &[], &server)?;
        let script = folder.path().join(name).with_extension("ts");
        assert_eq!(shown(&peers::run_in_node(&script, &[], &server)?), things, "{name}");
    }
    server.stop()
}

#[test]
fn a_user_deleted_by_mistake_comes_back_from_the_commit_before() -> TestResult {
    let folder = tempfile::tempdir()?;
    let script = peers::examples().join("undo_a_mistake.ts");
    let server = Serve::on(&folder.path().join("data")).start()?;
    let mistake = peers::run_in_deno(&script, &[], &server)?;
    let before = mistake.stdout.lines().find_map(|line| line.strip_prefix("before: "));
    let before = before.context("the example prints the commit before the mistake")?;

    let archive = format!("file://{}", folder.path().join("data/archive").display());
    let restored = folder.path().join("restored");
    until("the archive has the commit before the mistake", || {
        let mut restore = cairn();
        restore.args(["restore", "--from", &archive, "--at", before, "--to"]).arg(&restored);
        Ok((run(&mut restore)?.code == Some(0)).then_some(()))
    })?;

    let copy = Serve::on(&restored).start()?;
    let found = peers::run_in_deno(&script, &["look"], &copy)?;
    assert!(found.stdout.contains(&format!("restored: {before}")), "{}", found.stdout);
    copy.stop()?;
    server.stop()
}

#[test]
fn the_examples_are_formatted_and_pass_the_linter() -> TestResult {
    succeed(peers::deno()?.args(["fmt", "--check", "--line-width", "110"]).arg(peers::examples()))?;
    succeed(peers::deno()?.args(["lint"]).arg(peers::examples()))?;
    Ok(())
}
