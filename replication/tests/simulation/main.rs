//! Whole clusters, simulated from a seed.
use replication::sim::server::Server;
use replication::sim::trial::Trial;
use std::time::Duration;

#[test]
fn try_it() {
    let dir = tempfile::tempdir().unwrap();
    let env = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    for seed in env("SEED", 0)..env("SEED", 0) + env("SEEDS", 1) {
        let start = std::time::Instant::now();
        let mut trial = Trial::of(seed);
        trial.torment = Duration::from_secs(env("TORMENT", 60));
        let report =
            trial.run(Server::default().with_history_ms(1 << 40), &dir.path().join(seed.to_string()));
        match report {
            Ok(report) => println!(
                "{seed}: {:?} {:?} {:?} in {:?}",
                report.verdict,
                report.noted,
                report.simulated,
                start.elapsed()
            ),
            Err(wrong) => println!("{seed}: WRONG {wrong} in {:?}", start.elapsed()),
        }
    }
}
