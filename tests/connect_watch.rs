//! `watch` over a socket.

use crate::support::client::{Frames, Session};
use crate::support::messages::{delete, set, set_until};
use crate::support::{Server, TestResult, within};
use denokv_proto::datapath as pb;

/// For each key, its value if it is there. A key is never called unchanged: Deno would take it for absent.
fn said(output: &pb::WatchOutput) -> Vec<Option<&[u8]>> {
    assert!(output.keys.iter().all(|key| key.changed), "{output:?}");
    output.keys.iter().map(|key| key.entry_if_changed.as_ref().map(|entry| entry.value.as_slice())).collect()
}

async fn expect(frames: &mut Frames, expected: &[Option<&[u8]>]) -> TestResult {
    let message = frames.message().await?;
    assert_eq!(said(&message), expected);
    Ok(())
}

#[tokio::test]
async fn the_first_frames_are_a_ping_and_how_every_key_stands() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    session.commit(vec![set(b"a", b"1")]).await?;
    let mut frames = session.watch(&[b"a", b"b", b"a"]).await?;
    assert_eq!(frames.frame().await?, Some(Vec::new()));
    expect(&mut frames, &[Some(b"1"), None, Some(b"1")]).await
}

#[tokio::test]
async fn sets_and_deletes_are_told_and_other_keys_are_not() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let mut frames = session.watch(&[b"a", b"b"]).await?;
    expect(&mut frames, &[None, None]).await?;
    session.commit(vec![set(b"other", b"x")]).await?;
    let stamp = session.commit(vec![set(b"a", b"1")]).await?;
    let message = frames.message().await?;
    assert_eq!(said(&message), [Some(&b"1"[..]), None]);
    let told = message.keys[0].entry_if_changed.as_ref().map(|entry| entry.versionstamp.clone());
    assert_eq!(told, Some(stamp));
    session.commit(vec![set(b"b", b"2")]).await?;
    expect(&mut frames, &[Some(b"1"), Some(b"2")]).await?;
    session.commit(vec![delete(b"a")]).await?;
    expect(&mut frames, &[None, Some(b"2")]).await?;
    session.commit(vec![set(b"a", b"3"), set(b"b", b"3")]).await?;
    expect(&mut frames, &[Some(b"3"), Some(b"3")]).await
}

#[tokio::test]
async fn many_changes_may_collapse_and_the_last_one_is_always_told() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let mut frames = session.watch(&[b"k"]).await?;
    for n in 0..=50u8 {
        session.commit(vec![set(b"k", &[n])]).await?;
    }
    let mut last = Vec::new();
    for _ in 0..=52 {
        let message = frames.message().await?;
        let Some(Some(entry)) = message.keys.first().map(|key| key.entry_if_changed.clone()) else {
            continue;
        };
        assert!(entry.value > last, "never back in time");
        last = entry.value;
        if last == [50] {
            return Ok(());
        }
    }
    anyhow::bail!("the last change was not told, only {last:?}")
}

#[tokio::test]
async fn an_expiry_is_told_without_any_write() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let expiry = server.clock.now_ms() + 60_000;
    session.commit(vec![set_until(b"a", b"1", expiry), set(b"b", b"2")]).await?;
    let mut frames = session.watch(&[b"a", b"b"]).await?;
    expect(&mut frames, &[Some(b"1"), Some(b"2")]).await?;
    server.clock.advance(60_000);
    expect(&mut frames, &[None, Some(b"2")]).await
}

#[tokio::test]
async fn a_silent_watch_is_pinged() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let mut frames = session.watch(&[b"k"]).await?;
    assert_eq!(frames.frame().await?, Some(Vec::new()));
    expect(&mut frames, &[None]).await?;
    assert_eq!(frames.frame().await?, Some(Vec::new()), "a second ping");
    Ok(())
}

#[tokio::test]
async fn a_stop_ends_watches_cleanly_and_drains() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    let mut frames = session.watch(&[b"k"]).await?;
    expect(&mut frames, &[None]).await?;
    server.begin_stop();
    assert_eq!(within(frames.frame()).await??, None, "the stream ends without an error");
    drop(frames);
    assert_eq!(server.stop().await?, cairn::server::Drained::Fully);
    Ok(())
}
