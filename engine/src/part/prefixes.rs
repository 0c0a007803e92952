//! The beginnings of the keys that are wanted.

/// Some beginnings of keys, none of which begins with another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefixes {
    sorted: Vec<Vec<u8>>,
}

impl Prefixes {
    /// Of these.
    pub(crate) fn new(prefixes: &[Vec<u8>]) -> Self {
        let mut sorted = prefixes.to_vec();
        sorted.sort_unstable();
        // What begins with another one comes after it, and after nothing else but such.
        sorted.dedup_by(|longer, shorter| longer.starts_with(shorter));
        Self { sorted }
    }

    /// Whether `key` begins with one of them.
    pub(crate) fn hold(&self, key: &[u8]) -> bool {
        let at = self.sorted.partition_point(|prefix| &prefix[..] <= key);
        at > 0 && key.starts_with(&self.sorted[at - 1])
    }

    /// Whether a key from `first` to `last`, both inclusive, may begin with one of them.
    pub(crate) fn may_hold(&self, first: &[u8], last: &[u8]) -> bool {
        let at = self.sorted.partition_point(|prefix| &prefix[..] <= first);
        self.hold(first) || self.sorted.get(at).is_some_and(|prefix| &prefix[..] <= last)
    }

    /// Whether a key that begins with `other` may begin with one of them.
    pub(crate) fn meet(&self, other: &[u8]) -> bool {
        let at = self.sorted.partition_point(|prefix| &prefix[..] < other);
        self.hold(other) || self.sorted.get(at).is_some_and(|prefix| prefix.starts_with(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xff]), len)
    }

    proptest! {
        #[test]
        fn they_say_what_looking_at_each_of_them_says(
            prefixes in prop::collection::vec(words(0..4), 0..4),
            keys in prop::collection::vec(words(1..5), 2),
        ) {
            let all = Prefixes::new(&prefixes);
            let (first, last) = (keys.iter().min().unwrap(), keys.iter().max().unwrap());
            let holds = |key: &[u8]| prefixes.iter().any(|prefix| key.starts_with(prefix));
            prop_assert_eq!(all.hold(first), holds(first));
            let between = prefixes.iter().any(|prefix| {
                first.starts_with(prefix) || (first < prefix && prefix <= last)
            });
            prop_assert_eq!(all.may_hold(first, last), between);
            let meets = prefixes.iter().any(|prefix| prefix.starts_with(first) || first.starts_with(prefix));
            prop_assert_eq!(all.meet(first), meets);
        }
    }
}
