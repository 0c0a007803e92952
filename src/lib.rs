//! CairnKV, the parts that its binary and its tests share.

pub mod bench;
pub mod cli;
