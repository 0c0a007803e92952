//! Whole lives of archives on a simulated disk, clock and bucket.

mod crashes;
mod damage;
mod exhaustive;
mod faults;
mod life;
mod merging;
mod pace;
mod parts;
mod recover;
mod standby;
mod targets;
mod upkeep;
mod world;
