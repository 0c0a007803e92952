//! A cluster of real nodes: plain processes, on this machine or each in a network namespace of its own.
//!
//! - A node keeps its directory and its ports over restarts.
//! - Nodes are counted from 0 here; the first one begins the cluster, the others join it.
//! - Where a machine cannot have namespaces, [`Cluster::far`] says so loudly and the test is skipped.

mod status;

pub(crate) use status::Status;

use super::load::Load;
use super::s3::free_ports;
use super::server::{BINARY, Serve, Server, cleaned};
use super::{PATIENCE, TOKEN, TestResult, http, until, until_within};
use anyhow::Context;
use cairn::bench::client::{Client, Http, Session};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use wan::Wan;

/// How long a node may take to answer an operator.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// The reserve of every disk: far less than the default, so that a test needs no large disk.
pub(crate) const DISK_RESERVE: &str = "32MiB";

/// Nodes under test; killed when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Before the network: a process must be gone before its namespace is.
    nodes: Vec<Node>,
    /// What every node is told besides.
    flags: Vec<(String, String)>,
    /// What every node has in its environment besides.
    variables: Vec<(String, String)>,
    /// The network between the nodes, which stand at its sites 1, 2, ...; the test is at site 0.
    pub(crate) wan: Option<Wan>,
    /// Where the directories of the nodes lie.
    path: PathBuf,
    /// Deleted at the end, where it was made for this.
    _folder: Option<TempDir>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Host and port for clients.
    pub(crate) client: String,
    /// Host and port for other nodes.
    pub(crate) peer: String,
    /// Its data directory.
    pub(crate) data: PathBuf,
    server: Option<Server>,
}

impl Cluster {
    /// Nodes on the loopback interface, as one cluster.
    pub(crate) fn local(nodes: usize) -> TestResult<Cluster> {
        Cluster::empty(None)?.grow(nodes)
    }

    /// Nodes in namespaces, as one cluster; `None`, and a loud word, where there can be none.
    pub(crate) fn far(nodes: usize) -> TestResult<Option<Cluster>> {
        match Wan::start(nodes) {
            Ok(wan) => Cluster::empty(Some(wan))?.grow(nodes).map(Some),
            Err(wan::Error::NotHere(why)) => {
                eprintln!("SKIPPED, not passed: {why}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Nodes on the loopback interface with their directories below a folder.
    pub(crate) fn at(path: &Path, nodes: usize) -> TestResult<Cluster> {
        Cluster::with(path, nodes, &[])
    }

    /// The same, with further flags for each node.
    pub(crate) fn with(path: &Path, nodes: usize, flags: &[(&str, &str)]) -> TestResult<Cluster> {
        let mut cluster = Cluster::empty(None)?;
        path.clone_into(&mut cluster.path);
        cluster.flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        cluster.grow(nodes)
    }

    /// The same on one archive: its URL, and what a node needs in its environment to reach it.
    pub(crate) fn archiving(
        path: &Path,
        nodes: usize,
        url: &str,
        credentials: &[(&str, &str)],
    ) -> TestResult<Cluster> {
        Cluster::restored(path, nodes, url, credentials, |_data| Ok(()))
    }

    /// The same, whose first node begins with a data directory that is there already.
    pub(crate) fn restored(
        path: &Path,
        nodes: usize,
        url: &str,
        credentials: &[(&str, &str)],
        data: impl FnOnce(&Path) -> TestResult,
    ) -> TestResult<Cluster> {
        let mut cluster = Cluster::empty(None)?;
        path.clone_into(&mut cluster.path);
        cluster.flags = vec![("--archive".to_owned(), url.to_owned())];
        cluster.variables =
            credentials.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        data(&cluster.data(0))?;
        cluster.grow(nodes)
    }

    /// A cluster of one with a data directory that is there already.
    pub(crate) fn begin_with(data: impl FnOnce(&Path) -> TestResult) -> TestResult<Cluster> {
        let cluster = Cluster::empty(None)?;
        data(&cluster.data(0))?;
        cluster.grow(1)
    }

    fn empty(wan: Option<Wan>) -> TestResult<Cluster> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let (flags, variables) = (Vec::new(), Vec::new());
        Ok(Cluster { nodes: Vec::new(), flags, variables, wan, path, _folder: Some(folder) })
    }

    fn grow(mut self, nodes: usize) -> TestResult<Cluster> {
        while self.nodes.len() < nodes {
            self.add_node()?;
        }
        self.whole(nodes)?;
        Ok(self)
    }

    fn data(&self, position: usize) -> PathBuf {
        self.path.join((position + 1).to_string()).join("data")
    }

    /// Starts one more node, which begins the cluster or joins it; returns its position.
    pub(crate) fn add_node(&mut self) -> TestResult<usize> {
        let position = self.nodes.len();
        let host = self
            .wan
            .as_ref()
            .map_or_else(|| "127.0.0.1".to_owned(), |wan| wan.address(position + 1).to_string());
        let [client, peer] = free_ports::<2>()?.map(|port| format!("{host}:{port}"));
        let data = self.data(position);
        self.nodes.push(Node { client, peer, data, server: None });
        self.start(position)?;
        Ok(position)
    }

    /// Starts a node that does not run, and waits until it is ready.
    pub(crate) fn start(&mut self, position: usize) -> TestResult {
        self.spawn(position)?;
        self.server(position)?.wait_until_ready()
    }

    /// Starts a node that does not run, and does not wait.
    pub(crate) fn spawn(&mut self, position: usize) -> TestResult {
        let command = match &self.wan {
            Some(wan) => cleaned(wan.command(position + 1, BINARY)),
            None => cleaned(Command::new(BINARY)),
        };
        let node = &self.nodes[position];
        let mut serve = Serve::by(command, &node.data, &node.client).flag("--peer-addr", &node.peer);
        serve = serve.flag("--disk-reserve", DISK_RESERVE);
        if !self.flags.iter().any(|(name, _)| name == "--archive") {
            serve = serve.flag("--archive", "none");
        }
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        serve = serve.envs(&variables.collect::<Vec<_>>());
        serve = self.flags.iter().fold(serve, |serve, (name, value)| serve.flag(name, value));
        if position > 0 {
            let others: Vec<_> = self.live().filter(|other| *other != position).collect();
            let urls: Vec<_> = others.iter().map(|other| self.url(*other)).collect();
            serve = serve.flag("--join", urls.join(","));
        }
        self.nodes[position].server = Some(serve.spawn()?);
        Ok(())
    }

    /// The nodes.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Positions of the nodes that run.
    pub(crate) fn live(&self) -> impl Iterator<Item = usize> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.server.is_some()).map(|(position, _)| position)
    }

    /// Where a node serves clients.
    pub(crate) fn url(&self, position: usize) -> String {
        format!("http://{}", self.nodes[position].client)
    }

    /// Where all nodes serve clients.
    pub(crate) fn urls(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|position| self.url(position)).collect()
    }

    /// A connection to a node.
    pub(crate) async fn connect(&self, position: usize) -> TestResult<Client> {
        Ok(Session::open(&self.url(position), TOKEN, Http::One).await?.connect().await?)
    }

    /// The process of a node.
    pub(crate) fn server(&mut self, position: usize) -> TestResult<&mut Server> {
        self.nodes[position].server.as_mut().with_context(|| format!("node {position} runs"))
    }

    /// Kills a node as `kill -9` does.
    pub(crate) fn kill(&mut self, position: usize) -> TestResult {
        self.nodes[position].server.take().with_context(|| format!("node {position} runs"))?.kill()
    }

    /// Stops a node with SIGTERM; it must end well.
    pub(crate) fn stop(&mut self, position: usize) -> TestResult {
        let status = self.server(position)?.terminate()?;
        let server = self.nodes[position].server.take().context("it ran")?;
        anyhow::ensure!(status.success(), "node {position} ended with {status}:\n{}", server.log.text());
        Ok(())
    }

    /// Kills a node that has been removed from the cluster, and does not count it any more.
    pub(crate) fn forget(&mut self, position: usize) -> TestResult {
        self.kill(position)
    }

    /// The id that the cluster gave a node.
    pub(crate) fn id_of(&self, position: usize) -> TestResult<u64> {
        self.status(position)?.id_at(&self.nodes[position].peer).context("the node is a member")
    }

    /// Stops the world for a node, or lets it go on.
    pub(crate) fn pause(&mut self, position: usize, pause: bool) -> TestResult {
        self.server(position)?.signal(if pause { Signal::STOP } else { Signal::CONT })
    }

    /// Asks the admin API of a node; the answer must be a 200.
    pub(crate) fn ask(&self, via: usize, method: &str, path: &str) -> TestResult<String> {
        let token = format!("Bearer {TOKEN}");
        let headers = [("authorization", token.as_str())];
        let path = format!("/admin/v1{path}");
        let answer = http::send_within(ASK_WITHIN, &self.nodes[via].client, method, &path, &headers, b"")?;
        anyhow::ensure!(answer.status == 200, "{method} {path}: {} {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// How the cluster stands, as one node sees it.
    pub(crate) fn status(&self, via: usize) -> TestResult<Status> {
        Status::parse(&self.ask(via, "GET", "/cluster")?)
    }

    /// Waits until there are this many voters, all live and caught up, and a leader; returns the leader's position.
    pub(crate) fn whole(&self, voters: usize) -> TestResult<usize> {
        let via = self.live().next().context("a node runs")?;
        let mut last = None;
        let found = until_within(PATIENCE, "the cluster is whole", || {
            let status = self.status(via).ok();
            let leader =
                status.as_ref().filter(|status| status.is_whole(voters)).and_then(|status| status.leader());
            last = status;
            Ok(leader.and_then(|leader| self.position(&leader)))
        });
        found.with_context(|| format!("{last:?}"))
    }

    /// The position of the node with this address for others.
    fn position(&self, peer: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.peer == peer)
    }

    /// The position of the leader, once there is one.
    pub(crate) fn leader(&self) -> TestResult<usize> {
        until("there is a leader", || {
            let seen = self.live().find_map(|via| self.status(via).ok()?.leader());
            Ok(seen.and_then(|peer| self.position(&peer)))
        })
    }

    /// Starts clients of all nodes.
    pub(crate) async fn load(&self, clients: u64, seed: u64) -> TestResult<Load> {
        Load::start(self.urls(), clients, seed).await
    }
}
