//! What the benchmarks share: servers side by side, the disk's own pace, and tables of figures.

pub mod disk;
pub mod servers;
pub mod table;
