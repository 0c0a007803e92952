//! End-to-end tests: one test binary, a module per behaviour. Those called `connect_*` talk to a server in
//! this process whose clock they move; the others run the real binary.

#![expect(unreachable_pub, reason = "a test binary exports nothing; `pub` is for its own modules")]

mod rig;
mod support;

mod archive_trouble;
mod bad_input;
mod cluster_archive;
mod cluster_bad_input;
mod cluster_databases;

mod cluster_disk;
mod cluster_faults;
mod cluster_grow;
mod cluster_kill;
mod cluster_recovery;
mod cluster_rolling;

mod connect_exchange;
mod connect_limits;
mod connect_read;
mod connect_sum;
mod connect_transport;
mod connect_watch;
mod connect_write;
mod deno;
mod deploy;
mod import;
mod kill;
mod lifecycle;
mod put_only;
mod real_stores;
mod recovery;
mod recovery_default;
mod recovery_live;
mod recovery_standby;
mod rig_checks;
mod tls;
