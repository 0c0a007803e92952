//! Three members of etcd with its defaults, or with other heartbeats and elections.

use super::{Kind, Node};
use crate::etcd::Member;
use ::cairn::bench::target::Target;
use std::path::PathBuf;
use std::process::Command;

/// How far a member may be behind another to count as caught up, in log entries.
const BEHIND_MAX: u64 = 16;

/// etcd.
#[derive(Debug, Clone)]
pub struct Etcd {
    /// Its binary.
    pub binary: PathBuf,
    /// Heartbeat and election timeout in milliseconds; its defaults (100 and 1000) when not given.
    pub timing_ms: Option<(u32, u32)>,
    /// Connections that all clients of a member share; with 0 each client has its own.
    pub connections: usize,
}

impl Kind for Etcd {
    type Target = Member;

    fn name(&self) -> &'static str {
        "etcd"
    }

    fn command(&self, node: &Node, nodes: &[Node]) -> Command {
        let url = |address: &str| format!("http://{address}");
        let members: Vec<_> =
            nodes.iter().map(|node| format!("n{}={}", node.number, url(&node.peer))).collect();
        let mut command = Command::new(&self.binary);
        command.arg("--name").arg(format!("n{}", node.number));
        command.arg("--data-dir").arg(node.folder.join("data"));
        for flag in ["--listen-client-urls", "--advertise-client-urls"] {
            command.arg(flag).arg(url(&node.client));
        }
        for flag in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            command.arg(flag).arg(url(&node.peer));
        }
        command.arg("--initial-cluster").arg(members.join(","));
        command.args(["--initial-cluster-state", "new", "--logger", "zap"]);
        if let Some((heartbeat, election)) = self.timing_ms {
            command.arg("--heartbeat-interval").arg(heartbeat.to_string());
            command.arg("--election-timeout").arg(election.to_string());
        }
        command
    }

    async fn target(&self, node: &Node) -> anyhow::Result<Member> {
        Ok(Member::open(&node.client, self.connections).await?)
    }

    async fn leader(&self, nodes: &[Node]) -> anyhow::Result<Option<usize>> {
        let mut seen = Vec::new();
        for node in nodes {
            let mut client = Member::open(&node.client, 0).await?.connect().await?;
            seen.push(client.status().await?);
        }
        let leader = seen.first().map_or(0, |status| status.leader);
        let newest = seen.iter().map(|status| status.applied).max().unwrap_or(0);
        let agreed = seen.iter().all(|one| one.leader == leader && one.applied + BEHIND_MAX >= newest);
        Ok(seen.iter().position(|one| agreed && one.member == leader))
    }
}
