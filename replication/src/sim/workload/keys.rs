//! The keys of a workload, as keys of KV Connect: texts.
//!
//! | begins with | holds |
//! |---|---|
//! | `a` | accounts, of which transfers move |
//! | `c` | counters |
//! | `d` | values of writes, of so many keys that each rests for long |
//! | `e` | values that expire |
//! | `k` | values of any write |
//! | `m` | the least and the greatest of what was offered |
//! | `t` | texts, to which nothing can be added |

use crate::check::Selection;
use crate::{DEFAULT_DATABASE, engine_key};

/// How many accounts there are.
pub const ACCOUNTS: u64 = 6;
/// What each has at the start.
pub const ACCOUNT_START: u64 = 100;

/// The key of one of a kind.
pub(super) fn key(kind: char, number: u64) -> Vec<u8> {
    format!("\x02{kind}{number}\0").into_bytes()
}

/// All of a kind, in the engine.
pub(super) fn all(kind: char) -> Selection {
    Selection::prefix(&engine_key(DEFAULT_DATABASE, format!("\x02{kind}").as_bytes()))
}

/// All accounts.
pub(super) fn accounts() -> Selection {
    all('a')
}

/// A key of KV Connect as the engine's.
pub(super) fn of_engine(key: &[u8]) -> Vec<u8> {
    engine_key(DEFAULT_DATABASE, key)
}
