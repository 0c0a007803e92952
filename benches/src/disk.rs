//! How long the disk takes to make an append durable: the floor under every durable write, which on
//! one and the same machine can differ tenfold between one minute and the next.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends measured.
const APPENDS: usize = 300;
/// Bytes of one append.
const APPEND_BYTES: usize = 512;

/// The median time of a 512-byte append to a growing file with `fdatasync`, in a directory.
///
/// # Errors
///
/// What the disk says.
pub fn append_and_sync(directory: &Path) -> std::io::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(directory)?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let start = Instant::now();
        file.write_all(&[7; APPEND_BYTES])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[APPENDS / 2])
}
