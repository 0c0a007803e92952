//! A database file that the real Deno wrote is imported, and the real Deno reads the same from us.

use crate::rig::server::{Serve, cairn, succeed};
use crate::rig::{TestResult, peers, until};
use std::path::{Path, PathBuf};

/// How long the entry that expires stays, in milliseconds: longer than making and reading the file takes.
const SOON_MS: &str = "20000";
/// The line that shows the entry that expires.
const SOON: &str = "there for a while";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/import.ts")
}

#[test]
fn the_real_deno_reads_from_us_what_it_wrote_into_its_own_file() -> TestResult {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("kv.sqlite3");
    let mut deno = peers::deno()?;
    deno.args(["run", "--unstable-kv", "--allow-all", "--no-lock"]).arg(script());
    succeed(deno.arg("make").arg(&file).arg(SOON_MS))?;
    let mut deno = peers::deno()?;
    deno.args(["run", "--unstable-kv", "--allow-all", "--no-lock"]).arg(script());
    let from_file = succeed(deno.arg("show").arg(&file))?.stdout;
    assert_eq!(from_file.lines().count(), 2529, "everything is in Deno's own file");
    assert!(from_file.contains(SOON));

    let data = folder.path().join("data");
    succeed(cairn().arg("import").arg("--sqlite").arg(&file).arg("--data").arg(&data))?;
    let server = Serve::on(&data).start()?;
    let from_us = peers::run_in_deno(&script(), &["show"], &server)?.stdout;
    assert_eq!(from_us, from_file);
    until("the entry expires here too", || {
        let shown = peers::run_in_deno(&script(), &["show"], &server)?.stdout;
        let expired = !shown.contains(SOON);
        assert!(!expired || shown.lines().count() == 2528, "it alone");
        Ok(expired.then_some(()))
    })?;
    server.stop()
}
