//! Keys, values and the orders in which they are asked for: the same for every engine.

/// A key of every workload, in bytes.
pub const KEY_LEN: usize = 16;

/// A key.
pub type Key = [u8; KEY_LEN];

/// The nth key in rising order.
pub fn rising(n: u64) -> Key {
    let mut key = *b"bench/..........";
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// The nth key of a set whose order has nothing to do with n.
pub fn scattered(n: u64) -> Key {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&mix(n).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// A key that no workload writes.
pub fn absent(n: u64) -> Key {
    scattered(n | 1 << 63)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64-bit numbers.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// Random numbers that are the same in every run.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What values are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Random bytes, which nothing compresses.
    Random,
    /// Text like JSON, which compresses about four times.
    Json,
}

/// Values of one length, cut from a pool of 4 MiB.
pub struct Values {
    pool: Vec<u8>,
    len: usize,
}

impl Values {
    pub fn new(content: Content, len: usize) -> Self {
        const POOL_BYTES: usize = 4 << 20;
        let mut random = Random::new(7);
        let mut pool = Vec::with_capacity(POOL_BYTES);
        while pool.len() < POOL_BYTES {
            match content {
                Content::Random => pool.extend_from_slice(&random.next().to_le_bytes()),
                Content::Json => {
                    let (id, name, on) = (random.below(1 << 24), random.below(5_000), random.below(2) == 1);
                    let text = format!(
                        "{{\"id\":{id},\"name\":\"user {name}\",\"active\":{on},\"tags\":[\"a\",\"b\"]}},"
                    );
                    pool.extend_from_slice(text.as_bytes());
                }
            }
        }
        Self { pool, len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, random: &mut Random) -> &[u8] {
        let at = random.below((self.pool.len() - self.len) as u64) as usize;
        &self.pool[at..at + self.len]
    }
}

/// Numbers below a bound, of which few come often: YCSB's scrambled Zipfian with 0.99 (Gray et al. 1994).
pub struct Zipf {
    items: u64,
    zeta: f64,
    eta: f64,
    alpha: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    pub fn new(items: u64) -> Self {
        let zeta_of = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
        let zeta = zeta_of(items);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_of(2) / zeta);
        Self { items, zeta, eta, alpha: 1.0 / (1.0 - THETA) }
    }

    /// The rank of the next: 0 is the most frequent.
    pub fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        let rank = self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.items - 1)
    }

    /// The next, spread over all numbers.
    pub fn next(&self, random: &mut Random) -> u64 {
        mix(self.rank(random)) % self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_of_a_million_comes_about_once_in_fifteen() {
        let (zipf, mut random) = (Zipf::new(1_000_000), Random::new(1));
        let first = (0..100_000).filter(|_| zipf.rank(&mut random) == 0).count();
        assert!((5_800..7_300).contains(&first), "{first}");
        assert!((0..100_000).all(|_| zipf.next(&mut random) < 1_000_000));
    }

    #[test]
    fn json_compresses_and_random_bytes_are_of_the_length_asked() {
        let mut random = Random::new(3);
        assert_eq!(Values::new(Content::Json, 4096).get(&mut random).len(), 4096);
        assert!(rising(1) < rising(256));
    }
}
