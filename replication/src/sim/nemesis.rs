//! Does to a cluster what can go wrong, as a seed draws it.
//!
//! First faults come one upon the other, whatever state the cluster is in ([`Nemesis::torment`]); what is promised then is
//! that nothing is wrong. Then all is mended but what is lost ([`Cluster::heal`]), and what is promised is that the cluster
//! works again ([`Cluster::settle`]).

mod fault;
#[cfg(test)]
mod tests;

pub use fault::{Fault, Kind, Mix, draw};

use super::cluster::Cluster;
use super::host::{End, Program};
use super::network::Weather;
use crate::Change;
use crate::runtime::sim::{self, Machine, SplitMix, clock, spawn_on};
use crate::runtime::{now, sleep};
use std::time::Duration;

/// How much time lies between two faults, in milliseconds.
const BETWEEN_MS: (u64, u64) = (10, 8_000);

/// What goes wrong with a cluster.
#[derive(Debug, Clone)]
pub struct Nemesis {
    mix: Mix,
    random: SplitMix,
}

impl Nemesis {
    /// One that draws from this mix, and from a stream of its own.
    pub fn new(mix: Mix) -> Self {
        Self { mix, random: sim::fork_random() }
    }

    /// Has things go wrong for so long.
    pub async fn torment<P: Program>(&mut self, cluster: &Cluster<P>, during: Duration) {
        let machines = cluster.machines();
        let until = now() + during;
        while now() < until {
            sleep(fault::time(&mut self.random, BETWEEN_MS)).await;
            if let Some(fault) = draw(&self.mix, &machines, &mut self.random) {
                self.act(cluster, fault);
            }
        }
    }

    /// Has one thing go wrong. What takes time goes on by itself.
    pub fn act<P: Program>(&mut self, cluster: &Cluster<P>, fault: Fault) {
        tracing::debug!(?fault, at = ?sim::elapsed(), "a fault");
        match fault {
            Fault::Kill(machine, down) => end(cluster, machine, End::Killed, down),
            Fault::PowerCut(machine, unsynced, down) => end(cluster, machine, End::PowerCut(unsynced), down),
            Fault::Blackout(machines) => {
                sim::note("blackout", 0, 0);
                for (machine, unsynced, down) in machines {
                    end(cluster, machine, End::PowerCut(unsynced), down);
                }
            }
            Fault::Restart(machine, down) => {
                sim::note("restart", machine.0, 0);
                go_on(cluster, move |cluster| async move { cluster.close(machine, down).await });
            }
            Fault::Pause(machine, during) => sim::pause(machine, during),
            Fault::Drift(machine, ppm) => clock::set_drift(machine, ppm),
            Fault::Jump(machine, by_ms) => clock::jump(machine, by_ms),
            Fault::Cut(from, to, during) => cut(cluster, vec![(from, to)], during),
            Fault::Part(side, during) => {
                sim::note("part", side.len() as u64, 0);
                let outside = |machine: &Machine| !side.contains(machine);
                let others: Vec<_> = cluster.machines().into_iter().filter(outside).collect();
                let ways = side.iter().flat_map(|one| others.iter().map(|other| (*one, *other)));
                cut(cluster, ways.flat_map(|(one, other)| [(one, other), (other, one)]).collect(), during);
            }
            Fault::Storm(weather, during) => storm(cluster, weather, during),
            Fault::HandOver(machine) => hand_over(cluster, machine),
            Fault::Replace(machine) => replace(cluster, machine),
            of_a_disk => self.act_on_disk(cluster, of_a_disk),
        }
    }

    fn act_on_disk<P: Program>(&mut self, cluster: &Cluster<P>, fault: Fault) {
        match fault {
            Fault::FailedDisk(machine, failure, lives) if !cluster.host(machine).is_down() => {
                cluster.host(machine).may_die();
                cluster.disk(machine).fail(failure);
                go_on(cluster, move |cluster| async move {
                    sleep(lives).await;
                    end(&cluster, machine, End::Killed, Duration::ZERO);
                });
            }
            Fault::FullDisk(machine, left, during) => {
                sim::note("full disk", machine.0, left);
                cluster.disk(machine).set_free(Some(left));
                go_on(cluster, move |cluster| async move {
                    sleep(during).await;
                    cluster.disk(machine).set_free(None);
                });
            }
            Fault::FlippedBit(machine, of, restarts) if cluster.damage(machine) => {
                if let Some((_, offset)) = cluster.disk(machine).flip_bit(of, &mut self.random) {
                    sim::note("flipped bit", machine.0, offset);
                }
                if restarts {
                    end(cluster, machine, End::Killed, Duration::ZERO);
                }
            }
            _ => {}
        }
    }
}

/// Does something that takes time.
fn go_on<P: Program, F>(cluster: &Cluster<P>, act: impl FnOnce(Cluster<P>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    spawn_on(Machine::WORLD, act(cluster.clone()));
}

fn end<P: Program>(cluster: &Cluster<P>, machine: Machine, end: End, down: Duration) {
    sim::note(if end == End::Killed { "process kill" } else { "power cut" }, machine.0, 0);
    cluster.end(machine, end, down);
}

fn cut<P: Program>(cluster: &Cluster<P>, ways: Vec<(Machine, Machine)>, during: Duration) {
    for (from, to) in &ways {
        cluster.network().cut(*from, *to);
    }
    go_on(cluster, move |cluster| async move {
        sleep(during).await;
        for (from, to) in ways {
            cluster.network().mend(from, to);
        }
    });
}

fn storm<P: Program>(cluster: &Cluster<P>, weather: Weather, during: Duration) {
    sim::note("storm", 0, 0);
    cluster.network().set_weather(weather);
    go_on(cluster, move |cluster| async move {
        sleep(during).await;
        cluster.network().set_weather(Weather::FAIR);
    });
}

/// Asks the first machine that is up.
fn hand_over<P: Program>(cluster: &Cluster<P>, machine: Machine) {
    go_on(cluster, move |cluster| async move {
        let change = Change::Transfer(cluster.host(machine).node());
        let Some(host) = cluster.hosts().iter().find(|host| host.process().is_some()) else { return };
        if cluster.ask(host, change).await.is_ok() {
            sim::note("hand over", machine.0, 0);
        }
    });
}

/// Replaces the machine, or the one that has to be replaced before.
fn replace<P: Program>(cluster: &Cluster<P>, machine: Machine) {
    if cluster.damaged().is_some() || cluster.damage(machine) {
        go_on(cluster, move |cluster| async move { cluster.replace_damaged().await });
    }
}
