//! Log entries and the deterministic apply that turns atomic writes into resolved commits.
