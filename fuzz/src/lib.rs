//! What the fuzz targets share: a state in memory, and entries made from bytes.

pub mod memory;
pub mod shape;
