//! Mistakes that a simulation makes on purpose, to show that its checks would find them. A release has none of this.
//!
//! Each stands where it would be made, as one condition. A mistake is made on the thread that asked for it, and nowhere
//! else, until its [`Seeded`] is dropped.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A restarted leader goes on leading in its term without an election.
    LeaderRestore,
    /// The Raft log is not synced.
    LogUnsynced,
    /// An entry counts as durable before it is written.
    AckedBeforeWritten,
    /// A vote is not saved.
    VoteNotSaved,
    /// The engine says that it has synced, and has not.
    EngineUnsynced,
    /// The Raft log is purged past what the engine has durable.
    PurgedTooFar,
    /// A compaction forgets deletions.
    TombstoneDropped,
    /// A read at a stamp does not see the commit of that stamp.
    StampOffByOne,
    /// A strong read asks nobody.
    NoBarrier,
    /// A strong read does not wait until this replica has applied what was confirmed.
    BarrierWithoutApply,
    /// A leader confirms the newest state without asking whether it still leads.
    ReadUnconfirmed,
    /// A write whose answer is late is proposed again, though the first may still be applied.
    ProposedAgain,
    /// A forwarded write that comes twice is taken twice.
    ForwardedTwice,
    /// A write whose outcome a snapshot hides counts as not applied.
    HiddenIsNotApplied,
    /// The switch to a received snapshot is not durable before the old replica is removed.
    SwitchUnsynced,
    /// A received snapshot lacks its last table.
    TableMissing,
    /// A replica leaves a write out.
    ApplySkips,
    /// Replicas judge expiry by their own clocks.
    OwnClock,
    /// A watch is not always told.
    WatchDeaf,
    /// A replica says that it is not stale.
    StalenessLies,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 20] = [
        Bug::LeaderRestore,
        Bug::LogUnsynced,
        Bug::AckedBeforeWritten,
        Bug::VoteNotSaved,
        Bug::EngineUnsynced,
        Bug::PurgedTooFar,
        Bug::TombstoneDropped,
        Bug::StampOffByOne,
        Bug::NoBarrier,
        Bug::BarrierWithoutApply,
        Bug::ReadUnconfirmed,
        Bug::ProposedAgain,
        Bug::ForwardedTwice,
        Bug::HiddenIsNotApplied,
        Bug::SwitchUnsynced,
        Bug::TableMissing,
        Bug::ApplySkips,
        Bug::OwnClock,
        Bug::WatchDeaf,
        Bug::StalenessLies,
    ];

    /// The engine's mistake, if it is one of the engine.
    #[cfg(debug_assertions)]
    const fn of_engine(self) -> Option<engine::bugs::Bug> {
        match self {
            Bug::EngineUnsynced => Some(engine::bugs::Bug::SyncSkipped),
            Bug::TombstoneDropped => Some(engine::bugs::Bug::TombstoneDropped),
            Bug::StampOffByOne => Some(engine::bugs::Bug::StampOffByOne),
            _ => None,
        }
    }
}

#[cfg(debug_assertions)]
thread_local! {
    static SEEDED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Makes a mistake on this thread until it is dropped.
#[derive(Debug)]
#[must_use = "the mistake ends when this is dropped"]
pub struct Seeded(());

impl Seeded {
    /// Makes this mistake from now on; `None` makes none, as a release always does.
    pub fn with(bug: Option<Bug>) -> Seeded {
        set(bug);
        Seeded(())
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        set(None);
    }
}

#[cfg(debug_assertions)]
fn set(bug: Option<Bug>) {
    SEEDED.set(bug);
    engine::bugs::seed(bug.and_then(Bug::of_engine));
}

#[cfg(not(debug_assertions))]
const fn set(_bug: Option<Bug>) {}

/// Whether this mistake is to be made.
#[cfg(debug_assertions)]
pub(crate) fn seeded(bug: Bug) -> bool {
    SEEDED.get() == Some(bug)
}

/// No mistake is made: this is a release.
#[cfg(not(debug_assertions))]
pub(crate) const fn seeded(_bug: Bug) -> bool {
    false
}

/// Whether this mistake is to be made, this time: one time in `one_in`.
pub(crate) fn seeded_at_times(bug: Bug, one_in: u64) -> bool {
    seeded(bug) && crate::runtime::random_u64().is_multiple_of(one_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_made_until_its_guard_is_dropped_and_no_other() {
        assert!(Bug::ALL.iter().all(|bug| !seeded(*bug)));
        let guard = Seeded::with(Some(Bug::NoBarrier));
        assert!(Bug::ALL.iter().all(|bug| seeded(*bug) == (*bug == Bug::NoBarrier)));
        drop(guard);
        assert!(!seeded(Bug::NoBarrier));
    }
}
