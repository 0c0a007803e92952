//! Which tables have their filters in memory: as many as the cache has room for, upper levels first.
//!
//! A key is looked for from the top down, and nearly always found in the deepest level that has it: each
//! table above is asked in vain, and its filter saves a search. Filters of the deepest level save one for keys only
//! that are nowhere.

use super::LEVELS;
use crate::table::Reader;
use std::sync::Arc;

/// Gives filters to tables that have none in memory, and takes them from deeper levels where there is no
/// room, when `leaving` bytes of what is pinned are about to go.
pub(super) fn share(levels: &mut [Vec<Arc<Reader>>; LEVELS], mut leaving: u64) {
    for level in 0..LEVELS {
        for index in 0..levels[level].len() {
            let table = Arc::clone(&levels[level][index]);
            if table.filter_bytes() == table.pinned_filter_bytes() {
                continue;
            }
            while !table.cache().has_room(table.filter_bytes(), leaving) {
                match take_deepest(&mut levels[level + 1..]) {
                    Some(bytes) => leaving += bytes,
                    // What is left for the tables below is less still.
                    None => return,
                }
            }
            match table.with_filter() {
                Ok(table) => levels[level][index] = Arc::new(table),
                // It only helps; who reads the table itself meets the damage.
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a table is searched without its filter"
                    );
                }
            }
        }
    }
}

/// Takes the filter of a table of the deepest level that has one; its bytes.
fn take_deepest(levels: &mut [Vec<Arc<Reader>>]) -> Option<u64> {
    let table = levels.iter_mut().rev().flatten().find(|table| table.pinned_filter_bytes() > 0)?;
    let bytes = table.pinned_filter_bytes();
    *table = Arc::new(table.without_filter());
    Some(bytes)
}
