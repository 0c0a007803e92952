//! What the benchmarks share: servers side by side, clusters, clients of others, the disk's own pace, and figures as pages.

pub mod cluster;
pub mod disk;
pub mod etcd;
pub mod failover;
pub mod page;
pub mod s3;
pub mod servers;
pub mod svg;
pub mod table;
