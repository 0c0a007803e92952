//! A database that keeps every state it ever had: what a restore is compared with.
//!
//! It knows nothing of the code under test but the meaning of a write. The one thing it takes from
//! there is the stamp of each commit.

use super::writes;
use cairn::bench::random::SplitMix;
use denokv_proto::datapath::{AtomicWrite, Check, Mutation, MutationType};
use engine::Versionstamp;
use std::collections::BTreeMap;

/// Encodings, as they stand before a stored value.
const LE64: u8 = 2;
const BYTES: u8 = 3;

/// A key whose expiry is this near may expire while a write is under way, so that nobody outside
/// can know which of the two came first; such a key is only set or deleted.
const NEAR_MS: u64 = 10_000;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The encoding byte and the value.
    pub(crate) value: Vec<u8>,
    /// The commit that wrote it.
    pub(crate) stamp: Versionstamp,
    /// Unix milliseconds from which on it is absent.
    pub(crate) expire_at_ms: Option<u64>,
}

/// All entries, the expired ones among them.
pub(crate) type State = BTreeMap<Vec<u8>, Entry>;

/// The entries that are there at a time.
pub(crate) fn visible(state: &State, time_ms: u64) -> State {
    let here = |entry: &Entry| entry.expire_at_ms.is_none_or(|at| at > time_ms);
    state.iter().filter(|(_, entry)| here(entry)).map(|(key, entry)| (key.clone(), entry.clone())).collect()
}

/// A write to try, and what must come of it.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The write.
    pub(crate) write: AtomicWrite,
    /// What must come of it.
    pub(crate) expected: Expected,
}

/// What must come of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It commits.
    Commits,
    /// These checks fail.
    FailedChecks(Vec<u32>),
    /// It is refused as no write at all.
    Refused,
}

/// Draws a write for this state at this time: up to two checks, up to six mutations.
pub(crate) fn draw(random: &mut SplitMix, state: &State, now_ms: u64) -> Attempt {
    let mut keys: Vec<_> = (0..random.below(3)).map(|_| any_key(random)).collect();
    keys.retain(|key| !is_near(state, key, now_ms));
    let checks: Vec<_> = keys.iter().map(|key| draw_check(random, state, key, now_ms)).collect();
    let failed = failing(&checks, state, now_ms);
    let mutations = draw_mutations(random, state, now_ms);
    let refused = random.below(12) == 0;
    let mut write = AtomicWrite { checks, mutations, ..AtomicWrite::default() };
    let expected = match (failed.is_empty(), refused) {
        (false, _) => Expected::FailedChecks(failed),
        (true, true) => {
            // A sum on what the same write has made a text.
            let key = writes::key(&["text", "0"]);
            write.mutations.push(writes::set(&key, b"no number"));
            write.mutations.push(writes::number(&key, MutationType::MSum, 1));
            Expected::Refused
        }
        (true, false) => Expected::Commits,
    };
    Attempt { write, expected }
}

fn any_key(random: &mut SplitMix) -> Vec<u8> {
    let kind = if random.below(2) == 0 { "text" } else { "number" };
    writes::key(&[kind, &random.below(15).to_string()])
}

fn is_number(key: &[u8]) -> bool {
    key.starts_with(&writes::key(&["number"]))
}

fn is_near(state: &State, key: &[u8], now_ms: u64) -> bool {
    let expiry = state.get(key).and_then(|entry| entry.expire_at_ms);
    expiry.is_some_and(|at| (now_ms + 1..now_ms + NEAR_MS).contains(&at))
}

fn stamp_in(state: &State, key: &[u8], now_ms: u64) -> Option<Versionstamp> {
    let entry = state.get(key)?;
    entry.expire_at_ms.is_none_or(|at| at > now_ms).then_some(entry.stamp)
}

fn draw_check(random: &mut SplitMix, state: &State, key: &[u8], now_ms: u64) -> Check {
    let right = stamp_in(state, key, now_ms);
    let wrong = right.map_or(Some(Versionstamp::new(1, 1)), |stamp| {
        let older = Versionstamp::new(stamp.version().wrapping_sub(1), stamp.order());
        (random.below(2) == 0).then_some(older)
    });
    writes::check(key, if random.below(8) == 0 { wrong } else { right })
}

fn failing(checks: &[Check], state: &State, now_ms: u64) -> Vec<u32> {
    let holds = |check: &Check| {
        let stamp = stamp_in(state, &check.key, now_ms).map(|stamp| stamp.as_bytes().to_vec());
        stamp.unwrap_or_default() == check.versionstamp
    };
    (0..).zip(checks).filter(|(_, check)| !holds(check)).map(|(index, _)| index).collect()
}

/// Up to six mutations. What a later one does must not depend on the expiry of an earlier one, which
/// may pass before the write is applied.
fn draw_mutations(random: &mut SplitMix, state: &State, now_ms: u64) -> Vec<Mutation> {
    let mut mutations: Vec<Mutation> = Vec::new();
    for _ in 0..=random.below(5) {
        let mutation = draw_mutation(random, state, now_ms);
        let expires = |earlier: &Mutation| earlier.key == mutation.key && earlier.expire_at_ms != 0;
        if !mutations.iter().any(expires) {
            mutations.push(mutation);
        }
    }
    mutations
}

fn draw_mutation(random: &mut SplitMix, state: &State, now_ms: u64) -> Mutation {
    let key = any_key(random);
    let value = random.next_u64() >> random.below(64);
    let sum = [MutationType::MSum, MutationType::MMin, MutationType::MMax];
    let mut mutation = match (random.below(4), is_number(&key)) {
        (0, _) => return writes::delete(&key),
        (1, true) => writes::number(&key, MutationType::MSet, value),
        (_, true) if is_near(state, &key, now_ms) => writes::number(&key, MutationType::MSet, value),
        (_, true) => {
            let kind = sum[usize::try_from(random.below(3)).expect("below 3")];
            return writes::number(&key, kind, value);
        }
        (_, false) => {
            let length = usize::try_from(random.below(300)).expect("below 300");
            writes::set(&key, &value.to_le_bytes().repeat(40)[..length])
        }
    };
    // Soon, so that some expire while the test runs, or far away.
    mutation.expire_at_ms = match random.below(4) {
        0 => i64::try_from(now_ms + 20 + random.below(400)).expect("the year is before 292 million"),
        1 => i64::try_from(now_ms + 86_400_000).expect("the year is before 292 million"),
        _ => 0,
    };
    mutation
}

/// The state after a write that committed under `stamp`, between `now_ms` and a little later.
pub(crate) fn apply(state: &mut State, write: &AtomicWrite, stamp: Versionstamp, now_ms: u64) {
    // What has expired is absent for sums; what is near was not summed.
    state.retain(|_, entry| entry.expire_at_ms.is_none_or(|at| at > now_ms));
    for mutation in &write.mutations {
        let data = mutation.value.as_ref().map_or(&[][..], |value| &value.data);
        let encoding = if is_number(&mutation.key) { LE64 } else { BYTES };
        let kind = mutation.mutation_type();
        if kind == MutationType::MDelete {
            state.remove(&mutation.key);
            continue;
        }
        let value = if kind == MutationType::MSet {
            data.to_vec()
        } else {
            combine(kind, state.get(&mutation.key).map(|entry| &entry.value[1..]), data)
        };
        let value = [&[encoding], &value[..]].concat();
        let expire_at_ms = u64::try_from(mutation.expire_at_ms).ok().filter(|at| *at != 0);
        state.insert(mutation.key.clone(), Entry { value, stamp, expire_at_ms });
    }
}

fn combine(kind: MutationType, stored: Option<&[u8]>, operand: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a number has 8 bytes"));
    let operand = number(operand);
    let result = match (stored.map(number), kind) {
        (None, _) => operand,
        (Some(stored), MutationType::MSum) => stored.wrapping_add(operand),
        (Some(stored), MutationType::MMin) => stored.min(operand),
        (Some(stored), _) => stored.max(operand),
    };
    result.to_le_bytes().to_vec()
}

#[test]
fn every_outcome_is_drawn_and_some_entries_expire() {
    let (mut random, mut state) = (SplitMix(3), State::new());
    let (mut committed, mut failed, mut refused, mut expired) = (0, 0, 0, 0);
    for step in 1..=1000 {
        let now_ms = 1_000_000 + step * 50;
        let attempt = draw(&mut random, &state, now_ms);
        match attempt.expected {
            Expected::FailedChecks(_) => failed += 1,
            Expected::Refused => refused += 1,
            Expected::Commits => {
                committed += 1;
                apply(&mut state, &attempt.write, Versionstamp::new(step, 0), now_ms);
            }
        }
        expired += state.len() - visible(&state, now_ms + 500).len();
    }
    assert!(
        committed > 500 && failed > 50 && refused > 20 && expired > 50,
        "{committed} {failed} {refused} {expired}"
    );
}
