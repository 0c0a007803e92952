//! SIGKILL under load: nothing acknowledged is lost, nothing is half there.

use crate::rig::server::{Serve, Server};
use crate::rig::{TestResult, count_from, now_ms, seed, until, writes};
use anyhow::Context;
use cairn::bench::client::Client;
use cairn::bench::random::SplitMix;
use denokv_proto::datapath::KvEntry;
use engine::Versionstamp;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const CLIENTS: u64 = 16;
/// Keys that one write sets, all to the same value.
const KEYS_PER_WRITE: usize = 3;
/// Acknowledged writes after which the server is killed, at most.
const ACKS_MAX: u64 = 600;

/// The value of each group of keys and the commit that wrote it.
type Groups = BTreeMap<String, (Vec<u8>, Versionstamp)>;
/// A write that was sent and never answered.
type InDoubt = (String, Vec<u8>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_sigkill_with_its_stamp_and_none_is_half_there() -> TestResult {
    let mut random = SplitMix(seed("kill")?);
    let rounds = count_from("CAIRN_TEST_KILLS", 20)?;
    let data = tempfile::tempdir()?;
    let mut known = Groups::new();
    let mut newest = Versionstamp::ZERO;
    let mut acknowledged = 0;
    let mut server = Serve::on(data.path()).start()?;
    for round in 0..rounds {
        let (acks, in_doubt) = write_until_killed(server, round, &mut random).await?;
        acknowledged += acks.len();
        for (group, value, stamp) in acks {
            assert!(stamp > newest_of_before(&known, &group), "round {round}: the stamps of {group} rise");
            newest = newest.max(stamp);
            known.insert(group, (value, stamp));
        }
        if random.below(4) == 0 {
            kill_while_starting(data.path())?;
        }
        server = Serve::on(data.path()).start()?;
        let mut client = server.connect().await?;
        known = verified(&mut client, known, &in_doubt, round).await?;
        let probe = writes::commit(&mut client, Vec::new()).await?;
        assert!(
            probe > newest,
            "round {round}: {probe} comes after {newest}, which was given before the kill"
        );
        newest = known.values().map(|(_, stamp)| *stamp).fold(probe, Versionstamp::max);
    }
    println!("kill: {rounds} kills, {acknowledged} acknowledged writes, all there");
    assert!(server.terminate()?.success(), "SIGTERM ends the last one well");
    Ok(())
}

fn newest_of_before(known: &Groups, group: &str) -> Versionstamp {
    known.get(group).map_or(Versionstamp::ZERO, |(_, stamp)| *stamp)
}

/// Kills a server that may still be recovering.
fn kill_while_starting(data: &std::path::Path) -> TestResult {
    let server = Serve::on(data).spawn()?;
    until("the server says its first word", || {
        Ok((!server.log.lines().is_empty() || !server.printed.lines().is_empty()).then_some(()))
    })?;
    server.kill()
}

/// Runs the clients, kills the server after a random number of answers, and returns what was
/// acknowledged, in the order of the answers, and what was not answered.
async fn write_until_killed(
    server: Server,
    round: usize,
    random: &mut SplitMix,
) -> TestResult<(Vec<(String, Vec<u8>, Versionstamp)>, Vec<InDoubt>)> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = server.connect().await?;
        let random = SplitMix(random.next_u64());
        clients.spawn(write_on(client, number, round, random, sender.clone()));
    }
    drop(sender);
    let kill_after = 1 + usize::try_from(random.below(ACKS_MAX))?;
    let mut acks = Vec::new();
    while acks.len() < kill_after {
        let ack = receiver.recv().await;
        acks.push(ack.with_context(|| format!("all clients failed before the kill: {}", server.log.text()))?);
    }
    server.kill()?;
    while let Some(ack) = receiver.recv().await {
        acks.push(ack);
    }
    let mut in_doubt = Vec::new();
    while let Some(joined) = clients.join_next().await {
        in_doubt.push(joined??);
    }
    Ok((acks, in_doubt))
}

/// Writes until the connection breaks; returns the write that was then under way.
async fn write_on(
    mut client: Client,
    number: u64,
    round: usize,
    mut random: SplitMix,
    acks: mpsc::UnboundedSender<(String, Vec<u8>, Versionstamp)>,
) -> TestResult<InDoubt> {
    for count in 0_u64.. {
        // Half of the writes go to groups of their own, half change one and the same.
        let group = match count % 2 {
            0 => format!("{number}-{round}-{count}"),
            _ => format!("{number}-hot"),
        };
        let long = if random.below(8) == 0 { usize::try_from(random.below(4000))? } else { 20 };
        let value = [format!("{round}-{count}-{}", now_ms()).as_bytes(), &vec![b'.'; long]].concat();
        let keys = (0..KEYS_PER_WRITE).map(|part| writes::key(&["kill", &group, &part.to_string()]));
        let mutations = keys.map(|key| writes::set(&key, &value)).collect();
        match writes::commit(&mut client, mutations).await {
            Ok(stamp) => acks.send((group, value, stamp))?,
            Err(_) => return Ok((group, value)),
        }
    }
    anyhow::bail!("the numbers ran out")
}

/// Compares all that is there with what is known, and returns it as the new knowledge.
async fn verified(
    client: &mut Client,
    known: Groups,
    in_doubt: &[InDoubt],
    round: usize,
) -> TestResult<Groups> {
    let mut found: BTreeMap<String, Vec<KvEntry>> = BTreeMap::new();
    for entry in writes::list(client, &writes::key(&["kill"]), &[0xff]).await? {
        found.entry(group_of(&entry.key)?).or_default().push(entry);
    }
    let mut groups = Groups::new();
    for (group, entries) in found {
        assert_eq!(entries.len(), KEYS_PER_WRITE, "round {round}: {group} is half there");
        let same: BTreeSet<_> = entries.iter().map(|entry| (&entry.value, &entry.versionstamp)).collect();
        assert_eq!(same.len(), 1, "round {round}: {group} has parts of two writes");
        groups.insert(group, (entries[0].value.clone(), writes::stamp_of(&entries[0].versionstamp)?));
    }
    for (group, acknowledged) in &known {
        let now = groups.get(group);
        let newer = |now: &(Vec<u8>, Versionstamp)| {
            in_doubt.contains(&(group.clone(), now.0.clone())) && now.1 > acknowledged.1
        };
        assert!(
            now == Some(acknowledged) || now.is_some_and(newer),
            "round {round}: the acknowledged write of {group} at {} is lost",
            acknowledged.1
        );
    }
    for (group, (value, _)) in &groups {
        let sent = known.contains_key(group) || in_doubt.contains(&(group.clone(), value.clone()));
        assert!(sent, "round {round}: nobody wrote {group}");
    }
    Ok(groups)
}

fn group_of(key: &[u8]) -> TestResult<String> {
    match &denokv_proto::decode_key(key)?.0[..] {
        [_, denokv_proto::KeyPart::String(group), _] => Ok(group.clone()),
        parts => anyhow::bail!("a key of {} parts", parts.len()),
    }
}
