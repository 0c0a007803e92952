//! What a history can be wrong in.

use engine::Versionstamp;

/// Why no database that keeps its promises can have shown this. Events are in words, as they were recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The history itself is broken. Mend the test.
    #[error("the history is not one: {what}")]
    Misrecorded {
        /// What is wrong with it.
        what: String,
    },
    /// An acknowledged write is gone.
    #[error("lost: {write} is not in the database")]
    Lost {
        /// The write.
        write: String,
    },
    /// A write happened twice.
    #[error("applied twice: {write} is there as {first} and as {second}")]
    Twice {
        /// The write.
        write: String,
        /// One of its stamps.
        first: Versionstamp,
        /// The other.
        second: Versionstamp,
    },
    /// A write is there under another stamp than the client was told.
    #[error("another stamp: {write} is there as {stamp}")]
    OtherStamp {
        /// The write.
        write: String,
        /// The stamp that the database has.
        stamp: Versionstamp,
    },
    /// A write happened although the client was told that it did not.
    #[error("happened all the same: {write} is there as {stamp}")]
    Happened {
        /// The write.
        write: String,
        /// Its stamp.
        stamp: Versionstamp,
    },
    /// A note of a write that nobody asked for.
    #[error("nobody wrote it: {row}")]
    NobodyWrote {
        /// The note.
        row: String,
    },
    /// A note whose key, stamp and value do not agree.
    #[error("a note does not agree with its stamp: {row}")]
    DamagedNote {
        /// The note.
        row: String,
    },
    /// Two writes have one stamp.
    #[error("one stamp for two: {stamp} is that of {one} and of {other}")]
    SameStamp {
        /// The stamp.
        stamp: Versionstamp,
        /// One write.
        one: String,
        /// The other.
        other: String,
    },
    /// A write happened where its checks fail or its mutations cannot be done.
    #[error("cannot have committed: {write} at {stamp}, where {why}")]
    Impossible {
        /// The write.
        write: String,
        /// Its stamp.
        stamp: Versionstamp,
        /// What the model says.
        why: String,
    },
    /// The replicated clock fell.
    #[error("the replicated clock falls: {before_ms} ms before {stamp}, {at_ms} ms at it")]
    ClockFell {
        /// Where.
        stamp: Versionstamp,
        /// Before.
        before_ms: u64,
        /// At it.
        at_ms: u64,
    },
    /// The order of stamps contradicts the order in time.
    #[error("out of order: {later} comes after {stamp} had been told by {earlier}, but stands {stands}")]
    OutOfOrder {
        /// What began later.
        later: String,
        /// Where it stands in the order of stamps.
        stands: String,
        /// What had ended before.
        earlier: String,
        /// The place of that.
        stamp: Versionstamp,
    },
    /// A read or watch shows what no prefix of the commits in question is.
    #[error(
        "no such state: {read} fits no state from {from} to before {until}: at the earliest, {difference}"
    )]
    NoSuchState {
        /// The read.
        read: String,
        /// The earliest state that it may show.
        from: Versionstamp,
        /// The first commit that it cannot have seen.
        until: Versionstamp,
        /// How it differs from the first of them.
        difference: String,
    },
    /// A watch ended without having said what was last.
    #[error(
        "the last value is missing: {watch}: its last message shows the state at {shown}, and since then {difference}"
    )]
    Skipped {
        /// The watch.
        watch: String,
        /// The latest state that its last message fits.
        shown: Versionstamp,
        /// What it has not said.
        difference: String,
    },
    /// In the end the database is not what its commits come to.
    #[error("in the end the database is not what its commits come to: {difference}")]
    OtherEnd {
        /// The first difference.
        difference: String,
    },
    /// Values that are only moved have another sum.
    #[error("not conserved: {read} shows a total of {total} instead of {expected}")]
    NotConserved {
        /// The read.
        read: String,
        /// The sum.
        total: u128,
        /// What it always is.
        expected: u128,
    },
}
