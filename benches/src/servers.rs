//! The servers that are measured side by side, each a process with a fresh directory.

use anyhow::Context;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The access token of all of them.
pub const TOKEN: &str = "an-access-token-for-benchmarks";
/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(60);

/// A server under measurement; killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// What the table calls it.
    pub name: &'static str,
    /// How it was started, without paths of this machine.
    pub command: String,
    child: Child,
    port: u16,
}

impl Server {
    /// Starts `denokv serve` with further arguments.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn denokv(
        binary: &Path,
        folder: &Path,
        name: &'static str,
        arguments: &[&str],
    ) -> anyhow::Result<Server> {
        let mut command = Command::new(binary);
        command.arg("--sqlite-path").arg(folder.join("db.sqlite")).arg("serve").args(arguments);
        let shown = ["denokv --sqlite-path <fresh> serve", &arguments.join(" ")].join(" ");
        Server::start(command, name, shown, folder)
    }

    /// Starts `cairn serve` with its defaults, archive included.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn cairn(binary: &Path, folder: &Path) -> anyhow::Result<Server> {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data").arg(folder.join("data"));
        Server::start(command, "cairn", "cairn serve --data <fresh>".to_owned(), folder)
    }

    /// Starts `cairn serve` with further arguments and variables.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn cairn_with(
        binary: &Path,
        folder: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Server> {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data").arg(folder.join("data")).args(arguments);
        command.envs(variables.iter().copied());
        let shown = ["cairn serve --data <fresh>", &arguments.join(" ")].join(" ");
        Server::start(command, "cairn", shown, folder)
    }

    fn start(
        mut command: Command,
        name: &'static str,
        shown: String,
        folder: &Path,
    ) -> anyhow::Result<Server> {
        std::fs::create_dir_all(folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        command.arg("--addr").arg(format!("127.0.0.1:{port}")).env("DENO_KV_ACCESS_TOKEN", TOKEN);
        let log = File::create(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Server { name, command: shown.trim_end().to_owned(), child, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.try_wait()?;
            anyhow::ensure!(ended.is_none(), "{name} ended; see {}", folder.join("log").display());
            anyhow::ensure!(start.elapsed() < START_MAX, "{name} does not listen within {START_MAX:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Ends it as a service manager does, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// When it cannot be told, or does not end well.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        anyhow::ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "cannot stop {pid}");
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to lose in its data.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
