//! What `cairn pitr` prints, for people and for programs. Pure.

use crate::cli::columns::{cells, columns};
use archiver::catalog::window::Window;
use archiver::catalog::{Catalog, CheckpointEntry, Content, History, rfc3339};
use archiver::checkpoint::Before;
use archiver::verify::Report;
use serde_json::{Value, json};
use std::fmt;

/// A size as people read it.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
    out.push('\n');
}

fn stored_bytes(history: &History) -> u64 {
    let segments = history.segments.iter().map(|segment| segment.bytes).sum::<u64>();
    let tables = history.tables.values().map(|table| table.bytes).sum::<u64>();
    segments + tables + history.checkpoints.iter().map(|entry| entry.bytes).sum::<u64>()
}

/// The windows of all groups, and with `checkpoints` all of these.
pub(super) fn all_text(catalogs: &[Catalog], checkpoints: bool) -> String {
    let mut out = String::new();
    for catalog in catalogs {
        if catalogs.len() > 1 {
            line(&mut out, format_args!("group {}", catalog.group));
        }
        out.push_str(&text(catalog, checkpoints));
    }
    if let Some(count) = catalogs.first().map(|catalog| catalog.foreign.len()).filter(|count| *count > 0) {
        line(&mut out, format_args!("{count} objects are not part of the archive"));
    }
    out
}

/// The windows of a group.
fn text(catalog: &Catalog, checkpoints: bool) -> String {
    let mut out = String::new();
    for history in &catalog.lineages {
        let bytes = size(stored_bytes(history));
        line(
            &mut out,
            format_args!("lineage {}  epoch {}  {bytes}", history.folder.id, history.folder.epoch),
        );
        if let Some((parent, stamp)) = history.announcement.and_then(|found| found.lineage.parent) {
            line(&mut out, format_args!("  restored from {parent} at {stamp}"));
        }
        out.push_str(&windows_text(history));
        out.push_str(&end_text(history));
        if checkpoints {
            out.push_str(&checkpoints_text(history));
        }
        for (object, reason) in &history.damaged {
            line(&mut out, format_args!("  damaged: {object}: {reason}"));
        }
        out.push('\n');
    }
    out
}

/// Where it ends, when another lineage goes on from it.
fn end_text(history: &History) -> String {
    let Some(end) = history.end() else { return String::new() };
    let ended = format!("  ended at {} when {} was promoted\n", end.stamp, end.child);
    let beyond = |last| {
        format!("  what it shipped after that, up to {last}, is a fork: name --lineage to restore it\n")
    };
    ended + &history.beyond_its_end().map(beyond).unwrap_or_default()
}

fn windows_text(history: &History) -> String {
    let windows = history.windows();
    if windows.is_empty() {
        return "  nothing can be restored\n".to_owned();
    }
    let mut rows =
        vec![cells(["from versionstamp", "time", "to versionstamp", "time", "segments", "checkpoints"])];
    for (position, window) in windows.iter().enumerate() {
        if let Some(left) = position.checked_sub(1).and_then(|left| windows.get(left)) {
            let why = hole(history, window);
            rows.push(cells([&format!("-- {why} after {}", left.last.stamp)]));
        }
        let inside = checkpoints_in(history, window).count();
        rows.push(vec![
            window.first.stamp.to_string(),
            rfc3339(window.first.time_ms),
            window.last.stamp.to_string(),
            rfc3339(window.last.time_ms),
            window.segments.len().to_string(),
            inside.to_string(),
        ]);
    }
    columns(&rows, "  ")
}

fn checkpoints_in<'a>(history: &'a History, window: &'a Window) -> impl Iterator<Item = &'a CheckpointEntry> {
    history.checkpoints.iter().filter(|entry| window.holds_stamp(entry.name.stamp))
}

/// Why a window does not continue the one before it.
fn hole(history: &History, window: &Window) -> &'static str {
    let start = history.checkpoints.iter().find(|entry| entry.name.stamp == window.first.stamp);
    let gap =
        start.and_then(CheckpointEntry::whole).is_some_and(|found| matches!(found.before, Before::Gap(_)));
    let pruned = history.pruned_below().is_some_and(|below| window.first.stamp <= below);
    match (pruned, gap) {
        (true, _) => "pruned",
        (false, true) => "not shipped",
        (false, false) => "missing",
    }
}

fn checkpoints_text(history: &History) -> String {
    let mut rows = vec![cells(["checkpoint", "time", "tables", "size"])];
    for entry in &history.checkpoints {
        let (stamp, time) = (entry.name.stamp.to_string(), rfc3339(entry.name.time_ms));
        let (tables, bytes) = match &entry.content {
            Content::Whole(found) => {
                let bytes = found.tables.iter().map(|table| table.bytes).sum();
                (found.tables.len().to_string(), size(bytes))
            }
            Content::Sealed(_) => ("encrypted".to_owned(), String::new()),
            Content::Unusable(_) => ("damaged".to_owned(), String::new()),
        };
        rows.push(vec![stamp, time, tables, bytes]);
    }
    if rows.len() == 1 { "  no checkpoint yet\n".to_owned() } else { columns(&rows, "  ") }
}

/// The same as [`all_text`], for programs.
pub(super) fn json(location: &str, catalogs: &[Catalog], checkpoints: bool) -> Value {
    let of_group = |catalog: &Catalog| {
        let group = catalog.group;
        let of = move |history: &History| lineage(group, history, checkpoints);
        catalog.lineages.iter().map(of).collect::<Vec<Value>>()
    };
    json!({
        "location": location,
        "lineages": catalogs.iter().flat_map(of_group).collect::<Vec<Value>>(),
        "foreign_objects": catalogs.first().map_or(0, |catalog| catalog.foreign.len()),
    })
}

fn lineage(group: u64, history: &History, checkpoints: bool) -> Value {
    let parent = history.announcement.and_then(|found| found.lineage.parent);
    let windows: Vec<Value> = history.windows().iter().map(|window| self::window(history, window)).collect();
    let damaged: Vec<Value> = history
        .damaged
        .iter()
        .map(|(object, reason)| json!({ "object": object, "reason": reason }))
        .collect();
    let mut value = json!({
        "group": group,
        "id": history.folder.id.to_string(),
        "epoch": history.folder.epoch,
        "parent": parent.map(|(id, stamp)| json!({ "id": id.to_string(), "versionstamp": stamp.to_string() })),
        "bytes": stored_bytes(history),
        "windows": windows,
        "ended": history.end().map(|end| json!({ "versionstamp": end.stamp.to_string(), "child": end.child.to_string(),
            "fork_until": history.beyond_its_end().map(|last| last.to_string()) })),
        "pruned_below": history.pruned_below().map(|stamp| stamp.to_string()),
        "damaged": damaged,
    });
    if checkpoints {
        value["checkpoints"] = history.checkpoints.iter().map(checkpoint).collect();
    }
    value
}

fn window(history: &History, window: &Window) -> Value {
    json!({
        "first": { "versionstamp": window.first.stamp.to_string(), "time": rfc3339(window.first.time_ms) },
        "last": { "versionstamp": window.last.stamp.to_string(), "time": rfc3339(window.last.time_ms) },
        "segments": window.segments.len(),
        "checkpoints": checkpoints_in(history, window).count(),
    })
}

fn checkpoint(entry: &CheckpointEntry) -> Value {
    let whole = entry.whole();
    json!({
        "versionstamp": entry.name.stamp.to_string(),
        "time": rfc3339(entry.name.time_ms),
        "usable": whole.is_some(),
        "tables": whole.map(|found| found.tables.len()),
        "bytes": whole.map(|found| found.tables.iter().map(|table| table.bytes).sum::<u64>()),
    })
}

/// What a verification found.
pub(in crate::cli) fn report_text(report: &Report) -> String {
    let mut out = String::new();
    for problem in &report.problems {
        line(&mut out, format_args!("{}: {}", problem.object, problem.reason));
    }
    for fork in &report.forks {
        line(
            &mut out,
            format_args!(
                "fork: group {} of lineage {} went on from {} to {}, after {} was promoted there",
                fork.group, fork.lineage, fork.after, fork.last, fork.child
            ),
        );
    }
    for hole in &report.holes {
        let why = if hole.pruned { "pruned" } else { "not shipped" };
        line(
            &mut out,
            format_args!(
                "{why}: commits of group {} after {} and before {}",
                hole.group, hole.after, hole.before
            ),
        );
    }
    if report.sealed > 0 {
        line(&mut out, format_args!("{} checkpoints were not opened: give --identity", report.sealed));
    }
    if report.unnamed_tables > 0 {
        let count = report.unnamed_tables;
        line(&mut out, format_args!("{count} tables are named by no checkpoint, or not yet"));
    }
    let (objects, commits, bytes) = (report.objects, report.commits, size(report.bytes));
    let listed = report.listed;
    line(&mut out, format_args!("{listed} objects, whose names and chains were checked"));
    line(&mut out, format_args!("{objects} of them read to their end: {commits} commits, {bytes}"));
    out
}

/// The same as [`report_text`], for programs.
pub(in crate::cli) fn report_json(report: &Report) -> Value {
    let problems = report.problems.iter().map(|p| json!({ "object": p.object, "reason": p.reason }));
    let forks = report.forks.iter().map(|fork| {
        json!({ "group": fork.group, "lineage": fork.lineage.to_string(), "child": fork.child.to_string(), "after": fork.after.to_string(),
            "last": fork.last.to_string() })
    });
    let holes = report.holes.iter().map(|hole| {
        json!({ "group": hole.group, "after": hole.after.to_string(), "before": hole.before.to_string(), "pruned": hole.pruned })
    });
    json!({
        "listed": report.listed,
        "objects": report.objects,
        "bytes": report.bytes,
        "commits": report.commits,
        "sealed": report.sealed,
        "unnamed_tables": report.unnamed_tables,
        "problems": problems.collect::<Vec<_>>(),
        "forks": forks.collect::<Vec<_>>(),
        "holes": holes.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_wrong_first() {
        let problem =
            archiver::verify::Problem { object: "o".to_owned(), reason: "it is missing".to_owned() };
        let report = Report { objects: 2, problems: vec![problem], ..Report::default() };
        assert!(report_text(&report).starts_with("o: it is missing\n"));
        assert_eq!(report_json(&report)["problems"][0]["object"], "o");
    }
}
