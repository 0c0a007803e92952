//! Ships sealed WAL segments and checkpoints to object storage, and restores any commit from there.
pub mod store;
