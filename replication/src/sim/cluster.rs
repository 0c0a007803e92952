//! Some machines, the network between them, and what is done to them.
//!
//! - A process that is down is started again, when nobody holds it down, as a supervisor of processes does.
//! - Never more than one machine has lost or damaged what it had made durable: a minority. It has to be
//!   [replaced](Cluster::replace_damaged) before the next.

use super::disk::{Disk, DiskCounters};
use super::host::{End, Host, Position, Program};
use super::network::{Network, Weather};
use crate::runtime::sim::{self, Machine};
use crate::runtime::{self, Instant, watch};
use crate::{Change, NodeId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a process that ended stays down if nobody holds it down.
const RESTART: Duration = Duration::from_millis(100);
/// A process that lives less than this is started again more slowly each time,
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// but at least this often.
const RESTART_MAX: Duration = Duration::from_secs(3);
/// How long one step of a change of members may take before it is tried again elsewhere.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(200);

/// How long a machine is held down that nobody lets go.
const FOR_GOOD: Duration = Duration::from_secs(365 * 24 * 3600);

/// A cluster. Clones are the same.
pub struct Cluster<P: Program> {
    inner: Arc<Inner<P>>,
}

struct Inner<P: Program> {
    network: Network,
    program: Arc<P>,
    hosts: Vec<Host<P>>,
    /// Until when each machine is held down.
    held: Vec<watch::Sender<Option<Instant>>>,
    state: Mutex<State>,
}

struct State {
    next_node: u64,
    /// The machine that has lost what was durable.
    damaged: Option<Machine>,
    /// Whether that machine is being replaced,
    replacing: bool,
    /// and whether its old node has not left yet: it stays down.
    leaving: bool,
}

impl<P: Program> Clone for Cluster<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// What a cluster has not reached in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not in {within_s} s: {what}")]
pub struct NotInTime {
    /// What was waited for.
    pub what: String,
    /// How long, in seconds.
    pub within_s: u64,
}

impl<P: Program> Cluster<P> {
    /// `machines` machines, all off. Mirrors are made below `mirrors`, a real directory.
    pub fn new(machines: u64, program: P, mirrors: &Path) -> Self {
        let (network, program) = (Network::new(Weather::FAIR), Arc::new(program));
        let host =
            |number| Host::new(Machine(number), NodeId(number), &network, &program, mirrors.to_path_buf());
        let hosts: Vec<_> = (1..=machines).map(host).collect();
        let held = hosts.iter().map(|_| watch::channel(None).0).collect();
        let state =
            Mutex::new(State { next_node: machines + 1, damaged: None, replacing: false, leaving: false });
        let inner = Inner { network, program, hosts, held, state };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the first machine alone and has the others join it.
    ///
    /// # Errors
    ///
    /// When that takes too long.
    pub async fn begin(&self, within: Duration) -> Result<(), NotInTime> {
        for (place, host) in self.hosts().iter().enumerate() {
            if place > 0 {
                host.joins();
            }
            self.keep(place);
        }
        self.within(within, "the cluster begins", async {
            for host in &self.hosts()[1..] {
                self.join(host).await;
            }
        })
        .await
    }

    /// The machines.
    pub fn hosts(&self) -> &[Host<P>] {
        &self.inner.hosts
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// If there is no such machine.
    pub fn host(&self, machine: Machine) -> &Host<P> {
        let found = self.hosts().iter().find(|host| host.machine() == machine);
        found.expect("the machine is one of the cluster")
    }

    /// All machines' names.
    pub fn machines(&self) -> Vec<Machine> {
        self.hosts().iter().map(Host::machine).collect()
    }

    /// The network between them.
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// The machine that has lost or damaged what it had made durable, if any.
    pub fn damaged(&self) -> Option<Machine> {
        self.inner.state.lock().damaged
    }

    /// Notes that a machine loses what it had made durable. False, and nothing, if another one has, or it is being replaced.
    pub fn damage(&self, machine: Machine) -> bool {
        let mut state = self.inner.state.lock();
        let may = state.damaged.is_none_or(|damaged| damaged == machine) && !state.replacing;
        if may {
            state.damaged = Some(machine);
        }
        may
    }

    /// Ends the process of a machine and holds it down for a while.
    pub fn end(&self, machine: Machine, end: End, down: Duration) {
        self.hold(machine, Some(runtime::now() + down));
        self.host(machine).end(end);
    }

    /// Has the process of a machine end of its own will, and holds it down for a while.
    pub async fn close(&self, machine: Machine, down: Duration) {
        self.hold(machine, Some(runtime::now() + down));
        self.host(machine).close().await;
    }

    /// Holds a machine down; not one whose node is leaving, which is down anyway.
    fn hold(&self, machine: Machine, until: Option<Instant>) {
        let state = self.inner.state.lock();
        if !(state.leaving && state.damaged == Some(machine)) {
            drop(state);
            self.set_held(machine, until);
        }
    }

    fn set_held(&self, machine: Machine, until: Option<Instant>) {
        let place = self.hosts().iter().position(|host| host.machine() == machine);
        self.inner.held[place.expect("the machine is one of the cluster")].send_replace(until);
    }

    /// Starts a machine whenever it is down and not held.
    fn keep(&self, place: usize) {
        let cluster = self.clone();
        sim::spawn_on(Machine::WORLD, async move {
            let (host, mut held) = (&cluster.hosts()[place], cluster.inner.held[place].subscribe());
            let (mut started, mut pause) = (runtime::now(), RESTART);
            loop {
                host.wait_down().await;
                pause = if started.elapsed() < SHORT_LIFE { RESTART_MAX.min(pause * 2) } else { RESTART };
                let until = *held.borrow_and_update();
                match until.filter(|until| *until > runtime::now()) {
                    // Whether the time comes or another is set: look again.
                    Some(until) => drop(runtime::timeout_at(until, held.changed()).await),
                    None => {
                        started = runtime::now();
                        host.start().await;
                        runtime::sleep(pause).await;
                    }
                }
            }
        });
    }

    /// Makes the machine of a node that has lost what it had an empty one, under another id: the old node leaves, the new
    /// one joins and gets a vote. Tries until it has succeeded; somebody else may be at it already.
    pub async fn replace_damaged(&self) {
        let machine = {
            let mut state = self.inner.state.lock();
            if state.replacing {
                None
            } else {
                (state.replacing, state.leaving) = (state.damaged.is_some(), state.damaged.is_some());
                state.damaged
            }
        };
        if let Some(machine) = machine {
            self.replace(machine).await;
            let mut state = self.inner.state.lock();
            (state.damaged, state.replacing) = (None, false);
        }
        while self.damaged().is_some() {
            runtime::sleep(RETRY).await;
        }
    }

    async fn replace(&self, machine: Machine) {
        let host = self.host(machine);
        self.set_held(machine, Some(runtime::now() + FOR_GOOD));
        host.end(End::Killed);
        self.insist(&Change::Remove(host.node()), machine).await;
        let new = {
            let mut state = self.inner.state.lock();
            state.next_node += 1;
            NodeId(state.next_node - 1)
        };
        sim::note("replaced", machine.0, new.0);
        host.replace(new);
        self.inner.state.lock().leaving = false;
        self.set_held(machine, None);
        self.join(host).await;
    }

    async fn join(&self, host: &Host<P>) {
        self.insist(&Change::Add(host.node(), host.peer()), host.machine()).await;
        self.insist(&Change::Promote(host.node()), host.machine()).await;
    }

    /// Asks one machine after the other for a change, but for `not`, until it has come about.
    async fn insist(&self, change: &Change, not: Machine) {
        for place in (0..self.hosts().len()).cycle() {
            let host = &self.hosts()[place];
            if host.machine() != not && self.ask(host, change.clone()).await.is_ok() {
                return;
            }
            runtime::sleep(RETRY).await;
        }
    }

    /// Asks one machine for a change.
    ///
    /// # Errors
    ///
    /// Why it has not come about.
    pub async fn ask(&self, host: &Host<P>, change: Change) -> Result<(), String> {
        let program = Arc::clone(&self.inner.program);
        let asked = host.run(move |process| async move { program.change(process, change).await });
        let asked = asked.ok_or("it is down")?.abort_on_drop();
        match runtime::timeout(CHANGE_MAX, asked).await {
            Ok(Ok(done)) => done,
            Ok(Err(killed)) => Err(killed.to_string()),
            Err(elapsed) => Err(elapsed.to_string()),
        }
    }

    /// Ends everything that is wrong, as far as it is not lost: ways, clocks' rates, disks, machines that are held down.
    pub fn heal(&self) {
        self.inner.network.mend_all();
        self.inner.network.set_weather(Weather::FAIR);
        for host in self.hosts() {
            sim::clock::set_drift(host.machine(), 0);
            sim::resume(host.machine());
            host.disk().heal();
            self.hold(host.machine(), None);
        }
    }

    /// After [`heal`](Self::heal): replaces what is damaged, and waits until every node takes a write and all stand where the
    /// others do.
    ///
    /// # Errors
    ///
    /// What has not come about in time.
    pub async fn settle(&self, within: Duration) -> Result<(), NotInTime> {
        self.within(within, "the damaged node is replaced", self.replace_damaged()).await?;
        for host in self.hosts() {
            let what = format!("node {} takes a write", host.node());
            self.within(within, &what, self.probe(host)).await?;
        }
        self.within(within, "all nodes stand where the others do", self.agree()).await
    }

    async fn within(
        &self,
        within: Duration,
        what: &str,
        future: impl Future<Output = ()>,
    ) -> Result<(), NotInTime> {
        let not_in_time =
            |_elapsed| NotInTime { what: format!("{what} ({})", self.stands()), within_s: within.as_secs() };
        runtime::timeout(within, future).await.map_err(not_in_time)
    }

    /// What every machine is doing, in words.
    fn stands(&self) -> String {
        let stand = |host: &Host<P>| {
            let stand = match (host.process(), host.refusal()) {
                (Some(process), _) => {
                    let versions = self.inner.program.position(&process).into_iter();
                    versions.map(|(version, _)| format!("at {version}")).collect::<Vec<_>>().join(" and ")
                }
                (None, Some(reason)) => format!("refused to start: {reason}"),
                (None, None) => "down".to_owned(),
            };
            format!("node {} {stand}", host.node())
        };
        self.hosts().iter().map(stand).collect::<Vec<_>>().join(", ")
    }

    async fn probe(&self, host: &Host<P>) {
        loop {
            let program = Arc::clone(&self.inner.program);
            if let Some(probed) = host.run(move |process| async move { program.probe(process).await })
                && matches!(runtime::timeout(CHANGE_MAX, probed.abort_on_drop()).await, Ok(Ok(Ok(()))))
            {
                return;
            }
            runtime::sleep(RETRY).await;
        }
    }

    async fn agree(&self) {
        loop {
            let positions = self.positions();
            if positions.iter().all(|position| position.is_some() && *position == positions[0]) {
                return;
            }
            runtime::sleep(RETRY).await;
        }
    }

    /// Where each node stands; `None` of one that is down.
    pub fn positions(&self) -> Vec<Option<Position>> {
        let position = |host: &Host<P>| Some(self.inner.program.position(&host.process()?));
        self.hosts().iter().map(position).collect()
    }

    /// How often what has happened, by its name.
    pub fn tally(&self) -> BTreeMap<&'static str, u64> {
        let (mut tally, network) = (sim::noted(), self.inner.network.counters());
        let disks: Vec<_> = self.hosts().iter().map(|host| host.disk().counters()).collect();
        let of_disks = |count: fn(&DiskCounters) -> u64| disks.iter().map(count).sum::<u64>();
        tally.extend([
            ("message", network.messages),
            ("lost message", network.dropped),
            ("doubled request", network.doubled),
            ("broken stream", network.broken),
            ("failed sync", of_disks(|disk| disk.failed_syncs)),
            ("failed write", of_disks(|disk| disk.failed_writes)),
            ("failed read", of_disks(|disk| disk.failed_reads)),
            ("write refused by a full disk", of_disks(|disk| disk.full)),
        ]);
        tally
    }

    /// The disk of a machine.
    pub fn disk(&self, machine: Machine) -> &Disk {
        self.host(machine).disk()
    }
}
