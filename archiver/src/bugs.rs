//! Mistakes that a simulation makes on purpose, to show that its checks would find them. A release has none of this.
//!
//! A mistake is made on the thread that asked for it, and nowhere else.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Progress is recorded before the object is acknowledged.
    MarkedBeforePut,
    /// Progress is recorded up to the last commit of the engine, and not up to the end of the segment.
    MarkedTooFar,
    /// A checkpoint names tables that were not uploaded.
    TableNotPut,
    /// A gap is not recorded.
    GapUnrecorded,
    /// Pruning takes no heed of the points that the rules keep.
    KeptPointPruned,
    /// Pruning takes the newest checkpoint for the one from which the whole window is reached.
    WindowCut,
    /// What is joined is removed before the joined segment is there.
    RemovedBeforeMerged,
    /// A restore takes the first lineage that there is, whichever was named.
    WrongLineage,
    /// A restore to a time leaves out the commits of that very millisecond.
    TimeOffByOne,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 9] = [
        Bug::MarkedBeforePut,
        Bug::MarkedTooFar,
        Bug::TableNotPut,
        Bug::GapUnrecorded,
        Bug::KeptPointPruned,
        Bug::WindowCut,
        Bug::RemovedBeforeMerged,
        Bug::WrongLineage,
        Bug::TimeOffByOne,
    ];
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
