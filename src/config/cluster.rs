//! What a node of a cluster can be told: where others reach it, whom to join, where it stands.

use super::units::Millis;
use super::{ConfigError, invalid, millis};
use crate::cluster::identity::{ADDRESS_LEN_MAX, GROUPS_MAX, REGION_LEN_MAX};
use std::net::SocketAddr;

/// How often a leader says that it is there unless told otherwise, in milliseconds.
pub const DEFAULT_HEARTBEAT_MS: u64 = 50;
/// Silence after which a new leader is elected unless told otherwise, in milliseconds.
pub const DEFAULT_ELECTION_MS: u64 = 200;
/// An election waits for at least so many heartbeats.
const HEARTBEATS_MIN: u64 = 3;
/// The longest wait for an election, in milliseconds, inclusive.
const ELECTION_MS_MAX: u64 = 60_000;

/// The flags of a node in a cluster, each with its environment variable.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClusterFlags {
    /// Address at which other nodes reach this one; without it the node stays alone
    #[arg(long, env = "CAIRN_PEER_ADDR", value_name = "IP:PORT")]
    pub peer_addr: Option<String>,

    /// The same address as other nodes see it, such as behind a translation [default: that of --peer-addr]
    #[arg(long, env = "CAIRN_PEER_ADVERTISE", value_name = "HOST:PORT")]
    pub peer_advertise: Option<String>,

    /// Join the cluster that these nodes belong to, with an empty data directory and their access token
    #[arg(long, env = "CAIRN_JOIN", value_name = "URL[,URL]")]
    pub join: Option<String>,

    /// Join as a learner, which has all data and no vote
    #[arg(long, env = "CAIRN_LEARNER")]
    pub learner: bool,

    /// Where this node stands, such as eu-west
    #[arg(long, env = "CAIRN_REGION", value_name = "NAME")]
    pub region: Option<String>,

    /// Region in which leaders are kept while a node there is healthy; `cairn cluster regions` changes it later
    #[arg(long, env = "CAIRN_PRIMARY_REGION", value_name = "NAME")]
    pub primary_region: Option<String>,

    /// Groups over which a new cluster spreads its databases; fixed from then on [default: 1]
    #[arg(long, env = "CAIRN_GROUPS", value_name = "N")]
    pub groups: Option<u64>,

    /// Let a leader answer strong reads alone while its lease lasts: faster, and wrong when a clock stands still
    #[arg(long, env = "CAIRN_READ_LEASE")]
    pub read_lease: bool,

    /// How often a leader says that it is there [default: 50ms]
    #[arg(long, env = "CAIRN_HEARTBEAT", value_name = "DURATION")]
    pub heartbeat: Option<String>,

    /// Silence after which another leader is elected; at least 10 times the way between regions and back [default: 200ms]
    #[arg(long, env = "CAIRN_ELECTION", value_name = "DURATION")]
    pub election: Option<String>,
}

impl ClusterFlags {
    /// What was said here, and where nothing was, what `file` says.
    pub(super) fn or(self, file: ClusterFlags) -> ClusterFlags {
        ClusterFlags {
            peer_addr: self.peer_addr.or(file.peer_addr),
            peer_advertise: self.peer_advertise.or(file.peer_advertise),
            join: self.join.or(file.join),
            learner: self.learner || file.learner,
            region: self.region.or(file.region),
            primary_region: self.primary_region.or(file.primary_region),
            groups: self.groups.or(file.groups),
            read_lease: self.read_lease || file.read_lease,
            heartbeat: self.heartbeat.or(file.heartbeat),
            election: self.election.or(file.election),
        }
    }
}

/// What a node of a cluster runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Where it listens for other nodes, and where they find it; `None` when it stays alone.
    pub peer: Option<PeerAddress>,
    /// Nodes of the cluster to join, as URLs.
    pub join: Vec<String>,
    /// Whether it stays a learner.
    pub learner: bool,
    /// Where it stands; `None` when that was not said.
    pub region: Option<String>,
    /// Where leaders are kept; `None` when that was not said.
    pub primary_region: Option<String>,
    /// How many data groups a new cluster has; `None` when that was not said.
    pub groups: Option<u64>,
    /// Whether strong reads trust leases.
    pub read_lease: bool,
    /// How often a leader says that it is there, in milliseconds.
    pub heartbeat_ms: u64,
    /// Silence after which another leader is elected, in milliseconds.
    pub election_ms: u64,
}

/// Where a node is for other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others find it, as `host:port`; `None` is where it listens.
    pub advertise: Option<String>,
}

impl PeerAddress {
    /// Where others find it, as `host:port`.
    pub fn advertised(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }
}

impl ClusterSettings {
    /// Checks what was said. `addr` is where clients are served.
    ///
    /// # Errors
    ///
    /// When a value cannot be used.
    pub(super) fn resolve(flags: ClusterFlags, addr: SocketAddr) -> Result<Self, ConfigError> {
        let peer = peer(flags.peer_addr.as_deref(), flags.peer_advertise, addr)?;
        let join = join(flags.join.as_deref(), addr)?;
        if !join.is_empty() && peer.is_none() {
            return Err(invalid("join")("say --peer-addr too: other nodes must be able to reach this one"));
        }
        if flags.learner && join.is_empty() {
            return Err(invalid("learner")("a learner joins a cluster: say --join too"));
        }
        if flags.groups.is_some() && !join.is_empty() {
            return Err(invalid("groups")("the cluster that is joined decides this"));
        }
        if flags.groups.is_some_and(|groups| !(1..=GROUPS_MAX).contains(&groups)) {
            return Err(invalid("groups")(format!("expected 1 to {GROUPS_MAX}")));
        }
        let (heartbeat_ms, election_ms) = times(flags.heartbeat, flags.election)?;
        Ok(Self {
            peer,
            join,
            learner: flags.learner,
            region: region("region", flags.region)?,
            primary_region: region("primary-region", flags.primary_region)?,
            groups: flags.groups,
            read_lease: flags.read_lease,
            heartbeat_ms,
            election_ms,
        })
    }
}

fn peer(
    listen: Option<&str>,
    advertise: Option<String>,
    addr: SocketAddr,
) -> Result<Option<PeerAddress>, ConfigError> {
    let Some(text) = listen else {
        return match advertise {
            None => Ok(None),
            Some(_) => Err(invalid("peer-advertise")("say --peer-addr too")),
        };
    };
    let reason = |_| format!("expected <ip>:<port> such as 10.0.0.1:4513, not '{text}'");
    let listen: SocketAddr = text.parse().map_err(reason).map_err(invalid("peer-addr"))?;
    if listen == addr && listen.port() != 0 {
        return Err(invalid("peer-addr")(format!("{addr} is where clients are served: give another port")));
    }
    match &advertise {
        Some(address) => check_address(address).map_err(invalid("peer-advertise"))?,
        None if listen.ip().is_unspecified() => {
            let reason = "say --peer-advertise too: other nodes cannot reach every address of this machine";
            return Err(invalid("peer-addr")(reason));
        }
        None if listen.port() == 0 => {
            return Err(invalid("peer-addr")("give a port: other nodes must know it"));
        }
        None => {}
    }
    Ok(Some(PeerAddress { listen, advertise }))
}

/// Checks that other nodes could find something at this `host:port`.
///
/// # Errors
///
/// In words.
pub fn check_address(address: &str) -> Result<(), String> {
    let expected = || format!("expected <host>:<port> such as node1.example:4513, not '{address}'");
    let (host, port) = address.rsplit_once(':').ok_or_else(expected)?;
    let port_fits = port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_part = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !port_fits || address.len() > ADDRESS_LEN_MAX || !host.chars().all(is_part) {
        return Err(expected());
    }
    if address.parse::<SocketAddr>().is_ok_and(|addr| addr.ip().is_unspecified()) {
        return Err(format!("{host} is every address of a machine: give one that other nodes can reach"));
    }
    Ok(())
}

fn join(urls: Option<&str>, addr: SocketAddr) -> Result<Vec<String>, ConfigError> {
    let mut join: Vec<String> = Vec::new();
    for url in urls.into_iter().flat_map(|urls| urls.split(',')) {
        let url = url.trim().trim_end_matches('/');
        let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let address = address.filter(|address| check_address(address).is_ok()).ok_or_else(|| {
            invalid("join")(format!("expected http://<host>:<port> of a node, not '{url}'"))
        })?;
        if address.parse() == Ok(addr) {
            return Err(invalid("join")(format!("{url} is this node itself")));
        }
        if join.iter().any(|other| other == url) {
            return Err(invalid("join")(format!("{url} is named twice")));
        }
        join.push(url.to_owned());
    }
    Ok(join)
}

fn region(name: &'static str, text: Option<String>) -> Result<Option<String>, ConfigError> {
    text.map(|text| check_region(&text).map(|()| text)).transpose().map_err(invalid(name))
}

/// Checks that a text can name a region.
///
/// # Errors
///
/// In words.
pub fn check_region(region: &str) -> Result<(), String> {
    let fits = (1..=REGION_LEN_MAX).contains(&region.len());
    if fits && region.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        Ok(())
    } else {
        Err(format!("expected 1 to {REGION_LEN_MAX} letters, digits, '-', '_' or '.', not '{region}'"))
    }
}

fn times(heartbeat: Option<String>, election: Option<String>) -> Result<(u64, u64), ConfigError> {
    let heartbeat_ms = millis("heartbeat", heartbeat)?.unwrap_or(DEFAULT_HEARTBEAT_MS);
    let election_ms = millis("election", election)?.unwrap_or(DEFAULT_ELECTION_MS);
    if heartbeat_ms == 0 {
        return Err(invalid("heartbeat")("it must be above zero"));
    }
    if election_ms > ELECTION_MS_MAX {
        return Err(invalid("election")(format!("expected at most {}", Millis(ELECTION_MS_MAX))));
    }
    if election_ms < heartbeat_ms.saturating_mul(HEARTBEATS_MIN) {
        let reason = format!("expected at least {HEARTBEATS_MIN} heartbeats of {}", Millis(heartbeat_ms));
        return Err(invalid("election")(reason));
    }
    Ok((heartbeat_ms, election_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(set: impl FnOnce(&mut ClusterFlags)) -> Result<ClusterSettings, String> {
        let mut flags = ClusterFlags { peer_addr: Some("10.0.0.1:4513".to_owned()), ..Default::default() };
        set(&mut flags);
        let addr = SocketAddr::from(([10, 0, 0, 1], 4512));
        ClusterSettings::resolve(flags, addr).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_is_a_node_alone() -> Result<(), String> {
        let settings = resolve(|flags| flags.peer_addr = None)?;
        assert_eq!((settings.peer, settings.join.len(), settings.groups), (None, 0, None));
        assert_eq!((settings.heartbeat_ms, settings.election_ms), (50, 200));
        Ok(())
    }

    #[test]
    fn urls_to_join_are_taken_apart() -> Result<(), String> {
        let settings = resolve(|f| f.join = Some("http://10.0.0.2:4512/, http://kv.example:1".to_owned()))?;
        assert_eq!(settings.join, ["http://10.0.0.2:4512", "http://kv.example:1"]);
        Ok(())
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        type Set = fn(&mut ClusterFlags);
        let said = |text: &str| Some(text.to_owned());
        let cases: &[(Set, &str)] = &[
            (|f| f.peer_addr = Some("nowhere".to_owned()), "peer-addr: expected <ip>:<port>"),
            (|f| f.peer_addr = Some("10.0.0.1:4512".to_owned()), "peer-addr: 10.0.0.1:4512 is where clients"),
            (|f| f.peer_addr = Some("0.0.0.0:4513".to_owned()), "peer-addr: say --peer-advertise too"),
            (|f| f.peer_addr = Some("127.0.0.1:0".to_owned()), "peer-addr: give a port"),
            (|f| f.peer_advertise = Some("0.0.0.0:4513".to_owned()), "peer-advertise: 0.0.0.0 is every"),
            (|f| f.peer_advertise = Some("host".to_owned()), "peer-advertise: expected <host>:<port>"),
            (|f| f.peer_advertise = Some("host:0".to_owned()), "peer-advertise: expected <host>:<port>"),
            (|f| f.join = Some("10.0.0.2:4512".to_owned()), "join: expected http://"),
            (|f| f.join = Some("http://a:1,http://a:1/".to_owned()), "join: http://a:1 is named twice"),
            (|f| f.join = Some("http://10.0.0.1:4512".to_owned()), "is this node itself"),
            (|f| f.learner = true, "learner: a learner joins"),
            (|f| f.groups = Some(0), "groups: expected 1 to 256"),
            (|f| f.region = Some("e u".to_owned()), "region: expected 1 to 64"),
            (|f| f.primary_region = Some(String::new()), "primary-region: expected 1 to 64"),
            (|f| f.heartbeat = Some("0s".to_owned()), "heartbeat: it must be above zero"),
            (|f| f.election = Some("149ms".to_owned()), "election: expected at least 3 heartbeats of 50 ms"),
            (|f| f.election = Some("2m".to_owned()), "election: expected at most"),
        ];
        for (set, expected) in cases {
            let error = resolve(set).err().unwrap_or_default();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let alone = resolve(|f| (f.peer_addr, f.join) = (None, said("http://a:1"))).err().unwrap_or_default();
        assert!(alone.contains("join: say --peer-addr too"), "{alone}");
        let both = resolve(|f| (f.groups, f.join) = (Some(2), said("http://a:1"))).err().unwrap_or_default();
        assert!(both.contains("groups: the cluster that is joined decides"), "{both}");
    }
}
