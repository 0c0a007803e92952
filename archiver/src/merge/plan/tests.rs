use super::*;
use crate::catalog::Catalog;
use crate::catalog::window::tests::{Builder, stamp};
use crate::restore::{Point, Wanted, plan};
use engine::Versionstamp;
use proptest::prelude::*;

fn rules() -> Rules {
    Rules { age_ms: 0, grace_ms: 100, segments_min: 4, ..Rules::default() }
}

/// The object that joins a run, as it is listed after it was put.
fn joined(run: &[Segment], now_ms: u64) -> Segment {
    let (first, last) = (run[0].name, run[run.len() - 1].name);
    let name = SegmentName { base: first.base, hash_before: first.hash_before, ..last };
    let name = SegmentName { first: first.first, first_ms: first.first_ms, node: 9, ..name };
    Segment { name, bytes: run.iter().map(|segment| segment.bytes).sum(), modified_ms: now_ms }
}

fn add(history: &mut History, segment: Segment) {
    history.segments.push(segment);
    history.segments.sort_unstable_by_key(|segment| (segment.name.base, segment.name));
}

fn versions(run: &[Segment]) -> (u64, u64) {
    (run[0].name.first.version(), run[run.len() - 1].name.last.version())
}

#[test]
fn only_what_follows_exactly_and_is_old_and_of_one_kind_is_joined() {
    let mut builder = Builder::new(0, 1);
    for base in (0..10).chain(11..20) {
        builder = builder.segment(0, base, base + 1);
    }
    let mut history = builder.checkpoint(0, 11).0;
    let all: Vec<_> = runs(&history, 1_000, &rules()).iter().map(|run| versions(run)).collect();
    assert_eq!(all, [(1, 10), (12, 20)], "a gap is not bridged");
    let young = Rules { age_ms: 850, ..rules() };
    let all: Vec<_> = runs(&history, 1_000, &young).iter().map(|run| versions(run)).collect();
    assert_eq!(all, [(1, 10), (12, 15)]);
    history.segments[4].name.sealed = true;
    let all: Vec<_> = runs(&history, 1_000, &rules()).iter().map(|run| versions(run)).collect();
    assert_eq!(all, [(1, 4), (6, 10), (12, 20)]);
    assert_eq!(runs(&history, 1_000, &Rules { sealed: true, ..rules() }), Vec::<Vec<Segment>>::new());
}

#[test]
fn what_is_covered_leaves_after_a_grace_and_a_cover_never_does() {
    let mut history =
        Builder::new(0, 1).segment(0, 0, 2).segment(0, 2, 4).segment(0, 4, 6).segment(0, 5, 7).0;
    let run: Vec<Segment> = history.segments[..3].to_vec();
    add(&mut history, joined(&run, 1_000));
    assert_eq!(covered(&history, 1_099, &rules()), []);
    let due = covered(&history, 1_100, &rules());
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].segments.iter().map(|s| s.name.last.version()).collect::<Vec<_>>(), [2, 4, 6]);
    // Twice the same: one stays.
    let mut twin = joined(&run, 1_000);
    twin.name.node = 8;
    add(&mut history, twin);
    let due = covered(&history, 1_100, &rules());
    assert_eq!((due.len(), due[0].segments.len()), (1, 4));
    assert!(!due[0].segments.contains(&due[0].by));
}

#[test]
fn the_number_of_objects_stays_bounded_and_bytes_are_written_again_a_bounded_number_of_times() {
    let rules = Rules { segments_min: 8, object_bytes_max: 1 << 30, ..rules() };
    let (mut history, mut now_ms, mut written, mut most) = (Builder::new(0, 1).0, 0, 0, 0);
    let shipped = 4_000;
    for base in 0..shipped {
        let segment = Builder::new(0, 1).segment(0, base, base + 1).0.segments[0];
        add(&mut history, Segment { bytes: 20 << 10, modified_ms: now_ms, ..segment });
        now_ms += 10;
        if base % 50 != 0 {
            continue;
        }
        for covered in covered(&history, now_ms, &rules) {
            history.segments.retain(|segment| !covered.segments.contains(segment));
        }
        for run in runs(&history, now_ms, &rules) {
            let object = joined(&run, now_ms);
            written += object.bytes;
            add(&mut history, object);
        }
        most = most.max(history.segments.len());
    }
    assert!(most < 250, "{most} objects of {shipped}");
    let times = written / (shipped * (20 << 10));
    assert!(times < 6, "each byte was written again {times} times");
}

fn reachable(history: &History) -> Vec<Versionstamp> {
    let lineages = vec![history.clone()];
    let catalog = Catalog { location: String::new(), group: 1, lineages, foreign: Vec::new() };
    let holds = |at: &Versionstamp| {
        let wanted = Wanted::at(Point::Stamp(*at));
        plan(&catalog, &wanted).is_ok()
    };
    (1..120).map(stamp).filter(holds).collect()
}

prop_compose! {
    /// Histories with gaps, overlaps, duplicates and forks.
    fn histories()(
        lens in prop::collection::vec((1_u64..4, 0_u64..8, 0_u8..12), 4..40),
        checkpoints in prop::collection::btree_set(1_u64..100, 0..4),
    ) -> History {
        let mut builder = Builder::new(0, 1);
        let mut at = 0;
        for (len, overlap, kind) in lens {
            let base = at - overlap.saturating_sub(5).min(at);
            at += len;
            match kind {
                0 => {}
                1 => builder = builder.segment(0, base, at).segment(1, base, at),
                _ => builder = builder.segment(0, base, at),
            }
        }
        for n in checkpoints.iter().filter(|n| **n <= at) {
            builder = builder.checkpoint(0, *n);
        }
        builder.0
    }
}

proptest! {
    #[test]
    fn every_point_stays_reachable_after_each_step_and_no_plan_loses_a_segment(mut history in histories()) {
        let rules = Rules { segments_min: 2, ..rules() };
        let before = reachable(&history);
        for run in runs(&history, 5_000, &rules) {
            add(&mut history, joined(&run, 5_000));
            prop_assert_eq!(&reachable(&history), &before);
        }
        // What a restore that begins now plans with is still there when the covered ones have left.
        let chains: Vec<SegmentName> = history
            .windows()
            .iter()
            .flat_map(|window| window.segments.iter().map(|position| history.segments[*position].name))
            .collect();
        for covered in covered(&history, 5_100, &rules) {
            for segment in covered.segments {
                // A fork is found when the cover is read, and stays.
                if segment.name.node == 1 {
                    continue;
                }
                prop_assert!(!chains.contains(&segment.name), "{} is in a plan", segment.name);
                history.segments.retain(|other| other.name != segment.name);
                prop_assert_eq!(&reachable(&history), &before);
            }
        }
    }
}
