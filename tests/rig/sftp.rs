//! A real OpenSSH server on this machine, which takes one key and serves files only.
//!
//! It runs as the user of the tests; root, whom sshd would want a user of its own from, lends it to `nobody`.

use super::output::Output;
use super::s3::free_ports;
use super::{TestResult, peers, until};
use anyhow::Context;
use std::fs::{Permissions, copy, create_dir, read_dir, read_to_string, set_permissions, write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const NOBODY: u32 = 65_534;

/// A server; killed when dropped.
#[derive(Debug)]
pub(crate) struct OpenSsh {
    child: Child,
    port: u16,
    user: String,
    folder: TempDir,
}

impl OpenSsh {
    /// Starts one with an empty directory.
    pub(crate) fn start() -> TestResult<OpenSsh> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        set_permissions(path, Permissions::from_mode(0o755))?;
        create_dir(path.join("data"))?;
        for key in ["host", "user"] {
            make_key(&path.join(key))?;
        }
        let [port] = free_ports()?;
        write(path.join("config"), config(path, port))?;
        let host_key = read_to_string(path.join("host.pub"))?;
        write(path.join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}"))?;
        let (mut command, user) = command(path)?;
        command.arg("-f").arg(path.join("config")).args(["-D", "-e"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = Output::collect(child.stderr.take().context("stderr is piped")?);
        let mut server = OpenSsh { child, port, user, folder };
        until("sshd is ready", || {
            if let Some(status) = server.child.try_wait()? {
                anyhow::bail!("sshd ended with {status}: {}", log.text());
            }
            Ok(TcpStream::connect(("127.0.0.1", port)).ok())
        })?;
        Ok(server)
    }

    /// The URL of an archive in a folder of its directory.
    pub(crate) fn archive(&self, folder: &str) -> String {
        self.archive_known_in(folder, &self.folder.path().join("known_hosts"))
    }

    /// The same, with other known hosts.
    pub(crate) fn archive_known_in(&self, folder: &str, known_hosts: &Path) -> String {
        let OpenSsh { user, port, .. } = self;
        let path = self.folder.path().display();
        let known_hosts = known_hosts.display();
        format!(
            "sftp://{user}@127.0.0.1:{port}{path}/data/{folder}?key={path}/user&known_hosts={known_hosts}"
        )
    }

    /// Where its files are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().and_then(|()| self.child.wait()).expect("a child of ours can be killed");
        }
    }
}

fn make_key(path: &Path) -> TestResult {
    let mut make = Command::new("ssh-keygen");
    let made = make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status()?;
    anyhow::ensure!(made.success(), "ssh-keygen makes no key");
    Ok(())
}

fn config(path: &Path, port: u16) -> String {
    let path = path.display();
    format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {path}/host\nAuthorizedKeysFile {path}/user.pub\n\
         PidFile none\nStrictModes no\nUsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         MaxStartups 100\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    )
}

/// The command that runs sshd, and as whom.
fn command(path: &Path) -> TestResult<(Command, String)> {
    let (program, lib) = (peers::program("openssh/usr/sbin/sshd")?, peers::program("openssh/lib")?);
    if !rustix::process::geteuid().is_root() {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", lib);
        let id = Command::new("id").arg("-un").output()?;
        return Ok((command, String::from_utf8(id.stdout)?.trim().to_owned()));
    }
    // Where nobody may go.
    copy(program, path.join("sshd"))?;
    for library in read_dir(lib)?.filter_map(Result::ok).filter(|file| file.path().is_file()) {
        copy(library.path(), path.join(library.file_name()))?;
    }
    for owned in ["host", "data"] {
        chown(path.join(owned), Some(NOBODY), Some(NOBODY))?;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(path.join("sshd"));
    command.env("LD_LIBRARY_PATH", path);
    Ok((command, "nobody".to_owned()))
}
