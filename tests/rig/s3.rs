//! Real S3 servers on this machine: moto, which starts fast, SeaweedFS, which is strict, and rclone, which ignores
//! conditional writes.

use super::output::Output;
use super::{TestResult, http, peers, until};
use anyhow::Context;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The bucket that each server is given.
const BUCKET: &str = "archive";
const ACCESS_KEY: &str = "cairn-tests";
const SECRET_KEY: &str = "cairn-tests-secret";

/// What a client of these servers needs in its environment.
pub(crate) const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];

const WRITER_ACCESS_KEY: &str = "cairn-writer";
const WRITER_SECRET_KEY: &str = "cairn-writer-secret";

/// Who may put objects into the bucket of SeaweedFS and give uploads up, and nothing else.
pub(crate) const WRITER: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", WRITER_ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", WRITER_SECRET_KEY)];

/// A server with one empty bucket; killed when dropped.
#[derive(Debug)]
pub(crate) struct S3 {
    child: Child,
    port: u16,
    _data: TempDir,
}

impl S3 {
    /// Starts moto.
    pub(crate) fn moto() -> TestResult<S3> {
        let [port] = free_ports()?;
        let mut command = Command::new(peers::program("venv/bin/moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = S3::start(command, port, tempfile::tempdir()?, ("/moto-api/", 200))?;
        // Any signature will do; the credential's scope tells moto that S3 is meant.
        let scope = format!("{ACCESS_KEY}/20260101/us-east-1/s3/aws4_request");
        let signed = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let headers = [("authorization", signed.as_str())];
        let made = http::send(&server.address(), "PUT", &format!("/{BUCKET}"), &headers, b"")?;
        anyhow::ensure!(made.status == 200, "moto makes no bucket: {made:?}");
        Ok(server)
    }

    /// Starts SeaweedFS.
    pub(crate) fn weed() -> TestResult<S3> {
        let data = tempfile::tempdir()?;
        let identities = data.path().join("identities.json");
        std::fs::write(&identities, identities_json())?;
        let ports: [u16; 8] = free_ports()?;
        let [port, filer, ..] = ports;
        let mut command = Command::new(peers::program("venv/bin/weed")?);
        command.arg("server").args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.iam=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]);
        command.args(["-master.volumeSizeLimitMB=64", "-volume.max=20", "-volume.preStopSeconds=0"]);
        command.arg(format!("-dir={}", data.path().display()));
        command.arg(format!("-s3.config={}", identities.display()));
        let names =
            ["s3", "filer", "filer.grpc", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc"];
        for (name, port) in names.iter().zip(ports) {
            let (part, kind) = name.split_once('.').unwrap_or((name, ""));
            let dot = if kind.is_empty() { "" } else { "." };
            command.arg(format!("-{part}.port{dot}{kind}={port}"));
        }
        let server = S3::start(command, port, data, ("/healthz", 200))?;
        // A folder here is a bucket, for this server.
        let folder = format!("/buckets/{BUCKET}/");
        until("weed makes a bucket", || {
            let made = http::send(&format!("127.0.0.1:{filer}"), "POST", &folder, &[], b"");
            Ok(made.ok().filter(|answer| answer.status == 201))
        })?;
        Ok(server)
    }

    /// Starts `rclone serve s3` on a directory.
    pub(crate) fn rclone() -> TestResult<S3> {
        let [port] = free_ports()?;
        let data = tempfile::tempdir()?;
        std::fs::create_dir(data.path().join(BUCKET))?;
        let mut command = Command::new(peers::program("venv/bin/rclone")?);
        command.args(["serve", "s3", "--config", "", "--auth-key", &format!("{ACCESS_KEY},{SECRET_KEY}")]);
        command.args(["--addr", &format!("127.0.0.1:{port}")]).arg(data.path());
        // Who does not sign is told so: then it is there.
        S3::start(command, port, data, ("/", 400))
    }

    /// Starts a server that is ready when a path answers with a status.
    fn start(mut command: Command, port: u16, data: TempDir, ready: (&str, u16)) -> TestResult<S3> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = Output::collect(child.stderr.take().context("stderr is piped")?);
        let mut server = S3 { child, port, _data: data };
        let address = server.address();
        until("the S3 server is ready", || {
            if let Some(status) = server.child.try_wait()? {
                anyhow::bail!("the S3 server ended with {status}: {}", log.text());
            }
            Ok(http::get(&address, ready.0).ok().filter(|answer| answer.status == ready.1))
        })?;
        Ok(server)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of an archive under a prefix of the bucket.
    pub(crate) fn archive(&self, prefix: &str) -> String {
        Self::archive_at(&self.address(), prefix)
    }

    /// The same, by way of another address.
    pub(crate) fn archive_at(address: &str, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://{address}&region=us-east-1&path_style=true")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().and_then(|()| self.child.wait()).expect("a child of ours can be killed");
        }
    }
}

/// Who may do what, as SeaweedFS reads it.
fn identities_json() -> String {
    let statement = serde_json::json!({
        "Effect": "Allow",
        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
        "Resource": [format!("arn:aws:s3:::{BUCKET}/*")],
    });
    let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let all = ["Admin", "Read", "Write", "List", "Tagging"];
    let key = |access: &str, secret: &str| serde_json::json!([{ "accessKey": access, "secretKey": secret }]);
    let identities = serde_json::json!({
        "identities": [
            { "name": "tests", "credentials": key(ACCESS_KEY, SECRET_KEY), "actions": all },
            {
                "name": "writer",
                "credentials": key(WRITER_ACCESS_KEY, WRITER_SECRET_KEY),
                "policyNames": ["put-only"],
            },
        ],
        "policies": [{ "name": "put-only", "content": policy }],
    });
    identities.to_string()
}

/// Ports that were free a moment ago; held together, so that they differ.
pub(crate) fn free_ports<const N: usize>() -> TestResult<[u16; N]> {
    let listeners: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
