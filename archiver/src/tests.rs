//! Whole lives of archives on a simulated disk, clock and bucket.

mod damage;
mod faults;
mod life;
mod targets;
mod upkeep;
mod world;
