//! Stand-in until the command line lands: the load generator alone.
use clap::Parser;
#[derive(Parser)]
enum Cli {
    /// Measure a server
    Bench(cairn::cli::bench::Args),
}
fn main() -> anyhow::Result<()> {
    let Cli::Bench(args) = Cli::parse();
    cairn::cli::bench::run(args)
}
