//! Whether this node ships a group, and, where it leads the group, which node is to.
//!
//! - A group of one node is shipped by that node. In any other one a mark names who ships; until there is one, or when it names
//!   a node that is gone, the leader does.
//! - The leader moves the mark only when who is named has been unhealthy at several looks in a row: right after an election
//!   nobody has answered the new leader yet.

use crate::database::Database;
use archiver::ship::chosen::{self, Candidate};
use replication::{GroupStatus, NodeId, Role};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks in a row at which another node must be the better one before it is named.
const LOOKS_BEFORE_MOVE: u32 = 25;

/// Looks until `stopping` is true, and tells `ships` whether this node ships the group.
pub(super) async fn look(
    database: Database,
    ships: watch::Sender<bool>,
    mut stopping: watch::Receiver<bool>,
) {
    let looks = async {
        let mut other = (None, 0);
        loop {
            let (status, named) = (database.group().status(), named(&database));
            ships.send_replace(is_shipped_here(&status, named));
            if let Some(node) = to_name(&status, named, &mut other) {
                let mark = chosen::as_mark(status.group.0, node);
                match database.record(mark).await {
                    Ok(()) => {
                        tracing::info!(group = %status.group, node, "this node ships to the archive from now on")
                    }
                    Err(error) => tracing::debug!(%error, "cannot name who ships to the archive"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        // Told to stop, or nobody is left to tell.
        _stopped = stopping.wait_for(|stopping| *stopping) => {}
        () = looks => {}
    }
}

/// Whether this node ships a group now.
pub(super) fn ships_now(database: &Database) -> bool {
    is_shipped_here(&database.group().status(), named(database))
}

fn named(database: &Database) -> Option<u64> {
    chosen::read(&database.engine(), database.group().id().0)
}

fn is_shipped_here(status: &GroupStatus, named: Option<u64>) -> bool {
    let members = &status.members;
    match named.filter(|node| members.len() > 1 && members.iter().any(|member| member.node.0 == *node)) {
        Some(node) => status.node == NodeId(node),
        None => status.role == Role::Leader,
    }
}

/// Whom to name now. `other` is who has been better than the one who is named, and at how many looks.
fn to_name(status: &GroupStatus, named: Option<u64>, other: &mut (Option<u64>, u32)) -> Option<u64> {
    if status.role != Role::Leader || status.members.len() < 2 {
        *other = (None, 0);
        return None;
    }
    let candidate = |member: &replication::Member| Candidate {
        node: member.node.0,
        is_voter: member.is_voter,
        is_leader: member.node == status.node,
        lag: member.lag,
        silent_ms: member.silent_ms,
    };
    let candidates: Vec<Candidate> = status.members.iter().map(candidate).collect();
    let better = chosen::choose(named, &candidates).filter(|node| Some(*node) != named);
    let looks = if better.is_some() && better == other.0 { other.1 + 1 } else { 1 };
    *other = (better, looks);
    better.filter(|_| looks >= LOOKS_BEFORE_MOVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ContentHash;
    use replication::{GroupId, Member, Peer};

    fn status(me: u64, role: Role, silent: &[(u64, Option<u64>)]) -> GroupStatus {
        let member = |(node, silent_ms): &(u64, Option<u64>)| Member {
            node: NodeId(*node),
            peer: Peer { address: String::new(), region: String::new() },
            is_voter: true,
            lag: Some(0),
            silent_ms: *silent_ms,
        };
        GroupStatus {
            group: GroupId(1),
            node: NodeId(me),
            role,
            leader: None,
            term: 1,
            last_index: 1,
            committed_index: 1,
            applied_index: 1,
            version: 1,
            hash: ContentHash::EMPTY,
            is_changing: false,
            members: silent.iter().map(member).collect(),
            failed: None,
        }
    }

    #[test]
    fn who_is_named_ships_and_the_leader_when_nobody_is_who_is_there() {
        let three = [(1, Some(0)), (2, Some(0)), (3, Some(0))];
        let leader = |me| status(me, Role::Leader, &three);
        let follower = |me| status(me, Role::Follower, &three);
        assert!(is_shipped_here(&leader(1), None) && !is_shipped_here(&follower(2), None));
        assert!(!is_shipped_here(&leader(1), Some(2)) && is_shipped_here(&follower(2), Some(2)));
        assert!(is_shipped_here(&leader(1), Some(9)) && !is_shipped_here(&follower(2), Some(9)));
        assert!(is_shipped_here(&status(1, Role::Leader, &three[..1]), Some(1)));
        assert!(is_shipped_here(&status(1, Role::Leader, &three[..1]), Some(2)), "alone again");
    }

    #[test]
    fn the_leader_is_patient_and_a_follower_names_nobody() {
        let new_leader = status(1, Role::Leader, &[(1, Some(0)), (2, None), (3, Some(9))]);
        let mut other = (None, 0);
        for _ in 1..LOOKS_BEFORE_MOVE {
            assert_eq!(to_name(&new_leader, Some(2), &mut other), None);
        }
        assert_eq!(to_name(&new_leader, Some(2), &mut other), Some(3));
        let heard = status(1, Role::Leader, &[(1, Some(0)), (2, Some(1)), (3, Some(9))]);
        assert_eq!(to_name(&heard, Some(2), &mut other), None);
        assert_eq!(to_name(&new_leader, Some(2), &mut other), None, "it begins to count anew");
        let follower = status(2, Role::Follower, &[(1, None), (2, None)]);
        other = (Some(1), LOOKS_BEFORE_MOVE);
        assert_eq!(to_name(&follower, None, &mut other), None);
    }
}
