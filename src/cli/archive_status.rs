//! What a cluster says about its archives, for people and for `cairn verify`.

use super::UsageError;
use super::columns::{cells, columns};
use super::operate::usage;
use crate::admin::client::Client;
use crate::archive::ArchiveStatus;
use archiver::catalog::rfc3339;
use archiver::verify::Position;
use std::collections::BTreeSet;
use std::time::Duration;

/// What was shipped of each group to the archive at `location`, as the cluster recorded it. Ask before the archive is listed.
///
/// # Errors
///
/// A [`UsageError`] when the cluster cannot be asked, or does not ship there.
pub(super) async fn positions(client: &Client, location: &str) -> anyhow::Result<Vec<Position>> {
    let all: Vec<ArchiveStatus> = client.get("/archive").await.map_err(usage)?;
    let mut positions = Vec::new();
    for status in at(&all, location)? {
        let Some(shipped) = &status.shipped else { continue };
        let malformed = |_| anyhow::anyhow!("the cluster said a versionstamp that is none: {shipped}");
        positions.push(Position {
            group: status.group,
            stamp: shipped.parse().map_err(malformed)?,
            checkpoint: None,
        });
    }
    Ok(positions)
}

/// Of the archives of a cluster those at `location`.
///
/// # Errors
///
/// A [`UsageError`] when there is none.
pub(super) fn at(all: &[ArchiveStatus], location: &str) -> anyhow::Result<Vec<ArchiveStatus>> {
    let place = |text: &str| text.trim_end_matches('/').to_owned();
    let here: Vec<ArchiveStatus> =
        all.iter().filter(|status| place(&status.target) == place(location)).cloned().collect();
    if here.is_empty() {
        let targets: BTreeSet<&str> = all.iter().map(|status| status.target.as_str()).collect();
        let targets: Vec<&str> = targets.into_iter().collect();
        let to = if targets.is_empty() { "nowhere".to_owned() } else { targets.join(", ") };
        let text = format!("the cluster ships to {to}, not to {location}: name that, or give --position");
        return Err(UsageError(text).into());
    }
    Ok(here)
}

/// A line for each group and target.
pub(super) fn text(all: &[ArchiveStatus]) -> String {
    if all.is_empty() {
        return "there is no archive\n".to_owned();
    }
    let mut rows = vec![cells(["group", "target", "shipped", "of", "behind", "ships", "state"])];
    for status in all {
        let behind = match (status.behind_entries, status.behind_ms) {
            (0, _) => "nothing".to_owned(),
            (entries, None) => format!("{entries} entries"),
            (entries, Some(ms)) => {
                format!("{entries} entries, {:.1} s", Duration::from_millis(ms).as_secs_f64())
            }
        };
        let ships = status.ships.map_or_else(|| "leader".to_owned(), |node| format!("node {node}"));
        let at = if status.shipped_ms == 0 { "-".to_owned() } else { rfc3339(status.shipped_ms) };
        rows.push(vec![
            status.group.to_string(),
            status.target.clone(),
            status.shipped.clone().unwrap_or_else(|| "nothing".to_owned()),
            at,
            behind,
            ships,
            state(status),
        ]);
    }
    columns(&rows, "")
}

fn state(status: &ArchiveStatus) -> String {
    match &status.error {
        None => "ok".to_owned(),
        Some(error) if status.ended => format!("ended: {error}"),
        Some(error) => format!("failing: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_and_a_lag_are_shown() {
        let status = ArchiveStatus {
            group: 1,
            target: "s3://b/p".to_owned(),
            node: 1,
            ships: Some(2),
            ships_here: true,
            shipped: Some("00000000000000010002".to_owned()),
            shipped_ms: 0,
            committed: "00000000000000040000".to_owned(),
            behind_entries: 3,
            behind_ms: Some(1_500),
            backlog_bytes: 9,
            checkpoint_ms: None,
            gaps: 0,
            ended: false,
            error: Some("no bucket".to_owned()),
        };
        let shown = text(&[status]);
        for words in ["00000000000000010002", "3 entries, 1.5 s", "node 2", "failing: no bucket", "s3://b/p"]
        {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert_eq!(text(&[]), "there is no archive\n");
    }
}
