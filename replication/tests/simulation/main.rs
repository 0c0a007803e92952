//! Whole clusters, simulated from a seed: real consensus, log and engine on disks, clocks and a network that are not.
//!
//! | variable | |
//! |---|---|
//! | `CAIRN_SIM_SEED` | one seed to be simulated, and nothing else: a failure says which |
//! | `CAIRN_SIM_ARCHIVE` | whether an archive stands beside the cluster of that seed, 0 or 1, instead of what the seed draws |
//! | `CAIRN_SIM_FRESH` | the first of the fresh seeds; `./test` and `./soak` take it from the clock, without it there are none |
//! | `CAIRN_SIM_SECONDS` | how long fresh seeds are tried |
//! | `CAIRN_SIM_BUG` | the one mistake that is made on purpose, by its name, instead of each in turn |
//! | `CAIRN_SIM_BUG_SEEDS` | seeds in which each mistake that is made on purpose must be found, instead of the stated number |
//!
//! Three seeds in four have an archive beside the cluster ([`archive`]).
//!
//! `seeds.txt` has the seeds that have failed once: each run tries them again.

mod archive;
mod bugs;
mod rig;
mod seeds;
