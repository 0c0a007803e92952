//! Shipping to stores that fail in every way that stores were seen to fail: the archive is complete in the end, or
//! says that it is not. It never gives back something else.

use super::world::{State, TestResult, World};
use crate::Error;
use crate::restore::Point;
use crate::store::sim::{Chaos, Fault};

const SEEDS: u64 = 6;
const ROUNDS: u64 = 30;
const PER_MILLE: u64 = 300;

/// Commits and ships with faults, power cuts and restarts in between; then ships the rest without faults.
async fn live(seed: u64, faults: &[Fault]) -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::new(seed)?;
    let chaos = Chaos::new(seed, PER_MILLE, faults);
    world.store.set_chaos(Some(chaos));
    for _ in 0..ROUNDS {
        world.commit(1 + seed % 3)?;
        world.clock.advance(world.random.below(world.settings.checkpoint_interval_ms / 3));
        if let Err(error) = world.ship().await {
            assert!(matches!(error, Error::Store(_)), "seed {seed}: {error}");
        }
        match world.random.below(8) {
            0 => {
                let cut = world.random.next_u64();
                world.power_cut(cut)?;
            }
            1 => world.reopen()?,
            _ => {}
        }
    }
    world.store.set_chaos(None);
    world.commit(1)?;
    world.ship().await?;
    Ok(world)
}

/// Whether a state comes back as it was; an error must be about the archive.
async fn comes_back(world: &mut World, state: &State) -> Result<bool, Box<dyn std::error::Error>> {
    match world.restore(Point::Stamp(state.stamp)).await {
        Ok((dir, restored)) => {
            world.check(&dir, &restored, state)?;
            Ok(true)
        }
        Err(Error::Plan(_) | Error::Missing { .. } | Error::Damaged { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn requests_that_time_out_are_refused_or_arrive_late_cost_no_commit() -> TestResult {
    let faults = [Fault::Unreachable, Fault::AnswerLost, Fault::Refused, Fault::Late];
    for seed in 0..SEEDS {
        let mut world = live(seed, &faults).await?;
        for state in world.states.clone() {
            assert!(comes_back(&mut world, &state).await?, "seed {seed}: {}", state.stamp);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_cut_off_or_never_written_is_missed_and_never_made_up() -> TestResult {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = live(seed, &[Fault::Cut, Fault::Lied, Fault::AnswerLost]).await?;
        for state in world.states.clone() {
            if comes_back(&mut world, &state).await? {
                kept += 1;
            } else {
                lost += 1;
            }
        }
    }
    assert!(lost > 0 && kept > 0, "{lost} states were lost and said so, {kept} came back: this store lies");
    Ok(())
}

#[tokio::test]
async fn a_store_that_lies_once_loses_that_object_and_says_so() -> TestResult {
    let mut world = World::new(40)?;
    world.commit(2)?;
    world.ship().await?;
    world.commit(2)?;
    world.store.fail_next(Fault::Lied, 1);
    world.ship().await?;
    world.commit(2)?;
    world.ship().await?;
    let states = world.states.clone();
    let mut back = Vec::new();
    for state in &states {
        back.push(comes_back(&mut world, state).await?);
    }
    assert_eq!(back, [true, true, false, false, false, false], "nothing reaches over what is not there");
    // The next checkpoint heals what comes after it.
    world.clock.advance(world.settings.checkpoint_interval_ms);
    world.commit(1)?;
    world.ship().await?;
    let last = world.last()?.clone();
    assert!(comes_back(&mut world, &last).await?);
    Ok(())
}

#[tokio::test]
async fn listings_that_lag_or_repeat_hide_the_newest_commits_and_change_none() -> TestResult {
    let mut world = World::new(41)?;
    for _ in 0..10 {
        world.clock.advance(1_000);
        world.commit(2)?;
        world.ship().await?;
    }
    world.store.set_listings(4_500, true);
    let states = world.states.clone();
    let mut back = Vec::new();
    for state in &states {
        back.push(comes_back(&mut world, state).await?);
    }
    assert!(back.is_sorted_by(|a, b| a >= b), "a prefix of history: {back:?}");
    assert!(back[0] && !back[states.len() - 1], "the newest are not seen yet: {back:?}");
    world.clock.advance(10_000);
    world.store.set_now_ms(world.env.clock.now_ms());
    for state in &states {
        assert!(comes_back(&mut world, state).await?, "{}", state.stamp);
    }
    Ok(())
}
