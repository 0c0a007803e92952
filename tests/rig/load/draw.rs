//! What clients ask for.

use cairn::bench::random::SplitMix;
use engine::Versionstamp;
use replication::check::{Row, Seen, Selection, journal};
use replication::{
    AtomicWrite, Check, DEFAULT_DATABASE, Mutation, MutationKind, RequestId, StoredValue, Sum, engine_key,
};

/// How many accounts there are; each begins with [`BALANCE`].
pub(crate) const ACCOUNTS: u64 = 8;
const BALANCE: u64 = 1000;
/// What all accounts have together, always.
pub(crate) const SUM: u128 = 8000;
/// Entries of one range, at most: more than there are in any, and few enough for two ranges in one read.
pub(crate) const ENTRIES: usize = 400;
/// Keys of each client, and counters of all.
const KEYS: u64 = 6;

/// A write and its id.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) id: u64,
    pub(crate) write: AtomicWrite,
}

/// What a read asks for, as keys of KV Connect.
#[derive(Debug, Clone)]
pub(crate) struct Keys(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// A write without a look before it.
    Write(Write),
    /// A read; strong if so.
    Read(Keys, bool),
    /// A look at two accounts, and a write with checks of both.
    Transfer { from: u64, to: u64, amount: u64 },
}

/// Draws the next request of a client.
pub(crate) fn draw(random: &mut SplitMix, client: u64, id: u64) -> Request {
    let number = random.below(KEYS);
    let own = key(&["own", &client.to_string(), &number.to_string()]);
    let counter = key(&["counter", &number.to_string()]);
    match random.below(100) {
        0..30 => Request::Write(write(id, vec![set(own, id), set(key(&["last", &client.to_string()]), id)])),
        30..45 => {
            Request::Write(write(id, vec![Mutation { key: counter, kind: MutationKind::Sum(Sum::U64(1)) }]))
        }
        45..50 => Request::Write(write(id, vec![Mutation { key: own, kind: MutationKind::Delete }])),
        50..55 => Request::Write(write(id, vec![Mutation { key: counter, kind: MutationKind::Max(id) }])),
        55..70 => {
            let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS - 1));
            Request::Transfer { from, to: (from + 1 + to) % ACCOUNTS, amount: random.below(20) }
        }
        70..80 => Request::Read(Keys(vec![prefix(&["account"])]), true),
        80..87 => Request::Read(Keys(vec![point(own), prefix(&["counter"])]), true),
        _ => Request::Read(Keys(vec![prefix(&["account"]), prefix(&["own"])]), false),
    }
}

/// The first write of all.
pub(crate) fn open_accounts(id: u64) -> Write {
    write(id, (0..ACCOUNTS).map(|number| set(account(number), BALANCE)).collect())
}

/// Both accounts.
pub(crate) fn pair(from: u64, to: u64) -> Keys {
    Keys(vec![point(account(from)), point(account(to))])
}

/// Moves money if there is enough, on condition that both accounts are as they were seen.
pub(crate) fn transfer(id: u64, seen: &Seen, from: u64, to: u64, amount: u64) -> Option<Write> {
    let [from_rows, to_rows] = &seen.rows[..] else { return None };
    let ((from_balance, from_stamp), (to_balance, to_stamp)) = (balance(from_rows)?, balance(to_rows)?);
    let left = from_balance.checked_sub(amount)?;
    let mut write = write(id, vec![set(account(from), left), set(account(to), to_balance + amount)]);
    let check = |number, stamp| Check { key: account(number), stamp: Some(stamp) };
    write.write.checks = vec![check(from, from_stamp), check(to, to_stamp)];
    Some(write)
}

fn balance(rows: &[Row]) -> Option<(u64, Versionstamp)> {
    let row = rows.first()?;
    let (_, number) = row.value.split_first()?;
    Some((u64::from_le_bytes(number.try_into().ok()?), row.stamp))
}

/// What the sum is taken over.
pub(crate) fn accounts() -> Selection {
    selection(&prefix(&["account"]))
}

/// A range as the checker knows it.
pub(crate) fn selection((start, end): &(Vec<u8>, Vec<u8>)) -> Selection {
    let of = |key: &[u8]| engine_key(DEFAULT_DATABASE, key);
    Selection { start: of(start), end: of(end), limit: ENTRIES, reverse: false }
}

fn write(id: u64, mut mutations: Vec<Mutation>) -> Write {
    mutations.push(journal::note(id));
    // The server gives the request an id of its own; this one is never sent.
    let request = RequestId { node: 0, boot: 0, counter: id };
    Write { id, write: AtomicWrite { request, database: DEFAULT_DATABASE, checks: Vec::new(), mutations } }
}

fn set(key: Vec<u8>, value: u64) -> Mutation {
    Mutation { key, kind: MutationKind::Set { value: StoredValue::u64(value), expire_at_ms: None } }
}

fn account(number: u64) -> Vec<u8> {
    key(&["account", &number.to_string()])
}

fn point(key: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let end = [&key[..], &[0]].concat();
    (key, end)
}

fn prefix(parts: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let start = key(parts);
    let end = [&start[..], &[0xff]].concat();
    (start, end)
}

fn key(parts: &[&str]) -> Vec<u8> {
    super::writes::key(parts)
}
