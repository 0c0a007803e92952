//! A real S3 server beside what is measured: SeaweedFS, with one bucket.

use anyhow::Context;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The bucket.
pub const BUCKET: &str = "bench";
/// Credentials, as a client's environment has them.
pub const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "cairn-bench"), ("AWS_SECRET_ACCESS_KEY", "cairn-bench-secret")];
/// How long the server may take to begin.
const START_MAX: Duration = Duration::from_secs(60);
/// How long it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The server; killed when dropped.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    port: u16,
    metrics: u16,
    /// What it keeps in memory, removed with it.
    _memory: Option<tempfile::TempDir>,
}

impl S3 {
    /// Starts `weed` with its data in a folder.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn weed(binary: &Path, folder: &Path) -> anyhow::Result<S3> {
        S3::start(Command::new(binary), folder, None)
    }

    /// Starts `weed` so that it takes as little as it can from what else runs on this machine, as one on another machine would:
    /// its data is in memory, and it gives way to everybody.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn weed_aside(binary: &Path) -> anyhow::Result<S3> {
        let memory = tempfile::tempdir_in("/dev/shm").context("cannot keep data in memory")?;
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(binary);
        let folder = memory.path().to_owned();
        S3::start(command, &folder, Some(memory))
    }

    fn start(mut command: Command, folder: &Path, memory: Option<tempfile::TempDir>) -> anyhow::Result<S3> {
        std::fs::create_dir_all(folder)?;
        let identities = folder.join("identities.json");
        let [(_, key), (_, secret)] = CREDENTIALS;
        let credentials = format!(r#"[{{"accessKey":"{key}","secretKey":"{secret}"}}]"#);
        let actions = r#"["Admin","Read","Write","List","Tagging"]"#;
        let identity = format!(r#"{{"name":"bench","credentials":{credentials},"actions":{actions}}}"#);
        std::fs::write(&identities, format!(r#"{{"identities":[{identity}]}}"#))?;
        let held: Vec<TcpListener> =
            (0..9).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
        let ports: Vec<u16> =
            held.iter().map(|held| Ok(held.local_addr()?.port())).collect::<std::io::Result<_>>()?;
        drop(held);
        command.arg("server").args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.iam=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]);
        command.args(["-master.volumeSizeLimitMB=1024", "-volume.max=40", "-volume.preStopSeconds=0"]);
        command.arg(format!("-dir={}", folder.display()));
        command.arg(format!("-s3.config={}", identities.display()));
        let names = ["s3.port", "filer.port", "filer.port.grpc", "s3.port.grpc"];
        let names = names.into_iter().chain([
            "master.port",
            "master.port.grpc",
            "volume.port",
            "volume.port.grpc",
            "metricsPort",
        ]);
        for (name, port) in names.zip(&ports) {
            command.arg(format!("-{name}={port}"));
        }
        let log = File::create(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start weed")?;
        let mut server = S3 { child, port: ports[0], metrics: ports[8], _memory: memory };
        let begun = Instant::now();
        while !server.makes_bucket(ports[1]) {
            let ended = server.child.try_wait()?;
            anyhow::ensure!(ended.is_none(), "weed ended; see {}", folder.join("log").display());
            anyhow::ensure!(begun.elapsed() < START_MAX, "weed is not ready within {START_MAX:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    /// A folder of the filer is a bucket; it may have been made while the rest was not ready.
    fn makes_bucket(&self, filer: u16) -> bool {
        let made = ask(filer, &format!("POST /buckets/{BUCKET}/ HTTP/1.1"));
        let there = |answer: &str| ["HTTP/1.1 201", "HTTP/1.1 409"].iter().any(|is| answer.starts_with(is));
        made.is_ok_and(|answer| there(&answer)) && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    /// Requests that it has had, of those kinds that a metric of its own names so (`PUT`, `POST`).
    ///
    /// # Errors
    ///
    /// When its metrics cannot be read.
    pub fn requests(&self, kinds: &[&str]) -> anyhow::Result<u64> {
        const TOTAL: &str = "SeaweedFS_s3_request_seconds_count{";
        let text = ask(self.metrics, "GET /metrics HTTP/1.1")?;
        let is_of = |line: &&str| kinds.iter().any(|kind| line.contains(&format!("type=\"{kind}\"")));
        let lines = text.lines().filter(|line| line.starts_with(TOTAL)).filter(is_of);
        lines
            .map(|line| {
                let (_, count) = line.rsplit_once(' ').context("a metric has a value")?;
                Ok(count.trim().parse::<u64>()?)
            })
            .sum()
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL of an archive under a prefix.
    pub fn archive(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region=us-east-1&path_style=true", self.endpoint())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended by itself; what it holds is thrown away.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a port of this machine answers to a request without headers and body.
fn ask(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "{request}\r\nHost: weed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
