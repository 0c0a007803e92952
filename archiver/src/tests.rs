//! Whole lives of archives on a simulated disk, clock and bucket.

mod damage;
mod exhaustive;
mod faults;
mod life;
mod recover;
mod standby;
mod targets;
mod upkeep;
mod world;
