//! The real binary, serving.

use super::output::Output;
use super::{PATIENCE, TOKEN, TestResult, http, until};
use anyhow::Context;
use cairn::bench::client::{Client, Http, Session};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_cairn");

/// The binary under test, with nothing of the caller's environment that it would read.
pub(crate) fn cairn() -> Command {
    cleaned(Command::new(BINARY))
}

/// A command that runs [`BINARY`], with nothing of the caller's environment that it would read.
pub(crate) fn cleaned(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["CAIRN_", "DENO_KV_", "AWS_", "RUST_LOG"].iter().any(|prefix| name_text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

/// What `cairn serve` is started with.
#[derive(Debug)]
pub(crate) struct Serve {
    command: Command,
}

impl Serve {
    /// On a data directory, on a free port, with the tests' token and a log in JSON.
    pub(crate) fn on(data: &Path) -> Serve {
        Serve::by(cairn(), data, "127.0.0.1:0")
    }

    /// By a command that runs the binary, on an address.
    pub(crate) fn by(mut command: Command, data: &Path, addr: &str) -> Serve {
        command.arg("serve").arg("--data").arg(data).args(["--addr", addr, "--log-format", "json"]);
        command.env("DENO_KV_ACCESS_TOKEN", TOKEN);
        Serve { command }
    }

    /// By a command that says all there is.
    pub(crate) const fn of(command: Command) -> Serve {
        Serve { command }
    }

    /// With one more flag and its value.
    pub(crate) fn flag(mut self, name: &str, value: impl AsRef<OsStr>) -> Serve {
        self.command.arg(name).arg(value);
        self
    }

    /// With more environment.
    pub(crate) fn envs(mut self, variables: &[(&str, &str)]) -> Serve {
        self.command.envs(variables.iter().copied());
        self
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(mut self) -> TestResult<Server> {
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let printed = Output::collect(child.stdout.take().context("stdout is piped")?);
        let log = Output::collect(child.stderr.take().context("stderr is piped")?);
        Ok(Server { child, url: String::new(), printed, log })
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(self) -> TestResult<Server> {
        let mut server = self.spawn()?;
        server.wait_until_ready()?;
        Ok(server)
    }
}

/// A server under test; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens, such as `http://127.0.0.1:4512`.
    pub(crate) url: String,
    /// What it prints for people.
    pub(crate) printed: Output,
    /// What it logs.
    pub(crate) log: Output,
}

impl Server {
    /// Waits until it says that it is ready.
    pub(crate) fn wait_until_ready(&mut self) -> TestResult {
        let ready = until("the server is ready", || {
            anyhow::ensure!(self.is_alive()?, "the server ended");
            if !self.find_url() {
                return Ok(None);
            }
            Ok(http::get(self.address(), "/readyz").ok().filter(|answer| answer.status == 200))
        });
        ready.map(drop).with_context(|| self.said())
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> TestResult<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Looks for the URL in what it printed; whether it is known now.
    pub(crate) fn find_url(&mut self) -> bool {
        if let Some(url) = self.printed.lines().iter().find_map(|line| url_in(line)) {
            self.url = url;
        }
        !self.url.is_empty()
    }

    fn said(&self) -> String {
        format!("the server printed:\n{}\nand logged:\n{}", self.printed.text(), self.log.text())
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_start_matches("https://")
    }

    /// The environment that a Deno or Node client needs.
    pub(crate) fn client_env(&self) -> [(&'static str, String); 2] {
        [("DENO_KV_URL", self.url.clone()), ("DENO_KV_ACCESS_TOKEN", TOKEN.to_owned())]
    }

    /// One more connection, over HTTP/1.1.
    pub(crate) async fn connect(&self) -> TestResult<Client> {
        Ok(Session::open(&self.url, TOKEN, Http::One).await?.connect().await?)
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(mut self) -> TestResult {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for the end. Fails unless it exits with 0 and logged no warning or error.
    pub(crate) fn stop(mut self) -> TestResult {
        let status = self.terminate()?;
        anyhow::ensure!(status.success(), "SIGTERM ended it with {status}; {}", self.said());
        let alarms: Vec<_> = self.log.lines().into_iter().filter(|line| is_alarm(line)).collect();
        anyhow::ensure!(alarms.is_empty(), "the server warned: {}", alarms.join("\n"));
        Ok(())
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(&mut self) -> TestResult<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> TestResult {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> TestResult<ExitStatus> {
        until("the server ends", || Ok(self.child.try_wait()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().and_then(|()| self.child.wait()).expect("a child of ours can be killed");
        }
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

/// The first `http://host:port` or `https://host:port` in a line, once the port is a real one.
fn url_in(line: &str) -> Option<String> {
    let (scheme, rest) = ["http://", "https://"].into_iter().find_map(|scheme| {
        let at = line.find(scheme)?;
        Some((scheme, &line[at + scheme.len()..]))
    })?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || ".:[]".contains(c);
    let address = rest.split(|c| !is_part(c)).next()?;
    let (_, port) = address.rsplit_once(':')?;
    (port.parse::<u16>().ok()? != 0).then(|| format!("{scheme}{address}"))
}

/// Whether a person would have to look at this line of the log.
fn is_alarm(line: &str) -> bool {
    [r#""level":"WARN""#, r#""level":"ERROR""#, "panicked at"].iter().any(|mark| line.contains(mark))
}

/// What a command that ended printed.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// Runs a command to its end; it is killed when that takes longer than [`PATIENCE`].
pub(crate) fn run(command: &mut Command) -> TestResult<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("stdout is piped")?;
    let mut stderr = child.stderr.take().context("stderr is piped")?;
    let read = |stream: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    };
    std::thread::scope(|scope| {
        let stdout = scope.spawn(|| read(&mut stdout));
        let stderr = scope.spawn(|| read(&mut stderr));
        let ended = until(&format!("{command:?} ends"), || Ok(child.try_wait()?));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let stdout = stdout.join().expect("reading does not panic")?;
        let stderr = stderr.join().expect("reading does not panic")?;
        let code = ended.with_context(|| format!("{stdout}\n{stderr}"))?.code();
        Ok(Ended { code, stdout, stderr })
    })
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) -> TestResult<Ended> {
    let ended = run(command)?;
    anyhow::ensure!(
        ended.code == Some(0),
        "{command:?} ended with {:?} within {PATIENCE:?}\n{}\n{}",
        ended.code,
        ended.stdout,
        ended.stderr
    );
    Ok(ended)
}

#[test]
fn the_url_is_found_once_its_port_is_real() {
    assert_eq!(url_in("  url   http://127.0.0.1:4512/").as_deref(), Some("http://127.0.0.1:4512"));
    assert_eq!(url_in(r#"Deno.openKv("http://[::1]:45")"#).as_deref(), Some("http://[::1]:45"));
    assert_eq!(url_in("serves https://127.0.0.1:45").as_deref(), Some("https://127.0.0.1:45"));
    for line in ["", "http://", "http://127.0.0.1:0", "httpx://127.0.0.1:1"] {
        assert_eq!(url_in(line), None, "{line}");
    }
}
