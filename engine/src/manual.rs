//! The manual, a chapter per module. Start with the [example on the first page](crate), then:
//!
//! 1. [`durability`]: what is durable, and when;
//! 2. [`reading`]: snapshots, stamps, ranges, expiry;
//! 3. [`history`]: how far back one can read, and what it costs;
//! 4. [`deleting`]: a key, and everything below a prefix;
//! 5. [`copies`]: checkpoints, and the stream of every commit;
//! 6. [`sharing`]: several engines in one process, within one bound;
//! 7. [`errors`]: what each error means, and what to do;
//! 8. [`tuning`]: threads, options, and how to see why it is slow.

#[doc = include_str!("../manual/durability.md")]
pub mod durability {}

#[doc = include_str!("../manual/reading.md")]
pub mod reading {}

#[doc = include_str!("../manual/history.md")]
pub mod history {}

#[doc = include_str!("../manual/deleting.md")]
pub mod deleting {}

#[doc = include_str!("../manual/copies.md")]
pub mod copies {}

#[doc = include_str!("../manual/sharing.md")]
pub mod sharing {}

#[doc = include_str!("../manual/errors.md")]
pub mod errors {}

#[doc = include_str!("../manual/tuning.md")]
pub mod tuning {}
