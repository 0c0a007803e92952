use super::*;
use openraft_rt::testing::Suite;

#[test]
fn the_real_side_passes_the_suite_of_openraft() {
    Suite::<Rt>::test_all();
}

#[test]
fn the_simulated_side_passes_the_suite_of_openraft() {
    for seed in 0..20 {
        Suite::<Rt>::test_all_on(&mut Rt::simulated(seed));
    }
}

#[test]
fn a_task_that_is_bound_to_a_value_ends_with_it() {
    for mut rt in [Rt::new(1), Rt::simulated(1)] {
        rt.block_on(async {
            let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
            let task = spawn(async move {
                std::future::pending::<()>().await;
                drop(sender);
            });
            drop(task.abort_on_drop());
            assert!(receiver.await.is_err(), "the task was dropped, and with it the sender");
        });
    }
}

#[test]
fn an_aborted_task_says_so() {
    for mut rt in [Rt::new(1), Rt::simulated(1)] {
        rt.block_on(async {
            let task = spawn(std::future::pending::<()>());
            assert!(!task.is_finished());
            task.abort();
            assert_eq!(task.await, Err(JoinError::Cancelled));
        });
    }
}

#[test]
fn a_panic_of_a_real_task_comes_with_its_words() {
    let ended = Rt::new(1).block_on(async { spawn(async { panic!("no more {}", "acorns") }).await });
    assert_eq!(ended, Err::<(), _>(JoinError::Panicked("no more acorns".to_owned())));
}

#[test]
fn what_blocks_comes_back_with_its_result() {
    for mut rt in [Rt::new(1), Rt::simulated(1)] {
        assert_eq!(rt.block_on(spawn_blocking(|| 7)), Ok(7));
    }
}

#[test]
fn an_instant_goes_to_tokio_and_back() {
    Rt::new(1).block_on(async {
        let far = now() + Duration::from_secs(3600);
        let by_tokio = far.to_tokio() - tokio::time::Instant::now();
        assert!(by_tokio > Duration::from_secs(3590) && by_tokio <= Duration::from_secs(3600));
        assert!(now() - Duration::from_secs(30 * 24 * 3600) < now(), "a month ago can be said");
        assert!((now() + Duration::MAX).to_tokio() > tokio::time::Instant::now());
    });
}
