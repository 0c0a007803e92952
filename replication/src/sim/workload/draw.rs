//! Which write or read comes next.
//!
//! - Few keys, so that clients meet. Checks are for what the worker has last seen, which is often not what is there.

use super::keys::{self, ACCOUNT_START, ACCOUNTS, key};
use super::memory::Memory;
use crate::check::{Row, Selection, journal};
use crate::runtime::sim::SplitMix;
use crate::{
    AtomicWrite, Check, DEFAULT_DATABASE, Encoding, Mutation, MutationKind, RequestId, StoredValue, Sum,
};
use engine::Versionstamp;

/// Keys of each kind but accounts.
const KEYS: u64 = 8;
/// Keys that are seldom written.
const KEYS_SELDOM: u64 = 400;
/// What expires does so within this many milliseconds, or this long ago.
const EXPIRY_MS: u64 = 4_000;
/// The most bytes that a value of a `k` key has.
const VALUE_LEN_MAX: u64 = 2_000;

/// The write that makes the accounts, unless they are there.
pub(super) fn setup(id: u64) -> AtomicWrite {
    let account = |number| set(key('a', number), StoredValue::u64(ACCOUNT_START), None);
    let absent = Check { key: key('a', 0), stamp: None };
    finished(id, vec![absent], (0..ACCOUNTS).map(account).collect())
}

/// Any write.
pub(super) fn write(random: &mut SplitMix, memory: &Memory, id: u64) -> AtomicWrite {
    let (checks, mutations) = match random.below(20) {
        0..=4 => transfer(random, memory).unwrap_or_else(|| (Vec::new(), count(random))),
        5..=7 => (Vec::new(), count(random)),
        8..=9 => (Vec::new(), least_and_greatest(random)),
        10..=12 => expiry(random, memory),
        13 => (Vec::new(), text(random)),
        14..=16 => (Vec::new(), seldom(random, id)),
        _ => (checks(random, memory, 'k'), values(random, id)),
    };
    finished(id, checks, mutations)
}

/// The write with its note, which comes first or last.
fn finished(id: u64, checks: Vec<Check>, mut mutations: Vec<Mutation>) -> AtomicWrite {
    let place = if id.is_multiple_of(2) { mutations.len() } else { 0 };
    mutations.insert(place, journal::note(id));
    // A node gives the request its own id.
    let request = RequestId { node: 0, boot: 0, counter: id };
    AtomicWrite { request, database: DEFAULT_DATABASE, checks, mutations }
}

fn set(key: Vec<u8>, value: StoredValue, expire_at_ms: Option<u64>) -> Mutation {
    Mutation { key, kind: MutationKind::Set { value, expire_at_ms } }
}

/// Moves from one account to another, if both have been seen.
fn transfer(random: &mut SplitMix, memory: &Memory) -> Option<(Vec<Check>, Vec<Mutation>)> {
    let from = random.below(ACCOUNTS);
    let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    let mut checks = Vec::new();
    let mut known = |number: u64| {
        let key = key('a', number);
        let row = memory.row(&keys::of_engine(&key))?;
        checks.push(Check { key, stamp: Some(row.stamp) });
        number_of(row)
    };
    let (has, gets) = (known(from)?, known(to)?);
    let amount = random.below(has + 1);
    let mutations = vec![
        set(key('a', from), StoredValue::u64(has - amount), None),
        set(key('a', to), StoredValue::u64(gets + amount), None),
    ];
    Some((checks, mutations))
}

fn number_of(row: &Row) -> Option<u64> {
    row.value.get(1..)?.try_into().ok().map(u64::from_le_bytes)
}

fn count(random: &mut SplitMix) -> Vec<Mutation> {
    let one = |random: &mut SplitMix| Mutation {
        key: key('c', random.below(KEYS)),
        kind: MutationKind::Sum(Sum::U64(1 + random.below(3))),
    };
    (0..1 + random.below(3)).map(|_| one(random)).collect()
}

fn least_and_greatest(random: &mut SplitMix) -> Vec<Mutation> {
    let (number, offered) = (random.below(KEYS / 2), random.below(1_000_000));
    vec![
        Mutation { key: key('m', number), kind: MutationKind::Min(offered) },
        Mutation { key: key('m', KEYS / 2 + number), kind: MutationKind::Max(offered) },
    ]
}

/// Sets, checks, adds to or removes what expires.
fn expiry(random: &mut SplitMix, memory: &Memory) -> (Vec<Check>, Vec<Mutation>) {
    let checks = checks(random, memory, 'e');
    let key = key('e', random.below(KEYS));
    let expire_at_ms = (memory.time_ms + random.below(EXPIRY_MS)).saturating_sub(EXPIRY_MS / 8);
    let value = StoredValue::u64(random.below(100));
    let mutation = match random.below(6) {
        0 => Mutation { key, kind: MutationKind::Delete },
        1 => Mutation { key, kind: MutationKind::Sum(Sum::U64(1)) },
        _ => set(key, value, Some(expire_at_ms)),
    };
    (checks, vec![mutation])
}

/// A text, or the attempt to add to one.
fn text(random: &mut SplitMix) -> Vec<Mutation> {
    let key = key('t', random.below(2));
    let text = StoredValue { encoding: Encoding::Bytes, bytes: b"no number".to_vec() };
    let adds = Mutation { key: key.clone(), kind: MutationKind::Max(1) };
    let counts = count(random);
    match random.below(3) {
        0 => vec![set(key, text, None)],
        1 => counts.into_iter().chain([set(key, text, None), adds]).collect(),
        _ => counts.into_iter().chain([adds]).collect(),
    }
}

/// Sets and deletions of keys of which there are so many that each rests for long: only then do flushes and compactions
/// meet a deletion that is still the newest of its key.
fn seldom(random: &mut SplitMix, id: u64) -> Vec<Mutation> {
    let one = |random: &mut SplitMix| {
        let key = key('d', random.below(KEYS_SELDOM));
        match random.below(2) {
            0 => Mutation { key, kind: MutationKind::Delete },
            _ => set(key, StoredValue::u64(id), None),
        }
    };
    (0..1 + random.below(5)).map(|_| one(random)).collect()
}

/// Up to two checks of keys of a kind, for what was last seen, or for something else.
fn checks(random: &mut SplitMix, memory: &Memory, kind: char) -> Vec<Check> {
    let one = |random: &mut SplitMix| {
        let key = key(kind, random.below(KEYS));
        let seen = memory.row(&keys::of_engine(&key)).map(|row| row.stamp);
        let stamp = if random.below(10) == 0 { Some(Versionstamp::new(1, 1)) } else { seen };
        Check { key, stamp }
    };
    (0..random.below(3)).map(|_| one(random)).collect()
}

/// Sets and deletions of a few keys, the same key perhaps twice.
fn values(random: &mut SplitMix, id: u64) -> Vec<Mutation> {
    let one = |random: &mut SplitMix| {
        let key = key('k', random.below(KEYS));
        if random.below(3) == 0 {
            return Mutation { key, kind: MutationKind::Delete };
        }
        let len = if random.below(8) == 0 { random.below(VALUE_LEN_MAX) } else { 8 };
        let bytes = id.to_le_bytes().into_iter().cycle().take(usize::try_from(len).unwrap_or(8)).collect();
        set(key, StoredValue { encoding: Encoding::Bytes, bytes }, None)
    };
    (0..1 + random.below(3)).map(|_| one(random)).collect()
}

/// What a read asks for: keys, or ranges, or all accounts.
pub(super) fn selections(random: &mut SplitMix) -> Vec<Selection> {
    let kinds = ['a', 'c', 'e', 'k', 'm'];
    let mut kind = || kinds[usize::try_from(random.below(5)).unwrap_or(0)];
    let kinds = [kind(), kind()];
    match random.below(5) {
        0 => vec![keys::accounts()],
        4 => vec![part(random, 'd')],
        1 => kinds
            .iter()
            .map(|kind| Selection::key(&keys::of_engine(&key(*kind, random.below(KEYS)))))
            .collect(),
        2 => vec![keys::all('k'), keys::all('e')],
        _ => kinds.iter().map(|kind| part(random, *kind)).collect(),
    }
}

fn part(random: &mut SplitMix, kind: char) -> Selection {
    let count = if kind == 'd' { KEYS_SELDOM } else { KEYS };
    let limit = usize::try_from(1 + random.below(count)).unwrap_or(1);
    let mut selection = keys::all(kind);
    if random.below(2) == 0 {
        selection.start = keys::of_engine(&key(kind, random.below(count)));
    }
    Selection { limit, reverse: random.below(2) == 0, ..selection }
}

/// Up to three keys to watch, in the engine.
pub(super) fn watched(random: &mut SplitMix) -> Vec<Vec<u8>> {
    let kinds = ['a', 'c', 'k', 'm'];
    let mut keys: Vec<_> = (0..1 + random.below(3))
        .map(|_| {
            let kind = kinds[usize::try_from(random.below(4)).unwrap_or(0)];
            keys::of_engine(&key(kind, random.below(KEYS.min(ACCOUNTS))))
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}
