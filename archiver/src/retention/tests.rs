use super::*;
use crate::catalog::window::tests::{Builder, stamp};
use crate::catalog::{Catalog, Content, Table as Listed};
use crate::layout::TableDigest;
use crate::restore::{Point, Wanted, plan};
use proptest::prelude::*;

/// Commits 1 to 20 at 10 to 200 ms, checkpoints at 7 and 15.
fn history() -> Builder {
    let segments = Builder::new(0, 1).segment(0, 0, 5).segment(0, 5, 10).segment(0, 10, 15);
    segments.segment(0, 15, 20).checkpoint(0, 7).checkpoint(0, 15)
}

fn window(window_ms: u64) -> Policy {
    Policy { window_ms, kept: Kept::default(), grace_ms: 0 }
}

fn lasts(removal: &Removal) -> Vec<u64> {
    removal.segments.iter().map(|name| name.last.version()).collect()
}

#[test]
fn what_reaches_the_oldest_kept_point_stays() {
    let history = history().0;
    let removal = choose(&history, 300, &window(200));
    assert_eq!((removal.below, lasts(&removal)), (stamp(7), vec![5]));
    assert!(removal.checkpoints.is_empty());
    let removal = choose(&history, 300, &window(150));
    assert_eq!((removal.below, lasts(&removal)), (stamp(15), vec![5, 10, 15]));
    assert_eq!(removal.checkpoints.len(), 1);
}

#[test]
fn what_was_promised_a_moment_ago_is_still_there() {
    let policy = Policy { grace_ms: 60, ..window(150) };
    let removal = choose(&history().0, 300, &policy);
    assert_eq!((removal.below, lasts(&removal)), (stamp(7), vec![5]), "until 60 ms later");
    assert_eq!(choose(&history().0, 360, &policy).below, stamp(15));
}

#[test]
fn what_a_rule_promised_a_moment_ago_is_still_there() {
    let history = history().checkpoint(0, 5).checkpoint(0, 10).0;
    let policy = Policy { grace_ms: 10, kept: Kept { last: 3, ..Kept::default() }, ..window(1) };
    // A rule that keeps three counts the one at 15 since 150 ms, and let the one at 5 go then.
    let gone = |now_ms| -> Vec<u64> {
        let removal = choose(&history, now_ms, &policy);
        removal.checkpoints.iter().map(|name| name.stamp.version()).collect()
    };
    assert_eq!(gone(155), Vec::<u64>::new());
    assert_eq!(gone(165), [5]);
}

#[test]
fn an_old_checkpoint_that_a_rule_keeps_stays_without_what_leads_to_it() {
    let policy = Policy { kept: Kept { last: 2, ..Kept::default() }, ..window(150) };
    let removal = choose(&history().0, 300, &policy);
    assert_eq!((removal.below, lasts(&removal)), (stamp(15), vec![5, 10, 15]));
    assert!(removal.checkpoints.is_empty());
}

#[test]
fn without_a_checkpoint_before_the_kept_points_nothing_leaves() {
    assert!(choose(&history().0, 300, &window(231)).is_empty());
    assert!(choose(&Builder::new(0, 1).segment(0, 0, 5).0, 1 << 40, &window(1)).is_empty());
}

#[test]
fn the_newest_state_stays_however_old_it_is() {
    let removal = choose(&history().0, 1 << 40, &window(1));
    assert_eq!((removal.below, lasts(&removal)), (stamp(15), vec![5, 10, 15]));
}

#[test]
fn a_damaged_checkpoint_is_nothing_to_rely_on() {
    let removal = choose(&history().unusable(15).0, 1 << 40, &window(1));
    assert_eq!((removal.below, lasts(&removal)), (stamp(7), vec![5]));
}

#[test]
fn a_checkpoint_from_which_nothing_goes_on_is_nothing_to_rely_on() {
    let segments = Builder::new(0, 1).segment(0, 0, 10).segment(0, 10, 20);
    // The one at 10 is of another history under the same lineage.
    let removal = choose(&segments.checkpoint(0, 7).checkpoint(1, 10).0, 1 << 40, &window(1));
    assert_eq!((removal.below, lasts(&removal)), (stamp(7), vec![]));
}

#[test]
fn tables_stay_while_they_are_named_or_young() {
    let mut history = history().0;
    let digest = |n: u8| TableName { digest: TableDigest([n; 32]), sealed: None };
    for (n, modified_ms) in [(1, 0), (2, 0), (3, GRACE_MS)] {
        history.tables.insert(digest(n), Listed { bytes: 1, modified_ms });
    }
    let now = GRACE_MS + 1;
    assert_eq!(
        choose(&history, now, &window(1)).tables,
        [],
        "a checkpoint may be on its way that names them"
    );
    if let Content::Whole(checkpoint) = &mut history.checkpoints[1].content {
        checkpoint.tables.push(Table { digest: digest(1).digest, bytes: 1, sealed: None });
        checkpoint.made_ms = now;
    }
    assert_eq!(choose(&history, now, &window(1)).tables, [digest(2)]);
    history.checkpoints[1].content = Content::Unusable("it cannot be read".to_owned());
    assert_eq!(choose(&history, now, &window(1)).tables, [], "nobody knows what it names");
}

/// Every point that a policy promises now.
fn promised(history: &History, now_ms: u64, policy: &Policy) -> Vec<Versionstamp> {
    let from_ms = now_ms.saturating_sub(policy.window_ms);
    let all = history.windows();
    let commits = (1..200).map(stamp).filter(|at| 10 * at.version() >= from_ms);
    let reached = commits.filter(|at| all.iter().any(|window| window.holds_stamp(*at)));
    reached.chain(points(history, now_ms, policy).iter().map(|name| name.stamp)).collect()
}

fn can_be_restored(history: &History, at: Versionstamp) -> bool {
    let lineages = vec![history.clone()];
    let catalog = Catalog { location: String::new(), group: 1, lineages, foreign: Vec::new() };
    let wanted = Wanted::at(Point::Stamp(at));
    let Ok(plan) = plan(&catalog, &wanted) else { return false };
    let tables = plan.checkpoint.iter().flat_map(|(_, checkpoint)| &checkpoint.tables);
    tables.into_iter().all(|table| history.tables.contains_key(&table.name()))
}

fn remove(history: &mut History, kind: Kind) {
    match kind {
        Kind::Checkpoint(_, name) => history.checkpoints.retain(|entry| entry.name != name),
        Kind::Segment(_, name) => history.segments.retain(|segment| segment.name != name),
        Kind::Table(_, name) => drop(history.tables.remove(&name)),
        Kind::Pruned(_, name) => history.pruned.retain(|known| *known != name),
        Kind::Lineage(_) | Kind::End(..) => {}
    }
}

prop_compose! {
    /// Histories with gaps, overlaps and checkpoints that share tables.
    fn histories()(
        lens in prop::collection::vec((1_u64..8, 0_u64..3, any::<bool>()), 1..25),
        checkpoints in prop::collection::btree_set(1_u64..150, 0..12),
    ) -> History {
        let mut builder = Builder::new(0, 1);
        let mut at = 0;
        for (len, overlap, lost) in lens {
            let base = at - overlap.min(at);
            at += len;
            // Now and then one was not shipped.
            if !lost || len > 2 {
                builder = builder.segment(0, base, at);
            }
        }
        for n in checkpoints.iter().filter(|n| **n <= at) {
            builder = builder.checkpoint(0, *n);
        }
        let mut history = builder.0;
        for entry in &mut history.checkpoints {
            let Content::Whole(checkpoint) = &mut entry.content else { continue };
            let n = u8::try_from(entry.name.stamp.version() / 4).unwrap_or(0);
            for n in n..n + 3 {
                let table = Table { digest: TableDigest([n; 32]), bytes: 1, sealed: None };
                checkpoint.tables.push(table);
                history.tables.insert(table.name(), Listed { bytes: 1, modified_ms: 0 });
            }
        }
        history
    }
}

proptest! {
    #[test]
    fn every_kept_point_can_be_restored_after_each_single_removal(
        mut history in histories(),
        window_ms in 0_u64..1_500,
        grace_ms in 0_u64..300,
        later_ms in 0_u64..2_000,
        kept in (0_u32..4, 0_u32..4),
    ) {
        let kept = Kept { last: kept.0, monthly: kept.1, ..Kept::default() };
        let policy = Policy { window_ms, kept, grace_ms };
        // Tables are old enough to leave.
        let now_ms = 1_000 + later_ms;
        let mut far = history.clone();
        for table in far.tables.values_mut() {
            table.modified_ms = 0;
        }
        for entry in &mut far.checkpoints {
            let Content::Whole(checkpoint) = &mut entry.content else { continue };
            checkpoint.made_ms = now_ms + 2 * GRACE_MS;
        }
        let before = promised(&history, now_ms, &policy);
        let then = promised(&history, now_ms.saturating_sub(grace_ms), &policy);
        let reachable: Vec<Versionstamp> =
            before.into_iter().chain(then).filter(|at| can_be_restored(&history, *at)).collect();
        let mut removal = choose(&far, now_ms, &policy);
        let late = choose(&far, now_ms + 2 * GRACE_MS, &Policy { window_ms: window_ms + 2 * GRACE_MS, ..policy });
        // The same decision on points, once tables are past their grace.
        prop_assert_eq!(&late.segments, &removal.segments);
        if late.checkpoints == removal.checkpoints {
            removal.tables = late.tables;
        }
        for kind in removal.kinds(1) {
            remove(&mut history, kind);
            for at in &reachable {
                prop_assert!(can_be_restored(&history, *at), "{} after removing {:?}", at, kind);
            }
        }
    }
}
