//! Three nodes of cairn with their defaults, or with further arguments.

use super::{Kind, Node};
use crate::servers::TOKEN;
use ::cairn::admin::client::Client;
use ::cairn::bench::client::{Http, Session};
use ::cairn::cluster::status::{ClusterStatus, NodeStatus};
use anyhow::Context;
use std::path::PathBuf;
use std::process::Command;

/// The group whose leader is meant: the one that holds the default database.
const GROUP: u64 = 1;
/// How far a node may be behind to count as caught up, in log entries.
const LAG_MAX: u64 = 16;
/// Silence after which a node counts as gone, in milliseconds.
const SILENCE_MS_MAX: u64 = 1000;

/// CairnKV.
#[derive(Debug, Clone)]
pub struct Cairn {
    /// Its binary.
    pub binary: PathBuf,
    /// The version of HTTP that clients speak.
    pub http: Http,
    /// Further arguments of `cairn serve`.
    pub arguments: Vec<String>,
}

impl Kind for Cairn {
    type Target = Session;

    fn name(&self) -> &'static str {
        "cairn"
    }

    fn command(&self, node: &Node, nodes: &[Node]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(node.folder.join("data"));
        command.args(["--addr", &node.client, "--peer-addr", &node.peer]);
        if node.number > 1 {
            let others = nodes.iter().filter(|other| other.number != node.number);
            let urls: Vec<_> = others.map(|other| format!("http://{}", other.client)).collect();
            command.arg("--join").arg(urls.join(","));
        }
        command.args(&self.arguments).env("DENO_KV_ACCESS_TOKEN", TOKEN);
        command
    }

    async fn target(&self, node: &Node) -> anyhow::Result<Session> {
        Ok(Session::open(&format!("http://{}", node.client), TOKEN, self.http).await?)
    }

    async fn leader(&self, nodes: &[Node]) -> anyhow::Result<Option<usize>> {
        let node = nodes.first().context("a cluster has nodes")?;
        let node = Client::new(&format!("http://{}", node.client), TOKEN, None)?;
        let status: ClusterStatus = node.get("/cluster").await?;
        let whole = status.nodes.len() == nodes.len() && status.nodes.iter().all(is_present);
        let group = status.groups.iter().find(|group| group.group == GROUP);
        let leader = group.and_then(|group| group.leader).filter(|_| whole);
        let leader = status.nodes.iter().find(|node| Some(node.node) == leader);
        Ok(leader.and_then(|leader| nodes.iter().position(|node| node.peer == leader.address)))
    }
}

/// Whether a node votes, is there and lacks little.
fn is_present(node: &NodeStatus) -> bool {
    let heard = !node.leads.is_empty() || node.heard_ms.is_some_and(|ms| ms <= SILENCE_MS_MAX);
    node.state == "voter" && heard && node.lag.is_some_and(|lag| lag <= LAG_MAX)
}
