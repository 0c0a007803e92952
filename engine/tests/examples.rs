//! The example programs do what they say.

#[path = "../examples/ledger.rs"]
mod ledger;

use crate::TestResult;

#[test]
fn the_ledger_keeps_every_coin() -> TestResult {
    let dir = tempfile::tempdir()?;
    let statement = ledger::run(dir.path())?;
    assert_eq!(statement.len(), 4);
    // 1 and 3 from Ada, 2 and 4 from Bob, in whatever order.
    assert_eq!(statement.last().map(|(_, ada)| *ada), Some(102));
    Ok(())
}
