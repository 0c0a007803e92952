//! Faults at random, from a seed.

use super::Fault;

/// Draws a fault for some requests.
#[derive(Debug, Clone)]
pub struct Chaos {
    state: u64,
    faults: Vec<Fault>,
    per_mille: u64,
}

impl Chaos {
    /// One of `faults` in `per_mille` of a thousand requests; none when there are no faults to draw.
    pub fn new(seed: u64, per_mille: u64, faults: &[Fault]) -> Self {
        Self { state: seed, faults: faults.to_vec(), per_mille }
    }

    /// SplitMix64.
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn draw(&mut self) -> Option<Fault> {
        if self.next() % 1_000 >= self.per_mille {
            return None;
        }
        let choice = self.next().checked_rem(self.faults.len() as u64)?;
        usize::try_from(choice).ok().and_then(|choice| self.faults.get(choice).copied())
    }
}
