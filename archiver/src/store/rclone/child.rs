//! A remote control that we start ourselves: on this machine, with a password that nobody else knows.

use super::control::{Control, Failure, Outcome};
use engine::Random;
use engine::env::SystemRandom;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// How long it may take to say where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const SAYS: &str = "Serving remote control on http://";
const USER: &str = "cairn";

/// A running child; killed when dropped.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) control: Control,
    child: Child,
}

impl Started {
    /// Starts `program rcd`.
    pub(super) async fn start(program: &str) -> Outcome<Self> {
        let mut secret = [0; 16];
        SystemRandom.fill(&mut secret);
        let password = format!("{:032x}", u128::from_be_bytes(secret));
        let mut command = Command::new(program);
        command.args(["rcd", "--rc-addr", "127.0.0.1:0", "--rc-serve"]);
        // In the environment: arguments can be seen by everybody on the machine.
        command.env("RCLONE_RC_USER", USER).env("RCLONE_RC_PASS", &password);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let refused = |message: String| Failure::Said { status: 400, message };
        let mut child =
            command.spawn().map_err(|error| refused(format!("cannot start {program}: {error}")))?;
        let Some(stderr) = child.stderr.take() else {
            return Err(refused(format!("cannot start {program}")));
        };
        let mut lines = BufReader::new(stderr).lines();
        match timeout(START_TIMEOUT, find_address(&mut lines)).await {
            Ok(Ok(address)) => {
                tokio::spawn(drain(lines));
                let authorization = Some(basic(USER, &password));
                Ok(Self { control: Control { address, authorization }, child })
            }
            Ok(Err(said)) => Err(refused(format!("{program} ended: {said}"))),
            Err(_elapsed) => Err(Failure::Unreachable(format!("{program} did not start in time"))),
        }
    }

    /// Whether it still runs.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// The header that says who asks.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64_simd::STANDARD.encode_to_string(format!("{user}:{password}")))
}

/// Where it listens, or the last it said.
async fn find_address(lines: &mut Lines<BufReader<ChildStderr>>) -> Result<String, String> {
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, address)) = line.split_once(SAYS) {
            return Ok(address.trim_end_matches('/').to_owned());
        }
        last = line;
    }
    Err(last)
}

/// Reads what it says, so that it never waits for us.
async fn drain(mut lines: Lines<BufReader<ChildStderr>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(line, "rclone");
    }
}
