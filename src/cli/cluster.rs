//! `cairn cluster`: how a cluster stands, and who belongs to it.

pub(super) mod force_new;
mod show;

use super::operate::Node;
use crate::cluster::operator::{NodeChange, RegionStatus, SealedGroup};
use crate::cluster::status::ClusterStatus;
use hyper::Method;
use serde_json::json;

/// What `cairn cluster` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show nodes and groups: who leads, who lacks what
    Status {
        #[command(flatten)]
        node: Node,
    },
    /// Announce a node that will join from an address; it is started there with --join
    Add {
        /// Where other nodes will reach it
        #[arg(value_name = "HOST:PORT")]
        address: String,
        /// Where it will stand
        #[arg(long, value_name = "NAME", default_value = "")]
        region: String,
        #[command(flatten)]
        node: Node,
    },
    /// Give a learner a vote
    Promote {
        /// Its number
        id: u64,
        #[command(flatten)]
        node: Node,
    },
    /// Take a node out of the cluster, for good
    Remove {
        /// Its number
        id: u64,
        /// Do so although too few of the others may answer
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        node: Node,
    },
    /// Let a node lead
    TransferLeader {
        /// Its number
        id: u64,
        /// In this group alone
        #[arg(long, value_name = "N")]
        group: Option<u64>,
        #[command(flatten)]
        node: Node,
    },
    /// Show the regions, or say where leaders are kept
    Regions {
        /// Keep leaders here while a node here is healthy
        #[arg(long, value_name = "NAME", conflicts_with = "no_primary")]
        primary: Option<String>,
        /// Keep leaders wherever they are
        #[arg(long)]
        no_primary: bool,
        #[command(flatten)]
        node: Node,
    },
    /// Take no more writes, because another cluster is to go on from here (cairn standby promote --cluster does this)
    Seal {
        /// Why, for those whose writes are refused
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        node: Node,
    },
    /// Take writes again
    Unseal {
        #[command(flatten)]
        node: Node,
    },
    /// Begin the cluster anew with the data of one survivor, when a majority is lost for good
    ForceNew(force_new::Args),
}

/// Shows or changes a cluster.
///
/// # Errors
///
/// When the node cannot be reached, or refuses.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Status { node } => {
            let status: ClusterStatus = node.ask(async |client| client.get("/cluster").await)?;
            node.show(&status, show::status)
        }
        Command::Add { address, region, node } => {
            let body = json!({ "address": address, "region": region });
            change(&node, Method::POST, "/cluster/nodes", &body)
        }
        Command::Promote { id, node } => {
            change(&node, Method::POST, &format!("/cluster/nodes/{id}/promote"), &json!({}))
        }
        Command::Remove { id, force, node } => {
            let query = if force { "?force=true" } else { "" };
            change(&node, Method::DELETE, &format!("/cluster/nodes/{id}{query}"), &json!({}))
        }
        Command::TransferLeader { id, group, node } => {
            let body = json!({ "node": id, "group": group });
            change(&node, Method::POST, "/cluster/transfer-leader", &body)
        }
        Command::Regions { primary, no_primary, node } => regions(&node, primary, no_primary),
        Command::Seal { reason, node } => {
            let body = json!({ "reason": reason });
            let sealed: Vec<SealedGroup> =
                node.ask(async |client| client.send(Method::POST, "/cluster/seal", &body).await)?;
            node.show(&sealed, |sealed| show::sealed(sealed))
        }
        Command::Unseal { node } => {
            let unsealed: Vec<SealedGroup> =
                node.ask(async |client| client.send(Method::DELETE, "/cluster/seal", &json!({})).await)?;
            node.show(&unsealed, |_| "the cluster takes writes again\n".to_owned())
        }
        Command::ForceNew(args) => force_new::run(args),
    }
}

fn change(node: &Node, method: Method, path: &str, body: &serde_json::Value) -> anyhow::Result<()> {
    let done: NodeChange = node.ask(async |client| client.send(method, path, body).await)?;
    node.show(&done, |done| format!("{}\n", done.message))
}

fn regions(node: &Node, primary: Option<String>, no_primary: bool) -> anyhow::Result<()> {
    let regions: Vec<RegionStatus> = if primary.is_some() || no_primary {
        let body = json!({ "primary": primary });
        node.ask(async |client| client.send(Method::PUT, "/cluster/regions", &body).await)?
    } else {
        node.ask(async |client| client.get("/cluster/regions").await)?
    };
    node.show(&regions, |regions| show::regions(regions))
}
