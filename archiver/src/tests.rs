//! Whole lives of archives on a simulated disk, clock and bucket.

mod damage;
mod life;
mod recover;
mod upkeep;
mod world;
