//! Medians, tables and goals.

use crate::workload::Figures;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The figures of one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    pub engine: String,
    pub workload: String,
    pub figures: Vec<Figures>,
}

/// Everything that was measured together.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub rounds: usize,
    pub seconds: u64,
    /// An append with fdatasync before and after, in microseconds.
    pub fsync_us: Vec<f64>,
    pub machine: String,
    pub runs: Vec<Run>,
}

/// The medians of one phase on one engine.
#[derive(Debug, Clone, Copy)]
pub struct Medians {
    pub per_second: f64,
    pub cpu_us: f64,
    pub p99_ms: Option<f64>,
    pub worst_ms: Option<f64>,
    pub memory_mb: f64,
    /// Bytes sent to the disk per byte of user data written.
    pub amplification: Option<f64>,
    /// Bytes on disk per byte of live user data.
    pub space: Option<f64>,
}

/// Rows in the order measured: a workload and a phase, the medians of each engine, and of how many rounds.
pub type Rows = Vec<(String, BTreeMap<String, Medians>, usize)>;

impl Measured {
    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec(self)?)?)
    }

    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// The rounds of all parts together: each part has some of the workloads.
    pub fn join(parts: Vec<Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let mut all = parts.next().context("at least one file of figures")?;
        for part in parts {
            let same = (&part.machine, part.seconds) == (&all.machine, all.seconds);
            anyhow::ensure!(
                same,
                "figures of {} for {} s are not those of one run",
                part.machine,
                part.seconds
            );
            all.fsync_us.extend(part.fsync_us);
            all.runs.extend(part.runs);
        }
        all.rounds = all.medians().iter().map(|(.., rounds)| *rounds).max().unwrap_or(0);
        Ok(all)
    }

    /// The medians of all rounds.
    pub fn medians(&self) -> Rows {
        let mut names: Vec<(String, &str, &str)> = Vec::new();
        for run in &self.runs {
            for figures in &run.figures {
                let name = format!("{} {}", run.workload, figures.phase);
                if names.iter().all(|(known, ..)| *known != name) {
                    names.push((name, &run.workload, &figures.phase));
                }
            }
        }
        let row = |(name, workload, phase): (String, &str, &str)| {
            let of = |engine: &&str| {
                let runs = self.runs.iter().filter(|run| run.engine == **engine && run.workload == workload);
                let all: Vec<&Figures> = runs
                    .flat_map(|run| run.figures.iter().filter(|figures| figures.phase == phase))
                    .collect();
                (!all.is_empty()).then(|| ((**engine).to_owned(), medians_of(&all)))
            };
            let ours = self.runs.iter().filter(|run| run.engine == ENGINES[0] && run.workload == workload);
            (name, ENGINES.iter().filter_map(of).collect(), ours.count())
        };
        names.into_iter().map(row).collect()
    }
}

/// Every engine there can be in a file of figures, ours first.
pub const ENGINES: &[&str] = &["cairn", "fjall", "rocksdb", "redb", "lmdb"];

fn medians_of(all: &[&Figures]) -> Medians {
    let some = |of: fn(&Figures) -> Option<f64>| {
        let figures: Vec<f64> = all.iter().filter_map(|figures| of(figures)).collect();
        (!figures.is_empty()).then(|| median(figures))
    };
    let always = |of: fn(&Figures) -> f64| median(all.iter().map(|figures| of(figures)).collect());
    Medians {
        per_second: always(Figures::per_second),
        cpu_us: always(Figures::cpu_us),
        p99_ms: some(|figures| figures.p99_ms),
        worst_ms: some(|figures| figures.worst_ms),
        memory_mb: always(|figures| figures.memory_peak as f64 / 1e6),
        amplification: some(|figures| Some(figures.written? as f64 / figures.user? as f64)),
        space: some(|figures| Some(figures.disk? as f64 / figures.live? as f64)),
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

/// The section of the page.
pub fn markdown(measured: &Measured) -> String {
    let rows = measured.medians();
    let mut out = String::new();
    let Measured { rounds, seconds, fsync_us, machine, .. } = measured;
    let fsync: Vec<String> = fsync_us.iter().map(|us| format!("{us:.0}")).collect();
    let _infallible = writeln!(
        out,
        "Medians of {rounds} rounds, the engines in turn, each run in a process and a directory of its own; a phase ends \
         after {seconds} s at the latest.\n\nMachine: {machine}. fsync mode: an append of 512 bytes with fdatasync took \
         {} µs (before the first round and after each; medians of 300).\n",
        fsync.join(", ")
    );
    out.push_str("![Throughput and processor time against cairn](benchmarks-engine.svg)\n");
    table(&mut out, "Operations per second", &rows, Better::Higher, |figures| Some(figures.per_second));
    table(&mut out, "Processor time per operation, µs", &rows, Better::Lower, |figures| {
        Some(figures.cpu_us)
    });
    table(&mut out, "Worst operation, ms", &rows, Better::Lower, |figures| figures.worst_ms);
    table(&mut out, "99th percentile, ms", &rows, Better::Lower, |figures| figures.p99_ms);
    table(&mut out, "Bytes sent to the disk per byte written", &rows, Better::Lower, |figures| {
        figures.amplification
    });
    table(&mut out, "Bytes on disk, once settled, per byte of live data", &rows, Better::Lower, |figures| {
        figures.space
    });
    table(&mut out, "Peak resident memory, MB", &rows, Better::Lower, |figures| Some(figures.memory_mb));
    goals(&mut out, &rows);
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
}

fn table(out: &mut String, title: &str, rows: &Rows, better: Better, of: fn(&Medians) -> Option<f64>) {
    let shown: Vec<_> =
        rows.iter().filter(|(_, engines, _)| engines.values().any(|figures| of(figures).is_some())).collect();
    if shown.is_empty() {
        return;
    }
    out.push_str(&format!(
        "\n### {title}\n\n| workload | {} | against the better LSM | against the best |\n",
        ENGINES.join(" | ")
    ));
    out.push_str(&format!("|---|{}---:|---:|\n", "---:|".repeat(ENGINES.len())));
    let most = rows.iter().map(|(.., rounds)| *rounds).max().unwrap_or(0);
    for (name, engines, rounds) in shown {
        let fewer = if *rounds < most { format!(" (rounds: {rounds})") } else { String::new() };
        let figure = |engine: &str| engines.get(engine).and_then(of);
        let cells: Vec<String> =
            ENGINES.iter().map(|engine| figure(engine).map_or("-".to_owned(), number)).collect();
        let against =
            |others: &[&str]| ratio(figure("cairn"), others.iter().filter_map(|other| figure(other)), better);
        out.push_str(&format!(
            "| {name}{fewer} | {} | {} | {} |\n",
            cells.join(" | "),
            against(&ENGINES[1..3]),
            against(&ENGINES[1..])
        ));
    }
}

/// How many times as good as the best of the others.
fn ratio(ours: Option<f64>, others: impl Iterator<Item = f64>, better: Better) -> String {
    let best = match better {
        Better::Higher => others.max_by(f64::total_cmp),
        Better::Lower => others.min_by(f64::total_cmp),
    };
    match (ours, best, better) {
        (Some(ours), Some(best), Better::Higher) => format!("{:.2}x", ours / best),
        (Some(ours), Some(best), Better::Lower) => format!("{:.2}x", best / ours),
        _ => "-".to_owned(),
    }
}

fn number(figure: f64) -> String {
    match figure {
        _ if figure >= 1000.0 => format!("{figure:.0}"),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// One goal: what it says, the figure, and whether it is reached.
struct Goal {
    says: &'static str,
    figure: Option<f64>,
    bound: f64,
    better: Better,
}

fn goals(out: &mut String, rows: &Rows) {
    out.push_str("\n### Goals\n\n| goal | bound | cairn | reached |\n|---|---:|---:|---|\n");
    for goal in list_goals(rows) {
        let Some(figure) = goal.figure else { continue };
        let (sign, reached) = match goal.better {
            Better::Higher => ("at least", figure >= goal.bound),
            Better::Lower => ("at most", figure <= goal.bound),
        };
        let reached = if reached { "yes" } else { "no" };
        out.push_str(&format!(
            "| {} | {sign} {} | {} | {reached} |\n",
            goal.says,
            number(goal.bound),
            number(figure)
        ));
    }
}

fn list_goals(rows: &Rows) -> Vec<Goal> {
    let ours = |row: &str, of: fn(&Medians) -> Option<f64>| {
        rows.iter()
            .find(|(name, ..)| name == row)
            .and_then(|(_, engines, _)| engines.get("cairn"))
            .and_then(of)
    };
    let against_lsm = |row: &str| {
        let (_, engines, _) = rows.iter().find(|(name, ..)| name == row)?;
        let best = ["fjall", "rocksdb"]
            .iter()
            .filter_map(|name| Some(engines.get(*name)?.per_second))
            .max_by(f64::total_cmp)?;
        Some(engines.get("cairn")?.per_second / best)
    };
    let cpu: fn(&Medians) -> Option<f64> = |figures| Some(figures.cpu_us);
    let speed: fn(&Medians) -> Option<f64> = |figures| Some(figures.per_second);
    let at_most =
        |says, row: &str, bound, of| Goal { says, figure: ours(row, of), bound, better: Better::Lower };
    let at_least = |says, figure, bound| Goal { says, figure, bound, better: Better::Higher };
    let durable = |row: &str| ours(row, speed);
    vec![
        at_least("rising fill, 1 per commit, times the better LSM", against_lsm("fill-rising-1 fill"), 1.3),
        at_least(
            "rising fill, 100 per commit, times the better LSM",
            against_lsm("fill-rising-100 fill"),
            1.3,
        ),
        at_least("random fill, 1 per commit, times the better LSM", against_lsm("fill-random-1 fill"), 1.3),
        at_most("random fill, 1 per commit, CPU µs", "fill-random-1 fill", 3.4, cpu),
        at_least(
            "random fill, 100 per commit, times the better LSM",
            against_lsm("fill-random-100 fill"),
            1.3,
        ),
        at_most("random fill, 100 per commit, CPU µs", "fill-random-100 fill", 2.5, cpu),
        at_least("durable commits per second, 1 thread", durable("durable-1 commit"), 17_000.0),
        at_least("durable commits per second, 16 threads", durable("durable-16 commit"), 60_000.0),
        at_least("durable commits per second, 64 threads", durable("durable-64 commit"), 75_000.0),
        at_most("point read in cache, CPU µs", "cached get", 2.2, cpu),
        at_most("point read, data 3.6 times the cache, CPU µs", "larger get", 4.4, cpu),
        at_most("point read, data 14 times the cache, CPU µs", "much-larger get", 9.0, cpu),
        at_most("absent key, CPU µs", "cached absent", 0.45, cpu),
        at_most("range of 100, rising, CPU µs", "cached scan-rising", 25.0, cpu),
        at_most("range of 100, falling, CPU µs", "cached scan-falling", 25.0, cpu),
        at_most("churn, CPU µs", "churn churn", 2.5, cpu),
        at_most("4 KiB values written, CPU µs", "values-4k fill", 15.0, cpu),
        at_most("worst write beside a reader, ms", "reads-beside-writer writes", 10.0, |figures| {
            figures.worst_ms
        }),
        at_most("bytes written per byte, random fill", "fill-random-100 fill", 3.0, |figures| {
            figures.amplification
        }),
        at_most("bytes on disk per live byte, random fill", "fill-random-100 fill", 1.25, |figures| {
            figures.space
        }),
        at_most("bytes on disk per live byte, churn", "churn churn", 2.0, |figures| figures.space),
        at_most("peak memory, random fill, MB", "fill-random-100 fill", 160.0, |figures| {
            Some(figures.memory_mb)
        }),
    ]
}

const BEGIN: &str = "<!-- engines: begin -->";
const END: &str = "<!-- engines: end -->";

/// Replaces what stands between the marks of the page.
pub fn replace_section(page: &Path, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    let (before, rest) =
        old.split_once(BEGIN).with_context(|| format!("{} has no mark {BEGIN}", page.display()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{} has no mark {END}", page.display()))?;
    Ok(std::fs::write(page, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?)
}
