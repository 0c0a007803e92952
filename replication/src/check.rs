//! What clients saw, and whether a database that keeps its promises could have shown it to them.
//!
//! A test records [`Event`]s: what was asked, when, and what came back. At the end it reads everything once more
//! ([`Last`]), and [`check`] decides. Used by the simulation and by tests with real processes.
//!
//! Every write carries an id that a suffixed set leaves in the [`journal`]; so at the end it is known which writes happened
//! and under which stamps, those without an answer among them. The stamps give the order, hence nothing has to be searched
//! for: the writes are replayed in that order on a [model](Model), and each event needs a place in it.
//!
//! What holds when [`check`] finds nothing:
//!
//! - Every acknowledged write is there once, under the stamp that was told, with all of its mutations; one that was
//!   refused, or said not to have happened, is nowhere.
//! - Each write comes to what the model comes to, its checks among it: so sums, counters and transfers are exact.
//! - Order in stamps agrees with order in time: who began after another had ended comes after it (strict
//!   serializability). This is for writes, failed checks and strong reads together; and what an eventual read or a watch
//!   has shown, whoever begins later comes after as well, for only what is committed is ever shown.
//! - A strong or eventual read shows the state after some prefix of the commits, whole; an eventual one no newer than what
//!   was begun, and no older than the staleness it states. A read at a stamp shows exactly that state.
//! - A watch only goes forward, begins no older than its request, and has shown the last state when it had time to.
//! - At the end the database is what the model is.
//!
//! The verdict is exact: where places can be given to all events, they are found, for each event takes the earliest that
//! is left by those that ended before it began, and only a later place would be a constraint on others.

pub mod conserved;
mod event;
pub mod journal;
mod model;
mod order;
mod place;
mod recorder;
mod violation;

pub use event::{Action, Event, Last, Level, Message, Moment, Row, Seen, Selection, Written};
pub use model::{Commit, Model};
pub use recorder::{Open, Recorder};
pub use violation::Violation;

use order::Floors;

/// What a history that holds consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Writes that happened.
    pub committed: usize,
    /// Writes without an answer that happened all the same.
    pub resolved: usize,
    /// Writes whose checks failed.
    pub checks_failed: usize,
    /// Strong reads.
    pub strong: usize,
    /// Eventual reads.
    pub eventual: usize,
    /// Reads at a stamp.
    pub at_stamp: usize,
    /// Messages of watches.
    pub watched: usize,
}

/// Every state that there was. The events and the last state have to [hold](check).
///
/// # Errors
///
/// When they do not.
pub fn model(events: &[Event], last: &Last) -> Result<Model, Violation> {
    Model::replay(events, &journal::resolve(events, last)?)
}

/// Decides whether the events and the last state can be those of one database that keeps its promises.
///
/// # Errors
///
/// The first contradiction, with the events that contradict each other.
pub fn check(events: &[Event], last: &Last) -> Result<Verdict, Violation> {
    let commits = journal::resolve(events, last)?;
    let model = Model::replay(events, &commits)?;
    model.equals(&last.rows, last.time_ms)?;
    let mut floors = Floors::new(events, &model);
    let mut by_begin: Vec<usize> = (0..events.len()).collect();
    by_begin.sort_by_key(|index| events[*index].invoked.order);
    let mut verdict = Verdict { committed: commits.len(), ..Verdict::default() };
    for index in by_begin {
        let place = place::of(events, index, &model, &mut floors)?;
        floors.took(index, place);
        count(&mut verdict, &events[index], place);
    }
    Ok(verdict)
}

fn count(verdict: &mut Verdict, event: &Event, place: Option<usize>) {
    match &event.action {
        Action::Write { outcome: Written::Unknown, .. } => verdict.resolved += usize::from(place.is_some()),
        Action::Write { outcome: Written::ChecksFailed(_), .. } => verdict.checks_failed += 1,
        Action::Write { .. } => {}
        Action::Read { level: Level::Strong, .. } => verdict.strong += 1,
        Action::Read { level: Level::Eventual { .. }, .. } => verdict.eventual += 1,
        Action::Read { level: Level::At(_), .. } => verdict.at_stamp += 1,
        Action::Watch { messages, .. } => verdict.watched += messages.len(),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toy;
