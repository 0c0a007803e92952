//! Joining a cluster: asks its nodes to be let in, and makes the data directory one of theirs.
//!
//! - Whatever is refused is refused before anything of the directory is changed but the name of the attempt.
//! - The identity is written last. A crash before it leaves empty engines, which the next attempt replaces.

use super::welcome::Token;
use crate::admin::client::{Client, ClientError};
use crate::cli::UsageError;
use crate::cluster::identity::Identity;
use crate::cluster::join;
use crate::cluster::operator::JoinAnswer;
use crate::cluster::status::ClusterStatus;
use crate::config::Settings;
use crate::data_dir::DataDir;
use engine::Options;
use hyper::Method;
use replication::NodeId;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long the nodes of a cluster are asked to let this one in.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
/// Pause before they are asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a look at another node may take when it is not needed to go on.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// A node that was let in.
pub(super) struct Joined {
    pub(super) identity: Identity,
    /// Where the other nodes are.
    pub(super) members: Vec<(NodeId, String)>,
}

/// Joins the cluster of these nodes.
///
/// # Errors
///
/// When none of them answers in time, or they refuse.
pub(super) async fn join(settings: &Settings, dir: &DataDir, urls: &[String]) -> anyhow::Result<Joined> {
    let token = Token::known(dir, settings)?.ok_or_else(|| {
        UsageError("a node joins with the access token of its cluster: say --access-token".to_owned())
    })?;
    let clients = clients(urls, token.text(), settings.tls.ca.as_deref())?;
    let request = join::request(&settings.cluster, dir.joining()?);
    let answer = ask(&clients, &request).await?;
    let (identity, lineages) = join::admitted(&answer, request.address)?;
    dir.clear_unfinished_join()?;
    for (group, lineage) in lineages {
        dir.create_engine(group, lineage, Options::default())?.close()?;
    }
    dir.set_identity(&identity)?;
    tracing::info!(node = %identity.node, cluster = %identity.cluster, "joined the cluster");
    let members = answer.members.into_iter().map(|place| (NodeId(place.node), place.address)).collect();
    Ok(Joined { identity, members })
}

fn clients(urls: &[String], token: &str, ca: Option<&Path>) -> anyhow::Result<Vec<Client>> {
    let client = |url: &String| Client::new(url, token, ca).map_err(|error| UsageError(error.to_string()));
    Ok(urls.iter().map(client).collect::<Result<_, _>>()?)
}

/// Asks one node after the other until one lets this one in.
async fn ask(clients: &[Client], request: &join::Request) -> anyhow::Result<JoinAnswer> {
    let deadline = Instant::now() + JOIN_WITHIN;
    loop {
        let mut failures = Vec::new();
        let mut is_worth_waiting = false;
        for client in clients {
            match client.send(Method::POST, "/cluster/join", request).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_final() => {
                    return Err(UsageError(format!("cannot join: {error}")).into());
                }
                Err(error) => {
                    is_worth_waiting |= !matches!(error, ClientError::Unreachable { .. });
                    failures.push(error.to_string());
                }
            }
        }
        // Where nobody listens at all, the address is wrong rather than the moment.
        if !is_worth_waiting || Instant::now() >= deadline {
            return Err(UsageError(format!("cannot join: {}", failures.join("; "))).into());
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Refuses to go on as a node of another cluster than the one that is to be joined, as far as that can be known now.
///
/// # Errors
///
/// When a node that answers belongs to another cluster or lineage.
pub(super) async fn refuse_another_cluster(
    settings: &Settings,
    dir: &DataDir,
    own: &Identity,
) -> anyhow::Result<()> {
    let Some(token) = Token::known(dir, settings)? else { return Ok(()) };
    for client in clients(&settings.cluster.join, token.text(), settings.tls.ca.as_deref())? {
        // Nobody may answer yet: a whole cluster can start at once.
        let Ok(Ok(status)) = tokio::time::timeout(LOOK_WITHIN, client.get::<ClusterStatus>("/cluster")).await
        else {
            continue;
        };
        join::check_same(own, &status)?;
    }
    Ok(())
}

/// Refuses to go on elsewhere as a node that still answers where it was: a copied directory would make two of it.
///
/// # Errors
///
/// When something listens at the address that this node had before.
pub(super) async fn refuse_a_second_self(was: &Identity, now: &Identity) -> anyhow::Result<()> {
    if was.address.is_empty() || was.address == now.address {
        return Ok(());
    }
    if let Ok(Ok(_stream)) = tokio::time::timeout(LOOK_WITHIN, TcpStream::connect(&was.address)).await {
        let reason = format!(
            "this is the data of node {}, and something answers at its address {}: two nodes cannot have one id",
            was.node, was.address
        );
        return Err(UsageError(reason).into());
    }
    Ok(())
}
