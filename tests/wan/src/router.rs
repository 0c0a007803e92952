//! Takes packets from every site and hands them to others, late or not at all.
//!
//! - One thread per site waits for its packets; one thread delivers what is due.
//! - A packet is lost when its link is cut at the moment it is sent or due, so a cut also takes what is under way.
//! - At most [`QUEUE_PACKETS_MAX`] wait; more are lost, as in any router.

use crate::site::Device;
use parking_lot::{Condvar, Mutex};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Packets that wait at once, at most.
const QUEUE_PACKETS_MAX: usize = 1 << 16;
/// The longest packet, in bytes, whatever the devices' MTU.
const PACKET_BYTES_MAX: usize = 1 << 16;
/// An IPv4 header without options, in bytes.
const HEADER_BYTES: usize = 20;

/// How one direction between two sites behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// How long a packet is under way, at least.
    pub delay: Duration,
    /// How much longer it may be, drawn for each packet.
    pub jitter: Duration,
    /// Packets lost, of a thousand.
    pub loss_permille: u16,
    /// Whether nothing passes.
    pub cut: bool,
}

impl Link {
    /// Half of a round trip, without jitter or loss.
    pub fn half_of(round_trip: Duration) -> Link {
        Link { delay: round_trip / 2, ..Link::default() }
    }
}

/// A packet under way. The first due is the first delivered; of two due together, the first sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    number: u64,
    from: usize,
    to: usize,
    packet: Vec<u8>,
}

#[derive(Debug)]
struct State {
    /// From, then to.
    links: Vec<Vec<Link>>,
    /// When the newest packet of each direction is due, so that none overtakes another.
    newest: Vec<Vec<Option<Instant>>>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sent: u64,
    random: u64,
}

/// The router.
#[derive(Debug)]
pub(crate) struct Router {
    devices: Vec<Arc<Device>>,
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
    delivered: AtomicU64,
}

impl Router {
    pub(crate) fn new(devices: Vec<Arc<Device>>) -> Router {
        let sites = devices.len();
        let state = State {
            links: vec![vec![Link::default(); sites]; sites],
            newest: vec![vec![None; sites]; sites],
            waiting: BinaryHeap::new(),
            sent: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        Router {
            devices,
            state: Mutex::new(state),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
        }
    }

    pub(crate) fn set(&self, from: usize, to: usize, link: Link) {
        self.state.lock().links[from][to] = link;
    }

    pub(crate) fn cut(&self, from: usize, to: usize, cut: bool) {
        self.state.lock().links[from][to].cut = cut;
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Ends the delivering thread; the others end when their device is gone.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _held = self.state.lock();
        self.changed.notify_all();
    }

    /// Takes what leaves a site until the site is gone.
    pub(crate) fn forward(&self, from: usize) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        while let Ok(length) = self.devices[from].receive(&mut buffer) {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let packet = &buffer[..length];
            let Some(to) = destination(packet).filter(|to| *to < self.devices.len()) else { continue };
            if self.state.lock().send(from, to, packet, Instant::now()) {
                self.hand_over(to, packet);
            } else {
                self.changed.notify_one();
            }
        }
    }

    /// Delivers what is due until the router is stopped.
    pub(crate) fn deliver(&self) {
        let mut state = self.state.lock();
        while !self.stopped.load(Ordering::Relaxed) {
            let Some(Reverse(first)) = state.waiting.peek() else {
                self.changed.wait(&mut state);
                continue;
            };
            if first.due > Instant::now() {
                let due = first.due;
                self.changed.wait_until(&mut state, due);
                continue;
            }
            let Some(Reverse(first)) = state.waiting.pop() else { continue };
            if !state.links[first.from][first.to].cut {
                parking_lot::MutexGuard::unlocked(&mut state, || self.hand_over(first.to, &first.packet));
            }
        }
    }

    fn hand_over(&self, to: usize, packet: &[u8]) {
        // A site that takes no packet, such as one whose queue is full, loses it.
        if self.devices[to].send(packet).is_ok() {
            self.delivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl State {
    /// Decides what becomes of a packet; whether it is to be handed over at once.
    fn send(&mut self, from: usize, to: usize, packet: &[u8], now: Instant) -> bool {
        let link = self.links[from][to];
        if link.cut || self.draw(1000) < u64::from(link.loss_permille) {
            return false;
        }
        let jitter_us = u64::try_from(link.jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.draw(jitter_us.saturating_add(1)));
        let due = now + link.delay + jitter;
        let newest = self.newest[from][to];
        // Once one had to wait, the next must not overtake it.
        if due <= now && newest.is_none() {
            return true;
        }
        let due = newest.map_or(due, |newest| newest.max(due));
        if self.waiting.len() >= QUEUE_PACKETS_MAX {
            return false;
        }
        self.newest[from][to] = Some(due);
        self.sent += 1;
        self.waiting.push(Reverse(Waiting { due, number: self.sent, from, to, packet: packet.to_vec() }));
        false
    }

    /// A number below `bound`, which is at least 1 (xorshift).
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

/// The site that an IPv4 packet is for.
fn destination(packet: &[u8]) -> Option<usize> {
    let header = packet.get(..HEADER_BYTES)?;
    (header[0] >> 4 == 4).then(|| usize::from(header[19]).checked_sub(1))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        Router::new(Vec::new()).state.into_inner()
    }

    fn with(link: Link) -> State {
        State { links: vec![vec![link; 2]; 2], newest: vec![vec![None; 2]; 2], ..state() }
    }

    #[test]
    fn the_last_byte_of_the_destination_names_the_site() {
        let mut packet = [0; HEADER_BYTES];
        packet[0] = 0x45;
        packet[19] = 3;
        assert_eq!(destination(&packet), Some(2));
        packet[0] = 0x65;
        assert_eq!(destination(&packet), None, "IPv6");
        assert_eq!(destination(&packet[..19]), None, "too short");
    }

    #[test]
    fn packets_of_one_direction_stay_in_order_under_jitter() {
        let mut state = with(Link { jitter: Duration::from_millis(50), ..Link::default() });
        let now = Instant::now();
        for step in 0..1000 {
            state.send(0, 1, &[0], now + Duration::from_micros(step));
        }
        let mut numbers = Vec::new();
        while let Some(Reverse(waiting)) = state.waiting.pop() {
            numbers.push(waiting.number);
        }
        assert!(numbers.len() > 500 && numbers.is_sorted(), "{} wait", numbers.len());
    }

    #[test]
    fn loss_is_about_as_told_and_a_cut_takes_all() {
        let mut state = with(Link { loss_permille: 100, ..Link::default() });
        let now = Instant::now();
        let passed = (0..10_000).filter(|_| state.send(0, 1, &[0], now)).count();
        assert!((8_800..9_200).contains(&passed), "{passed} of 10000 pass");
        let mut state = with(Link { cut: true, ..Link::default() });
        assert!((0..100).all(|_| !state.send(0, 1, &[0], now)) && state.waiting.is_empty());
    }
}
