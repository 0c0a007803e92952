//! Three nodes of cairn with their defaults.

use super::{Kind, Node};
use crate::servers::TOKEN;
use ::cairn::bench::client::{Http, Session};
use std::path::PathBuf;
use std::process::Command;

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
            command.arg("--join").arg(format!("http://{}", nodes[0].client));
        }
        command.args(&self.arguments).env("DENO_KV_ACCESS_TOKEN", TOKEN);
        command
    }

    async fn target(&self, node: &Node) -> anyhow::Result<Session> {
        Ok(Session::open(&format!("http://{}", node.client), TOKEN, self.http).await?)
    }

    async fn leader(&self, _nodes: &[Node]) -> anyhow::Result<Option<usize>> {
        anyhow::bail!("not yet")
    }
}
