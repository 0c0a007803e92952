//! The tests' own tools, tried on one node: that the checker of histories would see what it is there to see, and that the
//! load balancer leads around a node that is gone.

use crate::rig::balancer::Balancer;
use crate::rig::load::{Load, more_writes};
use crate::rig::server::Serve;
use crate::rig::{PATIENCE, TOKEN, TestResult, seed, writes};
use cairn::bench::client::{Http, Session};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_one_node_holds_and_one_with_a_lost_or_doubled_write_does_not() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = Serve::on(data.path()).start()?;
    let load = Load::start(vec![server.url.clone()], 4, seed("rig_checks")?).await?;
    more_writes(&load, 500, PATIENCE).await?;
    let history = load.stop().await?;
    let mut client = server.connect().await?;
    let verdict = history.judge(&mut client).await?;
    assert!(
        verdict.committed > 500 && verdict.strong > 50 && verdict.eventual > 20,
        "{verdict:?} {}",
        history.figures
    );
    assert_eq!((history.figures.broken, history.figures.server_errors()), (0, 0), "{}", history.figures);

    let rows = history.rows(&mut client).await?;
    let note = rows.iter().position(|row| row.key.windows(7).any(|part| part == b"journal"));
    let note = note.expect("every write leaves a note");
    let mut lost = rows.clone();
    lost.remove(note);
    assert!(history.judge_rows(lost).is_err(), "an acknowledged write that is not there");
    let mut altered = rows;
    let account = altered.iter_mut().find(|row| row.key.windows(7).any(|part| part == b"account"));
    let value = &mut account.expect("there are accounts").value;
    value[1] ^= 1;
    assert!(history.judge_rows(altered).is_err(), "a value that nobody wrote");
    server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_balancer_leads_around_a_node_that_is_gone() -> TestResult {
    let data = [tempfile::tempdir()?, tempfile::tempdir()?];
    let [one, other] = [Serve::on(data[0].path()).start()?, Serve::on(data[1].path()).start()?];
    let balancer = Balancer::start(vec![one.address().to_owned(), other.address().to_owned()]).await?;
    one.kill()?;
    for number in 0..10 {
        let mut client = Session::open(&balancer.url, TOKEN, Http::One).await?.connect().await?;
        let key = writes::key(&["balanced", &number.to_string()]);
        writes::commit(&mut client, vec![writes::set(&key, b"1")]).await?;
    }
    let mut client = other.connect().await?;
    let found = writes::list(&mut client, &writes::key(&["balanced"]), &[0xff]).await?;
    assert_eq!(found.len(), 10);
    Ok(())
}
