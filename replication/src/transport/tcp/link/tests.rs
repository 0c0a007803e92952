use super::*;
use crate::NodeId;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const GONE: TransportError = TransportError::NoAddress(NodeId(2));
const SLOW_MS: u64 = 100;

/// A node that can be dialled, or not.
struct Far {
    link: Arc<Link>,
    dials: Arc<AtomicUsize>,
    /// The other ends, so that connections stay open.
    ends: Arc<Mutex<Vec<DuplexStream>>>,
}

impl Far {
    fn new() -> Far {
        Far { link: Arc::default(), dials: Arc::default(), ends: Arc::default() }
    }

    fn refusal() -> TransportError {
        TransportError::Unreachable { node: NodeId(2), reason: "nobody is there".to_owned() }
    }

    /// Needs the connection; a dial takes its time, and succeeds or not.
    async fn need(&self, is_there: bool) -> Dialled {
        let (dials, ends) = (self.dials.clone(), self.ends.clone());
        let dial = move || async move {
            dials.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(SLOW_MS)).await;
            if !is_there {
                return Err(Far::refusal());
            }
            let (near, far) = tokio::io::duplex(1_024);
            ends.lock().push(far);
            let (source, sink) = tokio::io::split(near);
            let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
            Ok(Connection::start((Box::new(source), Box::new(sink)), NodeId(2), None, slot))
        };
        self.link.connection(GONE, dial).await
    }

    fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn callers_share_one_dial_and_its_connection() -> TestResult {
    let far = Far::new();
    let all = futures::future::join_all((0..10).map(|_caller| far.need(true))).await;
    let first = far.need(true).await?;
    for connection in all {
        assert!(Arc::ptr_eq(&connection?, &first));
    }
    assert_eq!(far.dials(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dial_goes_on_when_its_callers_have_given_up() -> TestResult {
    let far = Far::new();
    let impatient = tokio::time::timeout(Duration::from_millis(SLOW_MS / 2), far.need(true)).await;
    assert!(impatient.is_err());
    pass(SLOW_MS).await;
    far.need(true).await?;
    assert_eq!(far.dials(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_is_made_again() -> TestResult {
    let far = Far::new();
    far.need(true).await?.end("enough");
    assert!(!far.need(true).await?.has_ended());
    assert_eq!(far.dials(), 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_callers_are_told_at_once_and_dial_again_after_a_pause_that_grows() {
    let far = Far::new();
    for (failures, pause_ms) in (1..).zip([10, 20, 40, 80, 160, 250, 250]) {
        assert_eq!(far.need(false).await.map(drop), Err(Far::refusal()));
        assert_eq!(far.dials(), failures);
        pass(pause_ms - 1).await;
        assert_eq!(far.need(false).await.map(drop), Err(Far::refusal()), "at once");
        assert_eq!(far.dials(), failures, "the pause is not over");
        pass(2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_ends_the_pause() -> TestResult {
    let far = Far::new();
    for _failure in 0..9 {
        assert!(far.need(false).await.is_err());
        far.link.wake();
    }
    assert_eq!(far.dials(), 9);
    far.need(true).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_stays_so_also_when_a_dial_succeeds() -> TestResult {
    let far = Far::new();
    let open = far.need(true).await?;
    far.link.forget("removed");
    assert!(open.has_ended());
    assert_eq!(far.need(true).await.map(drop), Err(GONE));

    let far = Far::new();
    let (dialled, ()) = futures::join!(far.need(true), async {
        pass(SLOW_MS / 2).await;
        far.link.forget("removed");
    });
    assert_eq!(dialled.map(drop), Err(GONE));
    pass(SLOW_MS).await;
    assert_eq!(far.dials(), 1);
    let mut end = far.ends.lock().pop().ok_or("it was dialled")?;
    let mut said = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut end, &mut said).await?;
    let words = b"it is not needed any more";
    assert!(said.windows(words.len()).any(|part| part == words), "the other side is told that it is over");
    Ok(())
}
