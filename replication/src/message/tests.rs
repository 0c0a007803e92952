use super::*;
use crate::RequestId;
use crate::raft::{Payload, Proposed, log_id};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn chained(index: u64) -> Result<LogEntry, Malformed> {
    let payload = Payload::Normal(Proposed(Bytes::from_static(b"p")));
    let entry = LogEntry { id: log_id(2, index), payload, chain: None };
    entry::decode(&Bytes::from(entry::encode(&entry, crate::log::chain::Chain::START).0))
}

fn requests() -> Result<Vec<Request>, Malformed> {
    let vote = Vote::new_committed(2, 1);
    let write = AtomicWrite {
        request: RequestId { node: 1, boot: 2, counter: 3 },
        database: crate::DEFAULT_DATABASE,
        checks: Vec::new(),
        mutations: Vec::new(),
    };
    let mark = engine::Mark { name: b"m".to_vec(), value: b"v".to_vec() };
    let entry = crate::Entry::Progress { time_ms: 1, request: write.request, mark };
    Ok(vec![
        Request::Append(AppendEntriesRequest {
            vote,
            prev_log_id: Some(log_id(1, 4)),
            entries: vec![chained(5)?, chained(6)?],
            leader_commit: None,
        }),
        Request::Vote(VoteRequest::new(vote, None)),
        Request::PreVote(VoteRequest {
            leadership_transfer: true,
            ..VoteRequest::new(vote, Some(log_id(1, 4)))
        }),
        Request::TakeOver(TransferLeaderRequest::new(vote, 3, Some(log_id(1, 4)))),
        Request::ReadIndex,
        Request::Propose(Proposals {
            term: 2,
            node: 1,
            boot: 2,
            floor: 3,
            writes: vec![write],
            entries: vec![entry],
        }),
        Request::Change(Change::Add(NodeId(4), Peer { address: "a:1".to_owned(), region: String::new() })),
        Request::Change(Change::Transfer(NodeId(4))),
        Request::Status,
    ])
}

#[test]
fn requests_survive_their_bytes_and_every_cut_is_refused() -> TestResult {
    for request in requests()? {
        let bytes = request.encode(GroupId(7));
        let (group, read) = Request::decode(&bytes)?;
        assert_eq!(group, GroupId(7));
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
        assert_eq!(read.encode(group), bytes);
        for cut in 0..bytes.len() {
            assert!(Request::decode(&bytes.slice(..cut)).is_err(), "{request:?} cut at {cut}");
        }
    }
    Ok(())
}

#[test]
fn answers_survive_their_bytes_and_every_cut_is_refused() -> TestResult {
    for answer in [
        Answer::Failed("no".to_owned()),
        Answer::Append(AppendEntriesResponse::Success),
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2)))),
        Answer::Append(AppendEntriesResponse::Conflict),
        Answer::Append(AppendEntriesResponse::HigherVote(Vote::new(3, 2))),
        Answer::Voted { vote: Vote::new(3, 2), granted: true, last: Some(log_id(1, 2)) },
        Answer::Done,
        Answer::ReadIndex(9),
        Answer::DiskFull { reason: "full".to_owned(), reserve: 5 },
        Answer::NotTheLeader,
        Answer::Status(Box::new(status::sample())),
    ] {
        let bytes = answer.encode();
        assert_eq!(Answer::decode(&bytes)?, answer);
        for cut in 0..bytes.len() {
            assert!(Answer::decode(&bytes[..cut]).is_err(), "{answer:?} cut at {cut}");
        }
    }
    Ok(())
}

#[test]
fn headers_survive_their_bytes() -> TestResult {
    let snapshot = Header::Snapshot(GroupId(1), Vote::new_committed(3, 2));
    for header in [Header::Append(GroupId(1)), snapshot, Header::Copy(GroupId(1))] {
        assert_eq!(Header::decode(&header.encode())?, header);
    }
    Ok(())
}

#[test]
fn the_format_is_frozen() {
    let vote = Request::Vote(VoteRequest::new(Vote::new(3, 9), Some(log_id(2, 5))));
    let expected = b"\x02\x01\0\0\0\0\0\0\0\x01\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0";
    assert_eq!(vote.encode(GroupId(1)), expected[..]);
}
