//! `deploy/local-cluster`, as a new user would run it.

use crate::rig::cluster::DISK_RESERVE;
use crate::rig::server::{BINARY, Ended, cleaned, run};
use crate::rig::{TOKEN, TestResult, http};
use anyhow::Context;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Ports that the script takes from the first on.
const PORTS: u16 = 22;

/// The script with a folder and ports of its own; what it started is stopped when this is dropped.
struct Script {
    folder: TempDir,
    port: u16,
}

impl Script {
    fn new() -> TestResult<Script> {
        Ok(Script { folder: tempfile::tempdir()?, port: free_stretch()? })
    }

    fn run(&self, arguments: &[&str]) -> TestResult<Ended> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local-cluster");
        let mut command = cleaned(Command::new(script));
        command.args(arguments).current_dir(self.folder.path()).env("CAIRN", BINARY);
        command.env("CAIRN_DISK_RESERVE", DISK_RESERVE);
        run(command.env("CAIRN_CLUSTER_PORT", self.port.to_string()))
    }

    fn succeed(&self, arguments: &[&str]) -> TestResult<String> {
        let ended = self.run(arguments)?;
        anyhow::ensure!(ended.code == Some(0), "{arguments:?}: {}\n{}", ended.stdout, ended.stderr);
        Ok(ended.stdout)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // A test that failed half way leaves nodes behind; where none run, there is nothing to stop.
        self.run(&["stop"]).ok();
    }
}

#[test]
fn a_new_user_starts_three_nodes_kills_one_and_removes_them() -> TestResult {
    let script = Script::new()?;
    let said = script.succeed(&[])?;
    for expected in
        ["killed node 1", "writing through node 2", "requests per second", "Deno.openKv(\"http://127.0.0.1:"]
    {
        assert!(said.contains(expected), "no '{expected}' in:\n{said}");
    }
    for node in 0..3 {
        let address = format!("127.0.0.1:{}", script.port + 10 * node);
        assert_eq!(http::get(&address, "/readyz")?.status, 200, "node {}", node + 1);
    }
    let again = script.succeed(&["start"])?;
    assert_eq!(again.matches(" voter ").count(), 3, "{again}");
    script.succeed(&["stop"])?;
    assert!(http::get(&format!("127.0.0.1:{}", script.port), "/readyz").is_err());
    script.succeed(&["remove"])?;
    assert!(!script.folder.path().join("cairn-cluster").exists());
    Ok(())
}

#[test]
fn what_cannot_be_is_said_in_one_line() -> TestResult {
    let script = Script::new()?;
    let status = script.run(&["status"])?;
    assert_eq!((status.code, status.stderr.lines().count()), (Some(1), 1), "{}", status.stderr);
    assert!(!status.stderr.contains(TOKEN));
    assert_eq!(script.run(&["dance"])?.code, Some(2));
    Ok(())
}

/// The first of a stretch of ports of which the ones that are used were free a moment ago.
fn free_stretch() -> TestResult<u16> {
    for _attempt in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let Some(last) = first.checked_add(PORTS) else { continue };
        let wanted = (first..last).filter(|port| (port - first) % 10 < 2);
        let held: Result<Vec<_>, _> = wanted.map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
        if held.is_ok() {
            return Ok(first);
        }
    }
    None.context("no free ports")
}
