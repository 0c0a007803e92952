//! The engine from outside: what it promises, on a simulated disk and on the real one.

mod bad_input;
mod budget;
mod churn;
mod crash;
mod erasure;
mod examples;
mod flips;
mod history;
mod model;
mod open;
mod readers;
mod release;
mod retention;
mod scrub;
mod support;

/// Tests fail with whatever went wrong.
type TestResult = Result<(), Box<dyn std::error::Error>>;
