//! Values that are only moved between keys: their sum is the same in every state.
//!
//! The model finds the same and more; this is for a reader who trusts no model.

use super::model::u64_of;
use super::{Action, Event, Row, Selection, Violation};

/// Every read of all of `accounts`, of any kind, shows the sum `expected`, or no account at all. Returns how many did.
///
/// # Errors
///
/// [`Violation::NotConserved`] for the first that does not.
pub fn check(events: &[Event], accounts: &Selection, expected: u128) -> Result<usize, Violation> {
    let mut found = 0;
    for event in events {
        let Action::Read { selections, seen, .. } = &event.action else { continue };
        let shown = selections.iter().zip(&seen.rows).filter(|(selection, _)| *selection == accounts);
        for (_, rows) in shown.filter(|(_, rows)| !rows.is_empty()) {
            let total = total(rows);
            if total != expected {
                return Err(Violation::NotConserved { read: event.to_string(), total, expected });
            }
            found += 1;
        }
    }
    Ok(found)
}

fn total(rows: &[Row]) -> u128 {
    rows.iter().filter_map(|row| u64_of(&row.value)).map(u128::from).sum()
}
