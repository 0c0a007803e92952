//! What a run costs: processor time, memory, bytes written, space on disk. Linux only.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    wall: Instant,
    cpu: Duration,
    written: u64,
}

/// What passed since a mark.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    pub wall: Duration,
    /// User and system time of all threads of this process.
    pub cpu: Duration,
    /// Bytes that this process caused to be sent to the disk.
    pub written: u64,
}

impl Mark {
    pub fn now() -> Result<Self> {
        Ok(Self { wall: Instant::now(), cpu: cpu_time(), written: written()? })
    }

    pub fn elapsed(&self) -> Result<Spent> {
        let now = Self::now()?;
        Ok(Spent {
            wall: now.wall - self.wall,
            cpu: now.cpu.saturating_sub(self.cpu),
            written: now.written.saturating_sub(self.written),
        })
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn written() -> Result<u64> {
    field("/proc/self/io", "write_bytes:")
}

/// Starts the count of peak memory again.
pub fn reset_peak_memory() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("reset the peak of resident memory")
}

/// The most resident memory since the last reset, in bytes.
pub fn peak_memory() -> Result<u64> {
    Ok(field("/proc/self/status", "VmHWM:")? * 1024)
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.with_context(|| format!("{path} has no {name}"))?.parse().context("a number")
}

/// Bytes that a directory takes on disk: allocated blocks, each file once.
pub fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A file can go away while an engine settles.
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() { disk_bytes(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}

/// How long an append of 512 bytes with fdatasync takes, in microseconds: the median of 300.
pub fn fsync_us(dir: &Path) -> Result<f64> {
    use std::io::Write;
    let mut file = tempfile::tempfile_in(dir)?;
    let mut times = Vec::new();
    for _ in 0..300 {
        file.write_all(&[1; 512])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[150].as_secs_f64() * 1e6)
}

/// What the machine is, in a sentence.
pub fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |name| name.trim_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism()?;
    let memory = field("/proc/meminfo", "MemTotal:")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {cpu}, {memory} kB of memory, Linux {}", kernel.trim()))
}
