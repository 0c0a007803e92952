//! One unbroken history: who it is, and where it left its parent.

use crate::Versionstamp;
use std::fmt;

/// The random id of a lineage. Siblings share an epoch; the id tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineageId(pub [u8; 16]);

impl fmt::Display for LineageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LineageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One unbroken history. Every bootstrap and every restore opens a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Random.
    pub id: LineageId,
    /// The upper 20 bits of each of its versions; one above its parent's.
    pub epoch: u32,
    /// The lineage it continues, and the last stamp of it that it holds. `None` after a bootstrap.
    pub parent: Option<(LineageId, Versionstamp)>,
}
