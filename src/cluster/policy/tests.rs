use super::*;
use crate::cluster::testing::{group, member};

fn row(intent: Intent, node: u64, region: &str) -> (NodeId, NodeRow) {
    let address = format!("10.0.0.{node}:4513");
    let region = region.to_owned();
    (NodeId(node), NodeRow { intent, since_ms: 0, attempt: [0; 16], address, region })
}

fn wanted(nodes: Vec<(NodeId, NodeRow)>) -> Wanted {
    Wanted { nodes, last_id: 9, primary_region: None }
}

fn three() -> (GroupStatus, Wanted) {
    let status = group(1, (1..=3).map(|node| member(node, "eu", true)).collect());
    (status, wanted((1..=3).map(|node| row(Intent::Voter, node, "eu")).collect()))
}

#[test]
fn what_is_as_wanted_is_left_alone() {
    let (status, wanted) = three();
    assert_eq!(next_step(&status, &wanted), None);
    assert_eq!(better_leader(&status, &wanted), None);
}

#[test]
fn a_node_that_joined_gets_its_data_first_and_its_vote_when_it_is_near() {
    let (mut status, mut wanted) = three();
    wanted.nodes.push(row(Intent::Expected, 4, "us"));
    assert_eq!(next_step(&status, &wanted), None, "it has not joined");
    wanted.nodes[3].1.intent = Intent::Voter;
    let place = Place { address: "10.0.0.4:4513".to_owned(), region: "us".to_owned() };
    assert_eq!(next_step(&status, &wanted), Some(Step::AddLearner(NodeId(4), place)));
    status.members.push(member(4, "us", false));
    assert_eq!(next_step(&status, &wanted), Some(Step::Promote(NodeId(4))));
    for (matched_index, heard_ms, last_index) in [
        (None, Some(10), 100),
        (Some(100), None, 100),
        (Some(100), Some(SILENCE_MS_MAX + 1), 100),
        (Some(100), Some(10), 101 + CAUGHT_UP_ENTRIES),
    ] {
        let mut status = GroupStatus { last_index, ..status.clone() };
        status.members[3] = Member { matched_index, heard_ms, ..status.members[3].clone() };
        assert_eq!(next_step(&status, &wanted), None, "{matched_index:?} {heard_ms:?} {last_index}");
    }
    wanted.nodes[3].1.intent = Intent::Learner;
    assert_eq!(next_step(&status, &wanted), None, "a learner stays one");
}

#[test]
fn a_member_that_moved_is_said_to_be_where_it_is() {
    let (status, mut wanted) = three();
    let place =
        |address: &str, region: &str| Place { address: address.to_owned(), region: region.to_owned() };
    wanted.nodes[1].1.address = "10.0.0.7:4513".to_owned();
    assert_eq!(next_step(&status, &wanted), Some(Step::Move(NodeId(2), place("10.0.0.7:4513", "eu"))));
    let (_, mut wanted) = three();
    wanted.nodes[0].1.region = "us".to_owned();
    assert_eq!(next_step(&status, &wanted), Some(Step::Move(NodeId(1), place("10.0.0.1:4513", "us"))));
}

#[test]
fn nothing_is_done_by_a_follower_or_while_a_change_is_half_way() {
    let (status, mut wanted) = three();
    wanted.nodes.push(row(Intent::Voter, 4, "us"));
    assert!(next_step(&status, &wanted).is_some());
    let follower = GroupStatus { leader: Some(2), ..status.clone() };
    assert_eq!(next_step(&follower, &wanted), None);
    let changing = GroupStatus { changing: true, ..status };
    assert_eq!(next_step(&changing, &wanted), None);
}

#[test]
fn a_node_that_leaves_is_taken_out_and_a_leader_hands_over_first() {
    let (status, mut wanted) = three();
    wanted.nodes[2].1.intent = Intent::Leaving;
    assert_eq!(next_step(&status, &wanted), Some(Step::Remove(NodeId(3))));
    wanted.nodes[2].1.intent = Intent::Voter;
    wanted.nodes[0].1.intent = Intent::Leaving;
    assert_eq!(next_step(&status, &wanted), Some(Step::HandOver(NodeId(2))));
    let mut silent = status.clone();
    silent.members[1].heard_ms = None;
    assert_eq!(next_step(&silent, &wanted), Some(Step::HandOver(NodeId(3))), "to one that is there");
    silent.members[2].matched_index = None;
    assert_eq!(next_step(&silent, &wanted), None, "to nobody when nobody can");
}

#[test]
fn a_member_that_was_forgotten_is_taken_out_and_one_that_is_not_known_yet_stays() {
    let (mut status, mut wanted) = three();
    status.members.push(member(8, "eu", false));
    assert_eq!(next_step(&status, &wanted), Some(Step::Remove(NodeId(8))));
    wanted.last_id = 7;
    assert_eq!(next_step(&status, &wanted), None);
}

#[test]
fn leaders_move_to_the_primary_region_when_a_voter_there_is_ready() {
    let (mut status, mut wanted) = three();
    wanted.primary_region = Some("us".to_owned());
    assert_eq!(better_leader(&status, &wanted), None, "nobody stands there");
    wanted.nodes[1].1.region = "us".to_owned();
    wanted.nodes[2].1.region = "us".to_owned();
    assert!(matches!(next_step(&status, &wanted), Some(Step::Move(..))), "the catalog counts");
    assert_eq!(better_leader(&status, &wanted), Some(NodeId(2)));
    status.members[1].matched_index = Some(90);
    assert_eq!(better_leader(&status, &wanted), Some(NodeId(3)), "the one that lacks least");
    status.members[2].heard_ms = None;
    assert_eq!(better_leader(&status, &wanted), Some(NodeId(2)));
    status.members[1].votes = false;
    assert_eq!(better_leader(&status, &wanted), None, "a learner cannot lead");
    status.members[1].votes = true;
    wanted.nodes[1].1.intent = Intent::Leaving;
    assert_eq!(better_leader(&status, &wanted), None, "one that leaves is none to lead");
    wanted.primary_region = Some("eu".to_owned());
    assert_eq!(better_leader(&status, &wanted), None, "this leader stands there");
}

#[test]
fn a_removal_that_takes_the_majority_away_is_refused_unless_forced() {
    let (mut status, _) = three();
    for node in 1..=3 {
        assert_eq!(check_removal(&status, NodeId(node), false), Ok(()), "node {node}");
    }
    status.members[1].heard_ms = None;
    assert_eq!(check_removal(&status, NodeId(2), false), Ok(()), "the one that is gone can go");
    let refused = check_removal(&status, NodeId(3), false).err().unwrap_or_default();
    assert!(refused.contains("2 voters of which 1 answer, and 2 are needed"), "{refused}");
    assert_eq!(check_removal(&status, NodeId(3), true), Ok(()));
    status.members[2].votes = false;
    assert_eq!(check_removal(&status, NodeId(3), false), Ok(()), "a learner holds no majority");
}

#[test]
fn the_last_voter_is_never_removed() {
    let status = group(1, vec![member(1, "eu", true), member(2, "eu", false)]);
    for force in [false, true] {
        let refused = check_removal(&status, NodeId(1), force).err().unwrap_or_default();
        assert!(refused.contains("node 1 is the last one that votes in group 1"), "{refused}");
    }
}

#[test]
fn the_lead_goes_to_a_voter_that_is_there() {
    let (mut status, _) = three();
    assert_eq!(check_transfer(&status, NodeId(1)), Ok(()), "who leads may go on");
    assert_eq!(check_transfer(&status, NodeId(2)), Ok(()));
    assert!(check_transfer(&status, NodeId(9)).is_err_and(|reason| reason.contains("is not in group 1")));
    status.members[1].heard_ms = Some(SILENCE_MS_MAX + 1);
    assert!(check_transfer(&status, NodeId(2)).is_err_and(|reason| reason.contains("does not answer")));
    status.members[2].votes = false;
    assert!(check_transfer(&status, NodeId(3)).is_err_and(|reason| reason.contains("is a learner")));
}
