//! A real remote control of rclone, as a user would run it.

use super::s3::free_ports;
use super::{TestResult, http, peers, until};
use std::process::{Child, Command, Stdio};

const USER: &str = "tests";
const PASSWORD: &str = "rclone-tests";

/// `rclone rcd`; killed when dropped.
#[derive(Debug)]
pub(crate) struct RemoteControl {
    child: Child,
    port: u16,
}

impl RemoteControl {
    /// Starts one that serves objects, too.
    pub(crate) fn start() -> TestResult<RemoteControl> {
        let [port] = free_ports()?;
        let mut command = Command::new(peers::program("venv/bin/rclone")?);
        command.args(["rcd", "--config", "", "--rc-serve", "--rc-addr", &format!("127.0.0.1:{port}")]);
        command.env("RCLONE_RC_USER", USER).env("RCLONE_RC_PASS", PASSWORD);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = RemoteControl { child, port };
        // Who gives no password is refused: then it is there.
        until("rclone is ready", || {
            Ok(http::get(&server.address(), "/").ok().filter(|answer| answer.status == 401))
        })?;
        Ok(server)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What a client needs in its environment.
    pub(crate) fn credentials(&self) -> [(&'static str, &'static str); 2] {
        [("CAIRN_RCLONE_USER", USER), ("CAIRN_RCLONE_PASSWORD", PASSWORD)]
    }
}

impl Drop for RemoteControl {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().and_then(|()| self.child.wait()).expect("a child of ours can be killed");
        }
    }
}
