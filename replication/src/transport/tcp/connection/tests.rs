use super::*;
use async_trait::async_trait;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Bytes between two ends, at most.
const PIPE_LEN: usize = 64 << 10;

/// Answers with what it is asked, and keeps streams open until they end.
struct Mirror;

#[async_trait]
impl Service for Mirror {
    async fn answer(&self, _from: NodeId, request: Bytes) -> Bytes {
        request
    }

    async fn stream(&self, _from: NodeId, _header: Bytes, mut duplex: Duplex) {
        while let Some(message) = duplex.receiver.recv().await {
            if duplex.sender.send(message).await.is_err() {
                break;
            }
        }
    }
}

/// Counts what is written to a pipe at once.
struct Counted(tokio::io::WriteHalf<DuplexStream>, Arc<AtomicUsize>);

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn start(pipe: DuplexStream, service: Option<Arc<dyn Service>>) -> Arc<Connection> {
    start_counted(pipe, service, Arc::default())
}

fn start_counted(
    pipe: DuplexStream,
    service: Option<Arc<dyn Service>>,
    writes: Arc<AtomicUsize>,
) -> Arc<Connection> {
    let (source, sink) = tokio::io::split(pipe);
    let sink = Counted(sink, writes);
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
    Connection::start((Box::new(source), Box::new(sink)), NodeId(9), service, slot)
}

fn pair() -> (Arc<Connection>, Arc<Connection>) {
    let (ours, theirs) = tokio::io::duplex(PIPE_LEN);
    (start(ours, None), start(theirs, Some(Arc::new(Mirror))))
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn until_ended(connection: &Connection) -> String {
    until(|| connection.has_ended()).await;
    connection.why()
}

/// An end that says what a test wants.
async fn say(pipe: &mut DuplexStream, kind: Kind, id: u64, payload: &[u8]) -> TestResult {
    pipe.write_all(&frame::header(kind, id, payload)).await?;
    Ok(pipe.write_all(payload).await?)
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_forgotten() -> TestResult {
    let (ours, mut theirs) = tokio::io::duplex(PIPE_LEN);
    let connection = start(ours, None);
    let call = connection.call(Bytes::from_static(b"slow"));
    let late = tokio::time::timeout(Duration::from_millis(5), call).await;
    assert!(late.is_err() && connection.calls.lock().is_empty());
    say(&mut theirs, Kind::Answer, 1, b"too late").await?;
    let call = connection.call(Bytes::from_static(b"next"));
    let (answer, said) = tokio::join!(call, say(&mut theirs, Kind::Answer, 2, b"in time"));
    said?;
    assert_eq!(answer?, "in time");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ended_both_ways_is_forgotten() -> TestResult {
    let (ours, theirs) = pair();
    for first_to_end in ["sender", "receiver", "both"] {
        let mut duplex = ours.open(Bytes::new()).await?;
        duplex.sender.send(Bytes::from_static(b"there and back")).await?;
        assert_eq!(duplex.receiver.recv().await, Some(Bytes::from_static(b"there and back")));
        let Duplex { sender, receiver } = duplex;
        match first_to_end {
            "sender" => drop((sender, receiver)),
            "receiver" => drop((receiver, sender)),
            _ => drop(Duplex { sender, receiver }),
        }
        until(|| ours.streams.len() + theirs.streams.len() == 0).await;
    }
    assert!(!ours.has_ended() && !theirs.has_ended());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn too_many_streams_are_turned_away_alone() -> TestResult {
    let (ours, theirs) = pair();
    let mut open = Vec::new();
    let error = loop {
        match ours.open(Bytes::new()).await {
            Ok(duplex) => open.push(duplex),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("too many streams"), "{error}");
    assert!(!ours.has_ended());
    open.clear();
    until(|| ours.streams.len() + theirs.streams.len() == 0).await;
    ours.open(Bytes::new()).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_breaks_the_rules_is_cut_off() -> TestResult {
    let cases: [(Kind, u64, Vec<u8>, &str); 5] = [
        (Kind::Request, 1, Vec::new(), "a request came from the side that answers"),
        (Kind::Open, 1, Vec::new(), "a request came from the side that answers"),
        (Kind::Credit, 1, vec![0; 3], "a credit is not of 4 bytes"),
        (Kind::Credit, 1, vec![1, 0, 0, 0], "more credit than there is"),
        (Kind::Bye, 0, b"enough".to_vec(), "node 9 ended it: enough"),
    ];
    for (kind, id, payload, words) in cases {
        let (ours, mut theirs) = tokio::io::duplex(PIPE_LEN);
        let connection = start(ours, None);
        let _open = connection.open(Bytes::new()).await?;
        say(&mut theirs, kind, id, &payload).await?;
        let reason = until_ended(&connection).await;
        assert!(reason.contains(words), "{reason}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_sends_past_its_window_is_cut_off() -> TestResult {
    let (ours, mut theirs) = tokio::io::duplex(PIPE_LEN);
    let connection = start(ours, None);
    let _not_read = connection.open(Bytes::new()).await?;
    let message = [0; 16 << 10];
    let mut sent = 0;
    while !connection.has_ended() && sent < 1_000 {
        if say(&mut theirs, Kind::Data, 1, &message).await.is_err() {
            break;
        }
        sent += 1;
    }
    let reason = until_ended(&connection).await;
    assert!(reason.contains("more than it has credit for"), "{reason}");
    assert!((100..200).contains(&sent), "{sent} messages of 16 KiB");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_is_not_opened_again() -> TestResult {
    let (ours, mut theirs) = tokio::io::duplex(PIPE_LEN);
    let connection = start(ours, Some(Arc::new(Mirror)));
    say(&mut theirs, Kind::Open, 5, b"").await?;
    say(&mut theirs, Kind::Open, 5, b"").await?;
    assert!(until_ended(&connection).await.contains("opened a stream twice"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_frame_end_it() -> TestResult {
    let (ours, mut theirs) = tokio::io::duplex(PIPE_LEN);
    let connection = start(ours, None);
    let waiting = connection.call(Bytes::from_static(b"hello?"));
    let (answer, written) = tokio::join!(waiting, theirs.write_all(&[0x55; 64]));
    written?;
    assert!(matches!(answer, Err(TransportError::Broken { .. })), "who waits is told");
    assert!(until_ended(&connection).await.contains("expected"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it_and_an_idle_peer_does_not() -> TestResult {
    let (ours, theirs) = pair();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!ours.has_ended() && !theirs.has_ended(), "both answer when they are asked");
    let (ours, _mute) = tokio::io::duplex(PIPE_LEN);
    let (connection, began) = (start(ours, None), tokio::time::Instant::now());
    assert!(until_ended(&connection).await.contains("silent for 2000 ms"));
    assert!(began.elapsed() <= Duration::from_millis(PROBE_AFTER_MS * 5));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_have_a_bound() -> TestResult {
    let (ours, _mute) = tokio::io::duplex(PIPE_LEN);
    let connection = start(ours, None);
    let mut calls: Vec<_> = (0..=CALLS_MAX).map(|_call| Box::pin(connection.call(Bytes::new()))).collect();
    let mut last = calls.pop().ok_or("a call")?;
    for call in &mut calls {
        assert!(futures::poll!(call.as_mut()).is_pending());
    }
    let turned_away = last.as_mut().await;
    assert!(turned_away.is_err_and(|error| error.is_unseen()), "it was not sent");
    drop(calls);
    assert!(connection.calls.lock().is_empty());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_to_the_other_side() -> TestResult {
    let (ours, theirs) = pair();
    ours.end("the node stops");
    assert_eq!(until_ended(&theirs).await, "node 9 ended it: the node stops");
    let called = ours.call(Bytes::new()).await;
    assert!(called.is_err_and(|error| error.is_unseen()));
    Ok(())
}

// A worker runs what was woken last first, so a writer that did not let others go first would write each frame alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_calls_are_few_writes() -> TestResult {
    let ((ours, theirs), writes) = (tokio::io::duplex(PIPE_LEN), Arc::new(AtomicUsize::new(0)));
    let connection = start_counted(ours, None, writes.clone());
    let _mirror = start_counted(theirs, Some(Arc::new(Mirror)), writes.clone());
    let callers: Vec<_> = (0..64)
        .map(|_caller| {
            let connection = connection.clone();
            tokio::spawn(async move {
                for _call in 0..100 {
                    connection.call(Bytes::from_static(b"short")).await?;
                }
                Ok::<(), TransportError>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    let writes = writes.load(Ordering::Relaxed);
    assert!(writes < 6_400 / 8, "{writes} writes for 6,400 requests and as many answers");
    Ok(())
}
