//! Three nodes are restarted one after another, as for an upgrade, while real Deno clients write and read through a load
//! balancer: no request may fail.

use crate::rig::balancer::Balancer;
use crate::rig::cluster::Cluster;
use crate::rig::output::Output;
use crate::rig::{TOKEN, TestResult, peers, until};
use anyhow::Context;
use std::path::Path;
use std::process::{Child, Stdio};

const NODES: usize = 3;
const CLIENTS: usize = 2;
/// Rounds of requests that each client makes between two restarts, at least.
const ROUNDS: u64 = 50;

/// A Deno program that writes and reads until its standard input ends; killed when dropped.
struct Deno {
    child: Child,
    printed: Output,
    log: Output,
}

impl Deno {
    fn start(url: &str, number: usize) -> TestResult<Deno> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/load.ts");
        let mut command = peers::deno()?;
        command
            .args(["run", "--unstable-kv", "--allow-all", "--no-lock"])
            .arg(script)
            .arg(number.to_string());
        command.env("DENO_KV_URL", url).env("DENO_KV_ACCESS_TOKEN", TOKEN);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let printed = Output::collect(child.stdout.take().context("stdout is piped")?);
        let log = Output::collect(child.stderr.take().context("stderr is piped")?);
        Ok(Deno { child, printed, log })
    }

    /// Rounds of requests that it has made.
    fn rounds(&self) -> u64 {
        let lines = self.printed.lines();
        lines.iter().rev().find_map(|line| line.strip_prefix("rounds: ")?.parse().ok()).unwrap_or(0)
    }

    /// Ends it; it compares what it wrote with what is there, and fails if any request failed.
    fn finish(mut self) -> TestResult<u64> {
        drop(self.child.stdin.take());
        let status = until("the Deno program ends", || Ok(self.child.try_wait()?))?;
        anyhow::ensure!(status.success(), "{status}: {}\n{}", self.printed.text(), self.log.text());
        let lines = self.printed.lines();
        let requests = lines.iter().find_map(|line| line.strip_prefix("requests: ")?.parse().ok());
        requests.context("it says how many requests it made")
    }
}

impl Drop for Deno {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().and_then(|()| self.child.wait()).expect("a child of ours can be killed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_are_restarted_in_turn_and_no_request_of_a_deno_client_fails() -> TestResult {
    let mut cluster = Cluster::local(NODES)?;
    let addresses = cluster.nodes().iter().map(|node| node.client.clone()).collect();
    let balancer = Balancer::start(addresses).await?;
    let clients =
        (0..CLIENTS).map(|number| Deno::start(&balancer.url, number)).collect::<TestResult<Vec<_>>>()?;
    rounds_more(&clients)?;
    for node in 0..NODES {
        cluster.stop(node)?;
        rounds_more(&clients)?;
        cluster.start(node)?;
        cluster.whole(NODES)?;
        rounds_more(&clients)?;
    }
    let mut requests = 0;
    for client in clients {
        requests += client.finish()?;
    }
    println!(
        "cluster: rolling restart of {NODES} nodes, {requests} requests of {CLIENTS} Deno clients, none failed"
    );
    Ok(())
}

/// Waits until each client has made some more rounds of requests.
fn rounds_more(clients: &[Deno]) -> TestResult {
    let wanted: Vec<_> = clients.iter().map(|client| client.rounds() + ROUNDS).collect();
    let arrived = until("each Deno client goes on", || {
        let done = clients.iter().zip(&wanted).all(|(client, wanted)| client.rounds() >= *wanted);
        Ok(done.then_some(()))
    });
    arrived.with_context(|| clients.iter().map(|client| client.log.text()).collect::<Vec<_>>().join("\n"))
}
