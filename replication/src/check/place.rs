//! The earliest place that an event can have.

use super::order::{Floor, Floors};
use super::{Action, Event, Level, Message, Model, Row, Seen, Selection, Violation, Written};
use engine::Versionstamp;

/// The earliest place of an event; `None` when it has none, or none that constrains others.
///
/// # Errors
///
/// When there is none although there must be one.
pub(super) fn of(
    events: &[Event],
    index: usize,
    model: &Model,
    floors: &mut Floors<'_>,
) -> Result<Option<usize>, Violation> {
    let event = &events[index];
    let floor = floors.at(event.invoked);
    let until = floors.first_unseen(event.completed, model);
    let finder = Finder { events, event, model, floor, until };
    match &event.action {
        Action::Write { write, outcome, .. } => match (outcome, model.place_of(index)) {
            (_, Some(place)) => finder.write(place).map(Some),
            (Written::ChecksFailed(failed), None) => finder
                .search("its checks do not fail so", |place| model.fails_at(write, failed, place))
                .map(Some),
            (Written::Refused, None) => {
                finder.search("its mutations can be done", |place| model.refuses_at(write, place)).map(Some)
            }
            (Written::Committed(_) | Written::Not | Written::Unknown, None) => Ok(None),
        },
        Action::Read { level: Level::Strong, selections, seen } => finder.read(selections, seen).map(Some),
        Action::Read { level: Level::At(stamp), selections, seen } => {
            let place = model.place_at(*stamp);
            let exactly = Finder { floor: Floor { place, event: None }, until: place + 1, ..finder };
            exactly.read(selections, &Seen { stamp: Some(*stamp), ..seen.clone() }).map(|_| None)
        }
        Action::Read { level: Level::Eventual { staleness_ns }, selections, seen } => {
            let oldest = staleness_ns.map(|ns| event.invoked.at_ns.saturating_sub(ns));
            let floor = oldest.map_or(Floor::default(), |oldest| floors.acknowledged_by(oldest));
            Finder { floor, ..finder }.read(selections, seen).map(Some)
        }
        Action::Watch { keys, messages, drained } => {
            let shown = finder.watch(keys, messages, *drained, floors)?;
            for (message, place) in messages.iter().zip(shown) {
                floors.showed(index, message.at, place);
            }
            Ok(None)
        }
    }
}

/// Looks for a place between a floor and the first commit that cannot have been seen.
struct Finder<'a> {
    events: &'a [Event],
    event: &'a Event,
    model: &'a Model,
    floor: Floor,
    until: usize,
}

impl Finder<'_> {
    fn write(&self, place: usize) -> Result<usize, Violation> {
        if place > self.floor.place { Ok(place) } else { Err(self.out_of_order(place)) }
    }

    fn out_of_order(&self, place: usize) -> Violation {
        let earlier = self.floor.event.map_or("nobody".to_owned(), |event| self.events[event].to_string());
        Violation::OutOfOrder {
            later: self.event.to_string(),
            stands: format!("at {}", self.model.stamp_at(place)),
            earlier,
            stamp: self.model.stamp_at(self.floor.place),
        }
    }

    fn search(&self, difference: &str, fits: impl Fn(usize) -> bool) -> Result<usize, Violation> {
        (self.floor.place..self.until)
            .find(|place| fits(*place))
            .ok_or_else(|| self.no_such_state(difference))
    }

    fn no_such_state(&self, difference: &str) -> Violation {
        Violation::NoSuchState {
            read: self.event.to_string(),
            from: self.model.stamp_at(self.floor.place),
            until: self.model.stamp_at(self.until),
            difference: difference.to_owned(),
        }
    }

    fn read(&self, selections: &[Selection], seen: &Seen) -> Result<usize, Violation> {
        if selections.len() != seen.rows.len() {
            let what = format!("{} has not one answer for each range", self.event);
            return Err(Violation::Misrecorded { what });
        }
        self.state(seen.stamp, seen.rows.iter().flatten(), |place| {
            let mut pairs = selections.iter().zip(&seen.rows);
            pairs.find_map(|(selection, rows)| self.model.differs(selection, place, seen.time_ms, rows))
        })
    }

    /// The earliest place in question where nothing differs. A stamp leaves one, and rows leave those after them.
    fn state<'r>(
        &self,
        stamp: Option<Versionstamp>,
        rows: impl Iterator<Item = &'r Row>,
        difference: impl Fn(usize) -> Option<String>,
    ) -> Result<usize, Violation> {
        let (from, until) = match stamp.map(|stamp| self.model.place_at(stamp)) {
            Some(place) if place < self.floor.place => return Err(self.out_of_order(place)),
            Some(place) => (place, self.until.min(place + 1)),
            None => {
                let newest = rows.map(|row| self.model.place_at(row.stamp)).max();
                (newest.unwrap_or(0).max(self.floor.place), self.until)
            }
        };
        if from >= until {
            return Err(self.no_such_state("it shows a commit that began only after it had ended"));
        }
        let mut first = None;
        for place in from..until {
            match difference(place) {
                None => return Ok(place),
                Some(difference) => first = first.or(Some(difference)),
            }
        }
        Err(self.no_such_state(&first.unwrap_or_default()))
    }

    /// The place of each message.
    fn watch(
        self,
        keys: &[Vec<u8>],
        messages: &[Message],
        drained: bool,
        floors: &Floors<'_>,
    ) -> Result<Vec<usize>, Violation> {
        let selections: Vec<_> = keys.iter().map(|key| Selection::key(key)).collect();
        let differs = |message: &Message, place: usize, time_ms: Option<u64>| {
            let mut pairs = selections.iter().zip(&message.rows);
            pairs.find_map(|(key, row)| self.model.differs(key, place, time_ms, row.as_slice()))
        };
        let (mut floor, mut shown) = (self.floor, Vec::with_capacity(messages.len()));
        for message in messages {
            if message.rows.len() != keys.len() {
                let what = format!("a message of {} has not one answer for each key", self.event);
                return Err(Violation::Misrecorded { what });
            }
            let until = floors.first_unseen(Some(message.at), self.model);
            let finder = Finder { floor, until, ..self };
            let rows = message.rows.iter().flatten();
            floor.place =
                finder.state(message.stamp, rows, |place| differs(message, place, message.time_ms))?;
            shown.push(floor.place);
        }
        let Some(last) = messages.last().filter(|_| drained) else { return Ok(shown) };
        match differs(last, self.model.last_place(), None) {
            None => Ok(shown),
            Some(difference) => Err(Violation::Skipped {
                watch: self.event.to_string(),
                shown: self.model.stamp_at(floor.place),
                difference,
            }),
        }
    }
}
