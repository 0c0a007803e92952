//! The engine from outside: what it promises, on a simulated disk and on the real one.

mod crash;
mod erasure;
mod history;
mod model;
mod open;
mod support;

/// Tests fail with whatever went wrong.
type TestResult = Result<(), Box<dyn std::error::Error>>;
