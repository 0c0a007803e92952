//! Small random histories of a database that is right, and what is then broken in them.

use super::*;
use engine::env::sim::SimRandom;

const NAMES: [&str; 2] = ["a", "b"];

/// Where an operation stands between its begin and its end.
enum Stage {
    Begun,
    Took(Action),
}

struct Client {
    open: Option<(Moment, Action, Stage)>,
}

/// A history of a few clients with `operations` events, and the database that it came from.
pub(super) fn history(random: &SimRandom, operations: usize) -> (Vec<Event>, Toy) {
    let (mut toy, mut events, mut order) = (Toy::new(), Vec::new(), 0);
    let mut clients: Vec<Client> = (0..3).map(|_| Client { open: None }).collect();
    let mut begun = 0;
    while begun < operations || clients.iter().any(|client| client.open.is_some()) {
        let number = random.below(clients.len() as u64);
        let client = &mut clients[usize::try_from(number).expect("few")];
        order += 1;
        let now = Moment { order, at_ns: order };
        client.open = match client.open.take() {
            None if begun < operations => {
                begun += 1;
                Some((now, draw(random, &toy, begun as u64), Stage::Begun))
            }
            None => None,
            Some((invoked, action, Stage::Begun)) => {
                let taken = take(random, &mut toy, action.clone(), now);
                Some((invoked, action, Stage::Took(taken)))
            }
            Some((invoked, _, Stage::Took(action))) => {
                events.push(end(random, number, invoked, now, action));
                None
            }
        };
    }
    (events, toy)
}

fn name(random: &SimRandom) -> &'static str {
    NAMES[usize::try_from(random.below(2)).expect("below 2")]
}

fn draw(random: &SimRandom, toy: &Toy, id: u64) -> Action {
    let selections = vec![Selection::key(&key(name(random))), Selection::prefix(&key(""))];
    let empty = Seen { stamp: None, time_ms: None, rows: Vec::new() };
    let read = |level| Action::Read { level, selections, seen: empty };
    match random.below(10) {
        0..=4 => {
            let checked = name(random);
            let newest = toy.rows(&Selection::key(&key(checked)), Versionstamp::MAX, 0);
            let check = Check {
                key: checked.as_bytes().to_vec(),
                stamp: newest.first().map(|row| row.stamp).filter(|_| random.below(4) > 0),
            };
            let checks = if random.below(2) == 0 { vec![check] } else { vec![] };
            let mutations = (0..1 + random.below(2)).map(|_| match random.below(3) {
                0 => delete(name(random)),
                1 => sum(name(random), 1),
                _ => set(name(random), id),
            });
            let write = write(id, checks, mutations.collect());
            Action::Write { id, write, outcome: Written::Unknown }
        }
        5..=6 => read(Level::Strong),
        7 => read(EVENTUAL),
        8 => read(Level::At(toy.applied.stamp)),
        _ => Action::Watch { keys: vec![key(name(random))], messages: Vec::new(), drained: false },
    }
}

/// What happens between begin and end.
fn take(random: &SimRandom, toy: &mut Toy, action: Action, now: Moment) -> Action {
    match action {
        Action::Write { id, write, .. } if random.below(8) > 0 => {
            let outcome = written(&toy.write(0, vec![write.clone()])[0]);
            Action::Write { id, write, outcome }
        }
        Action::Write { id, write, .. } => {
            // Not proposed, and the client is told so or nothing.
            let outcome = if random.below(2) == 0 { Written::Not } else { Written::Unknown };
            Action::Write { id, write, outcome }
        }
        Action::Read { level, selections, .. } => {
            let at = match level {
                Level::Strong => toy.applied.stamp,
                Level::At(stamp) => stamp,
                Level::Eventual { .. } => Versionstamp::last_of(random.below(toy.applied.version + 1)),
            };
            let rows = selections.iter().map(|selection| toy.rows(selection, at, 0)).collect();
            let stamp = (level == Level::Strong && random.below(2) == 0).then_some(at);
            Action::Read { level, selections, seen: Seen { stamp, time_ms: None, rows } }
        }
        Action::Watch { keys, .. } => {
            let message = || {
                let row = toy.rows(&Selection::key(&keys[0]), Versionstamp::MAX, 0).pop();
                Message { at: now, stamp: None, time_ms: None, rows: vec![row] }
            };
            let messages = (0..1 + random.below(2)).map(|_| message()).collect();
            Action::Watch { keys, messages, drained: false }
        }
    }
}

fn end(random: &SimRandom, client: u64, invoked: Moment, now: Moment, action: Action) -> Event {
    let mut event = Event { client, node: 1, invoked, completed: Some(now), action };
    if let Action::Write { outcome: outcome @ Written::Committed(_), .. } = &mut event.action
        && random.below(5) == 0
    {
        *outcome = Written::Unknown;
        event.completed = event.completed.filter(|_| random.below(2) == 0);
    }
    event
}

/// Breaks something, or changes what may as well be so.
pub(super) fn break_one(random: &SimRandom, events: &mut [Event], toy: &Toy, last: &mut Last) {
    let stamps: Vec<_> = last.rows.iter().map(|row| row.stamp).collect();
    let pick = |count: usize| usize::try_from(random.below(count.max(1) as u64)).expect("few");
    match random.below(16) {
        0 if !last.rows.is_empty() => {
            last.rows.remove(pick(last.rows.len()));
        }
        1 if !last.rows.is_empty() => {
            let index = pick(last.rows.len());
            last.rows[index].value[1] ^= 1;
        }
        2 | 3 => move_in_time(random, &mut events[pick(events.len())]),
        4..=9 => look_again(random, &mut events[pick(events.len())], toy),
        _ => break_event(random, &mut events[pick(events.len())], &stamps),
    }
}

/// Begins or ends an event earlier, or begins it later; it still begins before it ends.
fn move_in_time(random: &SimRandom, event: &mut Event) {
    let by = 1 + random.below(12);
    let first = match &event.action {
        Action::Watch { messages, .. } => messages.first().map(|message| message.at),
        _ => event.completed,
    };
    let latest = first.map_or(u64::MAX, |first| first.order - 1);
    match (random.below(3), &mut event.completed) {
        (0, _) => event.invoked.order = event.invoked.order.saturating_sub(by),
        (1, Some(completed)) => {
            completed.order = completed.order.saturating_sub(by).max(event.invoked.order + 1);
        }
        _ => event.invoked.order = (event.invoked.order + by).min(latest),
    }
}

/// Shows a reader the state of any other time.
fn look_again(random: &SimRandom, event: &mut Event, toy: &Toy) {
    let at = || Versionstamp::last_of(random.below(toy.applied.version + 1));
    match &mut event.action {
        Action::Write { .. } => {}
        Action::Read { selections, seen, .. } => {
            let at = at();
            seen.stamp = None;
            seen.rows = selections.iter().map(|selection| toy.rows(selection, at, 0)).collect();
        }
        Action::Watch { keys, messages, .. } => {
            for message in messages {
                message.rows = vec![toy.rows(&Selection::key(&keys[0]), at(), 0).pop()];
            }
        }
    }
}

fn break_event(random: &SimRandom, event: &mut Event, stamps: &[Versionstamp]) {
    let any = usize::try_from(random.below(stamps.len().max(1) as u64)).expect("few");
    let stamp = stamps.get(any).copied().unwrap_or(Versionstamp::ZERO);
    match &mut event.action {
        Action::Write { outcome, write, .. } => match random.below(5) {
            0 => *outcome = Written::Unknown,
            1 => *outcome = Written::Not,
            2 => *outcome = Written::Committed(stamp),
            3 => *outcome = Written::ChecksFailed(vec![0]),
            _ => write.checks = vec![Check { key: b"a".to_vec(), stamp: Some(stamp) }],
        },
        Action::Read { seen, .. } => {
            let rows = &mut seen.rows[0];
            match (random.below(4), rows.first_mut()) {
                (0, Some(row)) => row.value[1] ^= 1,
                (1, Some(row)) => row.stamp = stamp,
                (2, Some(_)) => rows.clear(),
                _ => seen.stamp = Some(stamp),
            }
        }
        Action::Watch { messages, .. } => match random.below(3) {
            0 => messages.reverse(),
            1 => messages.iter_mut().for_each(|message| message.rows[0] = None),
            _ => messages[0].stamp = Some(stamp),
        },
    }
}
