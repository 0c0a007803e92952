//! A bank in one file: accounts, transfers that never lose a coin, a look into the past, a copy, and a restart.
//!
//! ```text
//! cargo run -p cairn-engine --example ledger
//! ```

use engine::{Direction, Engine, Env, Options, Snapshot, Versionstamp, WriteBatch, background};
use std::error::Error;
use std::path::Path;
use std::sync::Mutex;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ACCOUNTS: &str = "account/";
/// One after the last key that starts with [`ACCOUNTS`].
const ACCOUNTS_END: &str = "account0";
const TRANSFERS: &str = "transfer/";

struct Ledger {
    engine: Engine,
    /// Held from the look at a balance to the commit that changes it.
    changing: Mutex<()>,
}

impl Ledger {
    fn open(dir: &Path) -> Result<Ledger> {
        let (engine, recovery) = Engine::open(Env::real(), dir, Options::default())?;
        println!(
            "opened {}: new: {}, replayed {} records",
            dir.display(),
            recovery.created,
            recovery.records
        );
        Ok(Ledger { engine, changing: Mutex::new(()) })
    }

    fn deposit(&self, name: &str, amount: u64) -> Result<Versionstamp> {
        let _changing = self.changing.lock().map_err(|_poisoned| "another thread panicked")?;
        let balance = balance(&self.engine.newest(), name)? + amount;
        let mut batch = WriteBatch::new();
        batch.put(account(name).as_bytes(), &balance.to_le_bytes(), None)?;
        Ok(self.engine.commit(batch)?)
    }

    /// Moves coins and writes down that it did, in one commit: durable on return, and never half done.
    fn transfer(&self, from: &str, to: &str, amount: u64) -> Result<Versionstamp> {
        let _changing = self.changing.lock().map_err(|_poisoned| "another thread panicked")?;
        let now = self.engine.newest();
        let left =
            balance(&now, from)?.checked_sub(amount).ok_or_else(|| format!("{from} has too little"))?;
        let mut batch = WriteBatch::new();
        batch.put(account(from).as_bytes(), &left.to_le_bytes(), None)?;
        batch.put(account(to).as_bytes(), &(balance(&now, to)? + amount).to_le_bytes(), None)?;
        let number = self.engine.next_version();
        let text = format!("{from} gives {amount} to {to}");
        batch.put(format!("{TRANSFERS}{number:020}").as_bytes(), text.as_bytes(), None)?;
        Ok(self.engine.commit(batch)?)
    }
}

fn account(name: &str) -> String {
    format!("{ACCOUNTS}{name}")
}

fn balance(snapshot: &Snapshot, name: &str) -> Result<u64> {
    match snapshot.get(account(name).as_bytes())? {
        Some(value) => Ok(u64::from_le_bytes(value.bytes[..].try_into()?)),
        None => Ok(0),
    }
}

/// The coins of all accounts together.
fn total(snapshot: &Snapshot) -> Result<u64> {
    let mut total = 0;
    for entry in snapshot.range(ACCOUNTS.as_bytes(), ACCOUNTS_END.as_bytes(), Direction::Forward)? {
        total += u64::from_le_bytes(entry?.value.bytes[..].try_into()?);
    }
    Ok(total)
}

/// What an account had after each transfer, read at the transfer's own stamp.
fn statement(engine: &Engine, name: &str) -> Result<Vec<(String, u64)>> {
    let mut lines = Vec::new();
    let snapshot = engine.snapshot();
    for entry in snapshot.range(TRANSFERS.as_bytes(), b"transfer0", Direction::Forward)? {
        let entry = entry?;
        let then = engine.snapshot_at(entry.value.stamp)?;
        lines.push((String::from_utf8(entry.value.bytes.to_vec())?, balance(&then, name)?));
    }
    Ok(lines)
}

/// Runs the whole story in an empty directory; returns Ada's statement.
pub(crate) fn run(dir: &Path) -> Result<Vec<(String, u64)>> {
    let (live, copy) = (dir.join("live"), dir.join("copy"));
    let ledger = Ledger::open(&live)?;
    let background = background::start(&ledger.engine);
    ledger.deposit("ada", 100)?;
    let opened = ledger.deposit("bob", 50)?;

    // Four threads at once: their commits share syncs.
    std::thread::scope(|scope| {
        let move_coins = |n: u64| {
            let (from, to) = if n.is_multiple_of(2) { ("ada", "bob") } else { ("bob", "ada") };
            ledger.transfer(from, to, n + 1).map(drop).map_err(|error| error.to_string())
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || move_coins(n))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_panic| "a thread panicked")?)
    })?;
    let refused = ledger.transfer("bob", "ada", 1_000).err().ok_or("bob is not that rich")?;
    println!("refused: {refused}");

    // No stamp shows half of a transfer.
    let past = ledger.engine.snapshot_at(opened)?;
    println!(
        "at {opened}, ada had {}; now {}",
        balance(&past, "ada")?,
        balance(&ledger.engine.snapshot(), "ada")?
    );
    let transfers = statement(&ledger.engine, "ada")?;
    for (text, ada) in &transfers {
        println!("{text}: ada has {ada}");
    }
    for stamp in [opened, ledger.engine.snapshot().stamp()] {
        assert_eq!(total(&ledger.engine.snapshot_at(stamp)?)?, 150, "no coin is lost");
    }

    // A copy that lives on its own, while the original goes on.
    let checkpoint = ledger.engine.checkpoint(&copy)?;
    ledger.transfer("ada", "eve", 5)?;
    println!("a checkpoint at {} of {} tables", checkpoint.applied.stamp, checkpoint.tables.len());

    // A process may end at any time; closing only saves the next one some work.
    drop(background);
    ledger.engine.close()?;
    drop(ledger);
    let ledger = Ledger::open(&live)?;
    let copied = Ledger::open(&copy)?;
    assert_eq!(balance(&ledger.engine.snapshot(), "eve")?, 5);
    assert_eq!(balance(&copied.engine.snapshot(), "eve")?, 0, "the copy is from before");
    assert_eq!(total(&ledger.engine.snapshot())?, total(&copied.engine.snapshot())?);
    println!("{}", ledger.engine.statistics());
    Ok(transfers)
}

#[cfg_attr(test, expect(dead_code, reason = "the tests call run"))]
fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    run(dir.path()).map(drop)
}
