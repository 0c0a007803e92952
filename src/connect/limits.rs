//! What one KV Connect request may hold: the limits of the protocol, and those of this server.
//!
//! Sizes are in bytes; every bound is inclusive. The first group is Deno's and must not change:
//! clients check the same numbers.

/// A key that is written.
pub const WRITE_KEY_LEN_MAX: usize = 2048;
/// A key that is read or checked: one more, so that the end of a range can follow the longest key.
pub const READ_KEY_LEN_MAX: usize = WRITE_KEY_LEN_MAX + 1;
/// A value.
pub const VALUE_LEN_MAX: usize = 65_536;
/// Ranges in one read.
pub const READ_RANGES_MAX: usize = 10;
/// Entries asked for by one read, over all its ranges.
pub const READ_ENTRIES_MAX: u64 = 1000;
/// Checks in one atomic write. Deno allows 100.
pub const CHECKS_MAX: usize = 100;
/// Mutations and enqueues in one atomic write.
pub const MUTATIONS_MAX: usize = 1000;
/// Keys, values and bounds of one atomic write together.
pub const WRITE_LEN_MAX: usize = 819_200;
/// Keys of one watch.
pub const WATCHED_KEYS_MAX: usize = 10;

/// What a versionstamp suffix adds to a key: a tag, 20 hexadecimal digits, an end.
pub const SUFFIX_LEN: usize = 22;
/// The body of one request. The largest valid atomic write is far below.
pub const BODY_LEN_MAX: usize = 2 << 20;
/// A read of more entries than this runs on a thread of its own, so that others need not wait
/// for its disk reads.
pub const INLINE_ENTRIES_MAX: u64 = 32;
/// How long a data path token is good for, in milliseconds: 24 h, as `denokv` has it.
pub const TOKEN_LIFE_MS: u64 = 24 * 60 * 60 * 1000;
/// How often a watch says that it is alive, in milliseconds.
pub const PING_MS: u64 = 5_000;
/// How late a watch may learn of an expiry when the wall clock steps, in milliseconds.
pub const EXPIRY_LATE_MS_MAX: u64 = 1_000;
