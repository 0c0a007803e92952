//! Order in time: the earliest place an event can have, and the first that it cannot.
//!
//! - An event that ended before another began stands before it. One without an answer, or told that nobody knows, has not
//!   ended.
//! - Floors are asked for in the order in which events began, so one pass serves all.

use super::{Action, Event, Model, Moment, Written};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A place, and the event that makes it the least.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Floor {
    pub(super) place: usize,
    pub(super) event: Option<usize>,
}

impl Floor {
    fn raise(&mut self, place: usize, event: usize) {
        if place > self.place {
            *self = Floor { place, event: Some(event) };
        }
    }
}

/// The floors of all events.
#[derive(Debug)]
pub(super) struct Floors<'a> {
    events: &'a [Event],
    /// Events with a place that have ended, by the order of their end, not yet in `newest`.
    ended: BinaryHeap<Reverse<(u64, usize, usize)>>,
    newest: Floor,
    /// Acknowledged writes by the time of their answer: the greatest place until then.
    acknowledged: BTreeMap<u64, Floor>,
    /// By the order in which writes that happened began: the least place from then on.
    began: BTreeMap<u64, usize>,
}

/// When an event had ended for everybody.
fn ended(event: &Event) -> Option<Moment> {
    match event.action {
        Action::Write { outcome: Written::Unknown, .. } => None,
        _ => event.completed,
    }
}

impl<'a> Floors<'a> {
    pub(super) fn new(events: &'a [Event], model: &Model) -> Self {
        let commits = (0..events.len()).filter_map(|index| Some((index, model.place_of(index)?)));
        let (mut acknowledged, mut began) = (BTreeMap::<u64, Floor>::new(), BTreeMap::new());
        for (index, place) in commits {
            let least: &mut usize = began.entry(events[index].invoked.order).or_insert(place);
            *least = place.min(*least);
            if let Some(at) = ended(&events[index]) {
                acknowledged.entry(at.at_ns).or_default().raise(place, index);
            }
        }
        let mut greatest = Floor::default();
        for floor in acknowledged.values_mut() {
            if let Some(event) = floor.event {
                greatest.raise(floor.place, event);
            }
            *floor = greatest;
        }
        let mut least = usize::MAX;
        for place in began.values_mut().rev() {
            least = least.min(*place);
            *place = least;
        }
        Self { events, ended: BinaryHeap::new(), newest: Floor::default(), acknowledged, began }
    }

    /// The least place of an event that began at `moment`; moments rise from call to call.
    pub(super) fn at(&mut self, moment: Moment) -> Floor {
        while let Some(Reverse((end, place, event))) = self.ended.peek().copied() {
            if end >= moment.order {
                break;
            }
            self.ended.pop();
            self.newest.raise(place, event);
        }
        self.newest
    }

    /// The least place of a state that is at most as old as this moment, for one that may be stale.
    pub(super) fn acknowledged_by(&self, at_ns: u64) -> Floor {
        self.acknowledged.range(..at_ns).next_back().map_or(Floor::default(), |(_, floor)| *floor)
    }

    /// The first commit that cannot be seen by who has ended at this moment: the place of one that began later.
    pub(super) fn first_unseen(&self, ended: Option<Moment>, model: &Model) -> usize {
        let later = ended.and_then(|ended| self.began.range(ended.order.saturating_add(1)..).next());
        later.map_or(model.last_place() + 1, |(_, place)| *place)
    }

    /// Says that a state was shown at a moment: nothing that begins later is before it.
    pub(super) fn showed(&mut self, event: usize, at: Moment, place: usize) {
        self.ended.push(Reverse((at.order, place, event)));
    }

    /// Says which place an event has, if it constrains others.
    pub(super) fn took(&mut self, event: usize, place: Option<usize>) {
        if let (Some(place), Some(end)) = (place, ended(&self.events[event])) {
            self.showed(event, end, place);
        }
    }
}
