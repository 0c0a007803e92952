//! End-to-end tests: one binary, a module per behaviour.

#![expect(unreachable_pub, reason = "a test binary exports nothing; `pub` is for its own modules")]

mod support;

mod connect_exchange;
mod connect_limits;
mod connect_read;
mod connect_sum;
mod connect_transport;
mod connect_watch;
mod connect_write;
