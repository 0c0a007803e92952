use super::*;
use crate::catalog::window::tests::{Builder, stamp};
use engine::versionstamp::INDEX_BITS;

type TestResult = Result<(), PlanError>;

const EPOCH_1: u64 = 1 << INDEX_BITS;

fn catalog(lineages: Vec<Builder>) -> Catalog {
    let lineages = lineages.into_iter().map(|builder| builder.0).collect();
    Catalog { location: "sim://".to_owned(), group: 1, lineages, foreign: Vec::new() }
}

fn wanted(point: Point) -> Wanted {
    Wanted::at(point)
}

fn at(version: u64) -> Wanted {
    wanted(Point::Stamp(stamp(version)))
}

/// What a plan does, as small numbers: checkpoint, segments as (base, last), number of rivals.
fn shape(plan: &Plan) -> (Option<u64>, Vec<(u64, u64)>, usize) {
    let checkpoint = plan.checkpoint.as_ref().map(|(name, _)| name.stamp.version());
    let span = |s: &Segment| (s.name.base.version(), s.name.last.version());
    (checkpoint, plan.segments.iter().map(span).collect(), plan.rivals.len())
}

fn one() -> Builder {
    Builder::new(0, 1).segment(0, 0, 5).segment(0, 5, 9).checkpoint(0, 7).segment(0, 9, 12)
}

#[test]
fn the_newest_checkpoint_before_the_point_is_the_start() -> TestResult {
    let catalog = catalog(vec![one()]);
    assert_eq!(shape(&plan(&catalog, &at(3))?), (None, vec![(0, 5)], 0));
    assert_eq!(shape(&plan(&catalog, &at(5))?), (None, vec![(0, 5)], 0));
    assert_eq!(shape(&plan(&catalog, &at(6))?), (None, vec![(0, 5), (5, 9)], 0));
    assert_eq!(shape(&plan(&catalog, &at(7))?), (Some(7), vec![], 0));
    assert_eq!(shape(&plan(&catalog, &at(8))?), (Some(7), vec![(5, 9)], 0));
    let latest = plan(&catalog, &wanted(Point::Latest))?;
    assert_eq!(shape(&latest), (Some(7), vec![(5, 9), (9, 12)], 0));
    assert_eq!(latest.until, Until::Stamp(stamp(12)));
    Ok(())
}

#[test]
fn a_time_is_the_last_commit_that_is_not_after_it() -> TestResult {
    let catalog = catalog(vec![one()]);
    let at_ms = |ms| plan(&catalog, &wanted(Point::TimeMs(ms)));
    assert_eq!(shape(&at_ms(55)?), (None, vec![(0, 5)], 0));
    assert_eq!(shape(&at_ms(60)?), (None, vec![(0, 5), (5, 9)], 0));
    assert_eq!(shape(&at_ms(75)?), (Some(7), vec![(5, 9)], 0));
    assert_eq!(shape(&at_ms(120)?), (Some(7), vec![(5, 9), (9, 12)], 0));
    for outside in [9, 121] {
        let said = at_ms(outside).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("1970-01-01T00:00:00.010Z to 1970-01-01T00:00:00.120Z"), "{said}");
        assert!(!said.contains('\n'));
    }
    Ok(())
}

#[test]
fn a_stamp_outside_every_window_is_refused_and_the_windows_are_named() {
    let catalog = catalog(vec![one().segment(0, 20, 30).checkpoint(0, 25)]);
    for outside in [0, 13, 19, 24, 31] {
        let error = plan(&catalog, &at(outside));
        let Err(PlanError::Unreachable { windows, .. }) = error else { panic!("{outside}: {error:?}") };
        for edge in [1, 12, 25, 30] {
            assert!(windows.contains(&stamp(edge).to_string()), "{windows}");
        }
    }
}

#[test]
fn an_archive_without_objects_is_no_archive() {
    let result = plan(&catalog(vec![]), &at(1));
    assert_eq!(result, Err(PlanError::NoArchive { location: "sim://".to_owned() }));
    let result = plan(&catalog(vec![Builder::new(0, 1)]), &wanted(Point::Latest));
    assert!(matches!(result, Err(PlanError::Unreachable { .. })), "{result:?}");
}

#[test]
fn a_damaged_checkpoint_is_an_error_until_it_is_left_out() -> TestResult {
    let catalog = catalog(vec![one().unusable(7)]);
    assert_eq!(shape(&plan(&catalog, &at(6))?), (None, vec![(0, 5), (5, 9)], 0));
    let result = plan(&catalog, &at(10));
    assert!(matches!(result, Err(PlanError::Damaged { stamp: s, .. }) if s == stamp(7)), "{result:?}");
    let without = Wanted { without: vec![stamp(7)], ..at(10) };
    assert_eq!(shape(&plan(&catalog, &without)?), (None, vec![(0, 5), (5, 9), (9, 12)], 0));
    Ok(())
}

#[test]
fn a_lone_damaged_checkpoint_is_named_as_damaged() {
    let catalog = catalog(vec![Builder::new(0, 1).checkpoint(0, 7).segment(0, 7, 9).unusable(7)]);
    for wanted in [at(8), wanted(Point::Latest), wanted(Point::TimeMs(75))] {
        let result = plan(&catalog, &wanted);
        assert!(matches!(result, Err(PlanError::Damaged { .. })), "{result:?}");
    }
}

#[test]
fn segments_that_overlap_are_compared() -> TestResult {
    let with = |builder: Builder| catalog(vec![builder]);
    let duplicate = with(one().segment(0, 5, 8));
    assert_eq!(shape(&plan(&duplicate, &at(6))?), (None, vec![(0, 5), (5, 9)], 1));
    assert_eq!(plan(&duplicate, &at(5))?.rivals.len(), 0, "it starts where the restore ends");
    assert_eq!(plan(&duplicate, &at(12))?.rivals.len(), 1, "it reaches beyond the checkpoint at 7");
    let fork = with(one().segment(3, 9, 11));
    assert_eq!(plan(&fork, &at(12))?.rivals.len(), 1);
    assert_eq!(plan(&fork, &at(9))?.rivals.len(), 0);
    Ok(())
}

fn family() -> Vec<Builder> {
    let mut child = Builder::new(1, 2).child_of(1, 6, 300).checkpoint(0, 6).segment(0, EPOCH_1, EPOCH_1 + 3);
    let name = &mut child.0.segments[0].name;
    (name.base, name.hash_before) = (stamp(6), child.0.checkpoints[0].name.hash);
    (name.first_ms, name.last_ms) = (310, 330);
    vec![one(), child]
}

#[test]
fn a_stamp_of_the_parent_is_restored_from_the_parent() -> TestResult {
    let catalog = catalog(family());
    let from = |plan: &Plan| plan.history.folder.id.0[0];
    let child = Some(LineageId([2; 16]));
    assert_eq!(from(&plan(&catalog, &at(4))?), 1);
    assert_eq!(from(&plan(&catalog, &at(6))?), 1, "the parent holds it, too");
    assert_eq!(from(&plan(&catalog, &Wanted { lineage: child, ..at(4) })?), 1);
    assert_eq!(from(&plan(&catalog, &at(EPOCH_1 + 2))?), 2);
    let result = plan(&catalog, &Wanted { lineage: child, ..at(8) });
    assert!(matches!(result, Err(PlanError::NotInHistory { .. })), "{result:?}");
    assert_eq!(from(&plan(&catalog, &at(8))?), 1, "without a lineage it is the parent's own");
    Ok(())
}

#[test]
fn a_child_alone_holds_the_stamp_at_which_it_left() -> TestResult {
    let child = family().pop().map(|child| catalog(vec![child]));
    let child = child.unwrap_or_else(|| catalog(vec![]));
    assert_eq!(shape(&plan(&child, &at(6))?), (Some(6), vec![], 0));
    assert!(plan(&child, &at(5)).is_err());
    Ok(())
}

#[test]
fn a_point_in_several_lineages_is_refused_until_one_is_named() -> TestResult {
    let catalog = catalog(family());
    let result = plan(&catalog, &wanted(Point::Latest));
    assert!(
        matches!(&result, Err(PlanError::Ambiguous { lineages, .. }) if lineages.contains("0202")),
        "{result:?}"
    );
    let named = Wanted { lineage: Some(LineageId([2; 16])), ..wanted(Point::Latest) };
    assert_eq!(plan(&catalog, &named)?.until, Until::Stamp(stamp(EPOCH_1 + 3)));
    assert_eq!(plan(&catalog, &wanted(Point::TimeMs(100)))?.history.folder.epoch, 0);
    assert_eq!(plan(&catalog, &wanted(Point::TimeMs(320)))?.history.folder.epoch, 1);
    assert!(plan(&catalog, &wanted(Point::TimeMs(200))).is_err(), "nobody was alive at 200");
    let unknown = Wanted { lineage: Some(LineageId([9; 16])), ..at(1) };
    assert!(matches!(plan(&catalog, &unknown), Err(PlanError::UnknownLineage { .. })));
    Ok(())
}
