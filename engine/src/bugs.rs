//! Mistakes that a simulation makes on purpose, to show that its checks would find them. A release has none of this.
//!
//! A mistake is made on the thread that asked for it, and nowhere else.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A compaction forgets deletions although it keeps what they hide.
    TombstoneDropped,
    /// A read at a stamp does not see the commit of that stamp.
    StampOffByOne,
    /// A sync of the log says that it is done, and does nothing.
    SyncSkipped,
}

#[cfg(debug_assertions)]
thread_local! {
    static SEEDED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Makes this mistake from now on, on this thread; `None` makes none.
#[cfg(debug_assertions)]
pub fn seed(bug: Option<Bug>) {
    SEEDED.set(bug);
}

/// Whether this mistake is to be made.
#[cfg(debug_assertions)]
pub(crate) fn seeded(bug: Bug) -> bool {
    SEEDED.get() == Some(bug)
}

/// Makes no mistake: this is a release.
#[cfg(not(debug_assertions))]
pub const fn seed(_bug: Option<Bug>) {}

/// No mistake is made: this is a release.
#[cfg(not(debug_assertions))]
pub(crate) const fn seeded(_bug: Bug) -> bool {
    false
}
