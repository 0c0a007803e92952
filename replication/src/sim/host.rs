//! A simulated machine that runs one process at a time: starts it, kills it, cuts its power.
//!
//! - What a process does runs as tasks of the machine. Whoever asks it for something does so in such a task ([`Host::run`]), so
//!   that nothing of a dead process goes on.
//! - A process dies in this order: it loses its disk, then its handles and tasks are dropped, then its connections
//!   break. So its destructors change nothing.
//! - A process that panics dies, if it may ([`Host::may_die`]): it did where a disk failed under it. Any other panic ends the
//!   simulation.

use super::disk::Disk;
use super::network::{Endpoint, Network};
use crate::runtime::sim::{self, Machine, SimClock, SimRandom, spawn_on};
use crate::runtime::{JoinHandle, watch};
use crate::{Change, NodeId, Peer};
use async_trait::async_trait;
use engine::fs::sim::Unsynced;
use engine::{ContentHash, Env};
use parking_lot::Mutex;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

/// What a machine runs.
#[async_trait]
pub trait Program: Send + Sync + 'static {
    /// A handle to the process.
    type Process: Clone + Send + Sync + 'static;

    /// Starts a process.
    ///
    /// # Errors
    ///
    /// Why it ended at once.
    async fn start(&self, boot: Boot) -> Result<Self::Process, String>;

    /// Ends a process of its own will.
    async fn close(&self, process: Self::Process);

    /// Waits until a process cannot go on.
    async fn failure(&self, process: Self::Process) -> String;

    /// Changes who belongs to the cluster, asking this process.
    ///
    /// # Errors
    ///
    /// Why it did not come about; it may still.
    async fn change(&self, process: Self::Process, change: Change) -> Result<(), String>;

    /// Writes something.
    ///
    /// # Errors
    ///
    /// Why that did not succeed.
    async fn probe(&self, process: Self::Process) -> Result<(), String>;

    /// Where a process stands: equal for two that have applied the same.
    fn position(&self, process: &Self::Process) -> Position;
}

/// The last version, and the hash of all up to it, of each group.
pub type Position = Vec<(u64, ContentHash)>;

/// What a process finds when it starts.
#[derive(Debug)]
pub struct Boot {
    /// Which node it is.
    pub node: NodeId,
    /// Its disk, clock and randomness.
    pub env: Env,
    /// Its data directory, on that disk.
    pub dir: PathBuf,
    /// A real directory for what has to have one. Empty, and removed with the simulation.
    pub mirror: PathBuf,
    /// Its network. It is up to the program to listen.
    pub endpoint: Arc<Endpoint>,
    /// Where it is to listen, and others reach it.
    pub peer: Peer,
    /// Whether it comes to a cluster that is there, and has nothing.
    pub joins: bool,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is killed, and the machine goes on: what it wrote can be read, durable or not.
    Killed,
    /// The machine loses its power.
    PowerCut(Unsynced),
}

/// What a machine is doing.
#[derive(Debug)]
enum State<T> {
    Down,
    Starting,
    Up(T),
}

/// A machine. Clones are the same machine.
pub struct Host<P: Program> {
    inner: Arc<Inner<P>>,
}

struct Inner<P: Program> {
    machine: Machine,
    disk: Disk,
    network: Network,
    program: Arc<P>,
    /// Where its mirrors are.
    mirrors: PathBuf,
    status: Mutex<Status<P::Process>>,
    /// Whether no process is there.
    down: watch::Sender<bool>,
}

struct Status<T> {
    node: NodeId,
    state: State<T>,
    boot: u64,
    may_die: bool,
    joins: bool,
    /// Why the last process ended at once.
    refusal: Option<String>,
}

impl<P: Program> Clone for Host<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<P: Program> Host<P> {
    /// A machine that is off, with an empty disk. Its mirrors are made below `mirrors`, a real directory.
    pub fn new(
        machine: Machine,
        node: NodeId,
        network: &Network,
        program: &Arc<P>,
        mirrors: PathBuf,
    ) -> Self {
        let status =
            Status { node, state: State::Down, boot: 0, may_die: false, joins: false, refusal: None };
        let inner = Inner {
            machine,
            disk: Disk::default(),
            network: network.clone(),
            program: Arc::clone(program),
            mirrors,
            status: Mutex::new(status),
            down: watch::channel(true).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Which machine it is.
    pub fn machine(&self) -> Machine {
        self.inner.machine
    }

    /// Which node its process is, or will be.
    pub fn node(&self) -> NodeId {
        self.inner.status.lock().node
    }

    /// Where its process listens.
    pub fn peer(&self) -> Peer {
        Peer { address: format!("machine-{}:4600", self.inner.machine.0), region: String::new() }
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    /// Its process, if one is up.
    pub fn process(&self) -> Option<P::Process> {
        match &self.inner.status.lock().state {
            State::Up(process) => Some(process.clone()),
            State::Down | State::Starting => None,
        }
    }

    /// Whether no process is there.
    pub fn is_down(&self) -> bool {
        matches!(self.inner.status.lock().state, State::Down)
    }

    /// Why the last process that was started ended at once; `None` if it did not.
    pub fn refusal(&self) -> Option<String> {
        self.inner.status.lock().refusal.clone()
    }

    /// Says that a process that panics from now on may do so: something failed under it.
    pub fn may_die(&self) {
        self.inner.status.lock().may_die = true;
    }

    /// Starts a process and waits until it is up. False if it ended at once, or somebody else ended it.
    ///
    /// # Panics
    ///
    /// If there is one already.
    pub async fn start(&self) -> bool {
        let boot = self.boot();
        let this_boot = self.inner.status.lock().boot;
        let program = Arc::clone(&self.inner.program);
        let host = self.clone();
        sim::supervise(self.inner.machine, move |words| host.died(&words));
        let started = spawn_on(self.inner.machine, async move { program.start(boot).await }).await;
        match started {
            Ok(Ok(process)) => self.is_up(this_boot, process),
            Ok(Err(reason)) => {
                self.end(End::Killed);
                self.inner.status.lock().refusal = Some(reason);
                false
            }
            Err(_killed) => false,
        }
    }

    fn boot(&self) -> Boot {
        let mut status = self.inner.status.lock();
        assert!(matches!(status.state, State::Down), "a machine runs one process");
        status.state = State::Starting;
        self.inner.down.send_replace(false);
        (status.may_die, status.refusal) = (false, None);
        status.boot += 1;
        sim::note("start of a process", self.inner.machine.0, status.boot);
        let env = Env {
            fs: Arc::new(self.inner.disk.boot()),
            clock: Arc::new(SimClock),
            random: Arc::new(SimRandom),
        };
        Boot {
            node: status.node,
            env,
            dir: PathBuf::from("/data"),
            mirror: self.inner.mirrors.join(format!("{}-{}", self.inner.machine.0, status.boot)),
            endpoint: self.inner.network.endpoint(self.inner.machine, status.node),
            peer: self.peer(),
            joins: status.joins,
        }
    }

    fn is_up(&self, boot: u64, process: P::Process) -> bool {
        let mut status = self.inner.status.lock();
        if status.boot == boot && matches!(status.state, State::Starting) {
            status.state = State::Up(process.clone());
            drop(status);
            self.watch_over(process);
            return true;
        }
        drop(status);
        sim::drop_on(self.inner.machine, process);
        false
    }

    /// Ends the process when it says that it cannot go on.
    fn watch_over(&self, process: P::Process) {
        let (host, program) = (self.clone(), Arc::clone(&self.inner.program));
        let failed = spawn_on(self.inner.machine, async move { program.failure(process).await });
        spawn_on(Machine::WORLD, async move {
            if let Ok(reason) = failed.await {
                sim::note("failure of a process", host.inner.machine.0, 0);
                tracing::info!(machine = host.inner.machine.0, reason, "a process cannot go on");
                host.end(End::Killed);
            }
        });
    }

    /// Waits until no process is there.
    pub async fn wait_down(&self) {
        let mut down = self.inner.down.subscribe();
        // The sender is in this very host.
        down.wait_for(|down| *down).await.unwrap_or_default();
    }

    /// Ends its process, if there is one.
    pub fn end(&self, end: End) {
        let state = std::mem::replace(&mut self.inner.status.lock().state, State::Down);
        let was_down = matches!(state, State::Down);
        if !was_down {
            self.inner.disk.take_away();
            sim::drop_on(self.inner.machine, state);
            sim::kill(self.inner.machine);
            self.inner.network.down(self.inner.machine);
        }
        match end {
            End::PowerCut(unsynced) => self.inner.disk.crash(unsynced),
            End::Killed if !was_down => self.inner.disk.kill(),
            End::Killed => {}
        }
        self.inner.down.send_replace(true);
    }

    /// Has its process end of its own will, then ends it.
    pub async fn close(&self) {
        let program = Arc::clone(&self.inner.program);
        if let Some(closing) = self.run(move |process| async move { program.close(process).await }) {
            // It may be killed while it closes.
            drop(closing.await);
        }
        self.end(End::Killed);
    }

    /// Empties the disk and makes it another node, that joins the others. It must be down.
    pub fn replace(&self, node: NodeId) {
        assert!(self.is_down(), "a disk is emptied without a process");
        self.inner.disk.wipe();
        let mut status = self.inner.status.lock();
        (status.node, status.joins) = (node, true);
    }

    /// Says that it joins others when it starts first, instead of beginning alone.
    pub fn joins(&self) {
        self.inner.status.lock().joins = true;
    }

    /// Asks its process for something, in a task of the machine; `None` if no process is up. The task ends with the process.
    pub fn run<F, T>(&self, ask: impl FnOnce(P::Process) -> F) -> Option<JoinHandle<T>>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        Some(spawn_on(self.inner.machine, ask(self.process()?)))
    }

    fn died(&self, words: &str) {
        let may_die = self.inner.status.lock().may_die;
        assert!(may_die, "machine {}: {words}", self.inner.machine.0);
        sim::note("death by panic", self.inner.machine.0, 0);
        self.end(End::Killed);
    }
}
