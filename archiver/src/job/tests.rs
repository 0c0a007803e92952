use super::*;
use engine::env::sim::{SimClock, SimRandom};

fn jobs() -> (Arc<SimClock>, Jobs) {
    let clock = Arc::new(SimClock::new(1_000));
    (Arc::clone(&clock), Jobs::new(clock, Arc::new(SimRandom::new(7))))
}

#[test]
fn a_job_says_how_far_it_is_and_how_long_it_takes() {
    let (clock, jobs) = jobs();
    let job = jobs.begin(JobKind::Restore, "s3://bucket".to_owned());
    job.phase("tables");
    job.total_bytes(1_000);
    clock.advance(2_000);
    job.done_bytes(200);
    job.done_keys(3);
    let status = job.status();
    assert_eq!(
        (status.phase, status.bytes, status.bytes_total, status.keys),
        ("tables", 200, Some(1_000), 3)
    );
    assert_eq!((status.bytes_per_s, status.eta_s), (100, Some(8)));
    assert_eq!((status.begun_ms, status.ended_ms, status.outcome), (1_000, None, None));
    job.conclude(&Ok(7), |keys| format!("{keys} keys"));
    job.end(Outcome::Cancelled);
    let status = job.status();
    assert_eq!((status.ended_ms, status.eta_s), (Some(3_000), None));
    assert_eq!(status.outcome, Some(Outcome::Done("7 keys".to_owned())), "the first end counts");
}

#[test]
fn a_cancelled_job_stops_where_it_may() {
    let (_, jobs) = jobs();
    let job = jobs.begin(JobKind::Verify, String::new());
    assert!(job.checkpoint().is_ok());
    jobs.get(job.id()).expect("it is known").cancel();
    let stopped = job.checkpoint();
    assert!(matches!(stopped, Err(Error::Cancelled)));
    job.conclude(&stopped, |()| String::new());
    assert_eq!(job.status().outcome, Some(Outcome::Cancelled));
}

#[test]
fn those_that_work_are_never_forgotten() {
    let (_, jobs) = jobs();
    let working = jobs.begin(JobKind::Backup, String::new());
    let mut first_ended = None;
    for _ in 0..=ENDED_MAX {
        let job = jobs.begin(JobKind::Prune, String::new());
        job.end(Outcome::Done(String::new()));
        first_ended.get_or_insert(job.id());
    }
    jobs.begin(JobKind::Merge, String::new());
    assert!(jobs.get(working.id()).is_some());
    assert!(first_ended.is_some_and(|id| jobs.get(id).is_none()));
    assert_eq!(jobs.list().len(), ENDED_MAX + 2);
    let pruned = jobs.tally(JobKind::Prune);
    assert_eq!(
        (pruned.done, pruned.last_done_ms),
        (ENDED_MAX as u64 + 1, Some(1_000)),
        "but they are counted"
    );
    assert_eq!(jobs.tally(JobKind::Backup), Tally { working: 1, ..Tally::default() });
}

#[test]
fn an_id_is_sixteen_digits() {
    assert_eq!("00000000000000ff".parse(), Ok(JobId(255)));
    assert_eq!(JobId(255).to_string(), "00000000000000ff");
    for text in ["", "ff", "+0000000000000ff", "00000000000000fg"] {
        assert!(text.parse::<JobId>().is_err(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_is_kept() {
    let (_, jobs) = jobs();
    let job = jobs.begin(JobKind::Backup, String::new());
    job.set_bytes_per_s_max(Some(1_000));
    let begun = tokio::time::Instant::now();
    // The clock of the job stands still: every byte has to be waited for.
    for _ in 0..3 {
        job.throttle(1_000).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    job.set_bytes_per_s_max(None);
    let begun = tokio::time::Instant::now();
    job.throttle(1 << 40).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
