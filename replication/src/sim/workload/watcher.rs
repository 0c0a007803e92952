//! One client that watches: some keys at some node, for a while, then others at another.

use super::client::{Client, Watching};
use super::{PATIENCE, Phase, SILENCE, Shared, draw};
use crate::check::Open;
use crate::runtime::sim::SplitMix;
use crate::runtime::{self, watch};
use std::sync::Arc;
use std::time::Duration;

/// How long a watch goes on at least, and how much longer at most, in milliseconds.
const WATCH_MS: u64 = 500;
const WATCH_MORE_MS: u64 = 20_000;
/// How long a watch may talk although nothing is written any more.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// How long to wait after a node that does not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches until the workload drains; then the last watch says all.
pub(super) async fn run<C: Client>(
    number: u64,
    mut random: SplitMix,
    shared: Arc<Shared<C>>,
    phases: watch::Receiver<Phase>,
) {
    loop {
        let nodes = shared.client.nodes();
        let count = u64::try_from(nodes.len()).unwrap_or(1);
        let node = nodes.get(usize::try_from(random.below(count)).unwrap_or(0)).copied().unwrap_or_default();
        let keys = draw::watched(&mut random);
        let until = Duration::from_millis(WATCH_MS + random.below(WATCH_MORE_MS));
        let drains = *phases.borrow() == Phase::Drain;
        let open = shared.recorder.watch(number, node, shared.now_ns(), keys.clone());
        let answer = runtime::timeout(PATIENCE, shared.client.watch(node, keys)).await;
        let Ok(Some(watching)) = answer else {
            if drains {
                return;
            }
            runtime::sleep(PAUSE).await;
            continue;
        };
        if listen(&shared, &open, watching, until, phases.clone()).await || drains {
            return;
        }
    }
}

/// Takes down what a watch says, until it ends or for a while; true when it has said all there was.
async fn listen<C: Client>(
    shared: &Shared<C>,
    open: &Open,
    mut watching: Box<dyn Watching>,
    until: Duration,
    phases: watch::Receiver<Phase>,
) -> bool {
    let begin = runtime::now();
    let mut drain_began = None;
    loop {
        let phase = *phases.borrow();
        if phase == Phase::Work && begin.elapsed() > until {
            return false;
        }
        if phase == Phase::Drain && drain_began.get_or_insert_with(runtime::now).elapsed() > DRAIN_MAX {
            return false;
        }
        let patience = if phase == Phase::Drain { SILENCE } else { PAUSE };
        match runtime::timeout(patience, watching.next()).await {
            Ok(Some(mut message)) => {
                message.at = shared.recorder.moment(shared.now_ns());
                shared.recorder.said(open, message);
            }
            Ok(None) => return false,
            Err(_) if phase == Phase::Drain => {
                shared.recorder.drained(open);
                return true;
            }
            Err(_) => {}
        }
    }
}
