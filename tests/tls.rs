//! The port of clients over TLS: the real Deno, HTTP/2 by ALPN, and certificates that change.

use crate::rig::cluster::Cluster;
use crate::rig::s3::free_ports;
use crate::rig::server::{Serve, Server, cairn, run, succeed};
use crate::rig::tls::{Authority, Client};
use crate::rig::{PATIENCE, TOKEN, TestResult, http, peers, until, writes};
use anyhow::Context;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// The host that servers under test are asked for.
const HOST: &str = "127.0.0.1";

fn serve(folder: &Path) -> Serve {
    let files = Authority::files(folder);
    Serve::on(&folder.join("data")).flag("--tls-cert", files.cert).flag("--tls-key", files.key)
}

/// A server that shows a certificate of the CA.
fn start(folder: &Path, authority: &Authority) -> TestResult<Server> {
    authority.write(folder, HOST)?;
    let mut server = serve(folder).spawn()?;
    wait_until_ready(&mut server, authority)?;
    Ok(server)
}

fn wait_until_ready(server: &mut Server, authority: &Authority) -> TestResult {
    let client = Client::new(authority, &[b"http/1.1"])?;
    until("the server is ready", || {
        anyhow::ensure!(server.is_alive()?, "the server ended: {}", server.log.text());
        let is_ready = server.find_url() && is_ready(&client, server.address());
        Ok(is_ready.then_some(()))
    })
}

fn is_ready(client: &Client, address: &str) -> bool {
    client.get(address, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn the_real_deno_reads_writes_and_watches_over_https() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    let server = start(folder.path(), &authority)?;
    assert!(server.url.starts_with("https://"), "{}", server.url);
    for name in ["counters", "watch", "secondary_indexes"] {
        let script = peers::examples().join(name).with_extension("ts");
        succeed(peers::deno_script(&script, &server)?.env("DENO_CERT", Authority::files(folder.path()).ca))?;
    }
    let refused = run(&mut peers::deno_script(&peers::examples().join("counters.ts"), &server)?)?;
    assert!(refused.code != Some(0) && refused.stderr.contains("UnknownIssuer"), "{refused:?}");
    server.stop()
}

#[test]
fn what_is_spoken_inside_is_agreed_on_in_the_handshake() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    let server = start(folder.path(), &authority)?;
    /// The protocols that a client offers, and the one that is spoken.
    type Case<'a> = (&'a [&'a [u8]], Option<&'a [u8]>);
    let cases: [Case<'_>; 4] = [
        (&[b"h2", b"http/1.1"], Some(b"h2")),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ];
    for (offered, expected) in cases {
        let agreed = Client::new(&authority, offered)?.agree(server.address())?;
        assert_eq!(agreed.as_deref(), expected);
    }
    let answer = Client::new(&authority, &[])?.get(server.address(), "/readyz")?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop()
}

#[test]
fn a_client_that_speaks_plain_http_is_told_to_say_https() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    let server = start(folder.path(), &authority)?;
    let answer = http::get(server.address(), "/readyz")?;
    assert_eq!((answer.status, answer.body.as_str()), (400, "this port speaks TLS: say https, not http.\n"));
    let answer = http::send(server.address(), "POST", "/", &[], &[b'x'; 100_000])?;
    assert_eq!(answer.status, 400);
    server.stop()
}

#[test]
fn a_certificate_that_changes_is_shown_to_who_comes_next() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    let server = start(folder.path(), &authority)?;
    let client = Client::new(&authority, &[])?;
    let mut open = client.open(server.address())?;
    let shows = |number: u32| {
        until("the next certificate is shown", || {
            Ok((client.serial(server.address())? == authority.serial_of(number)).then_some(()))
        })
    };
    shows(1)?;
    authority.write(folder.path(), HOST)?;
    server.signal(Signal::HUP)?;
    shows(2).context("after SIGHUP")?;
    authority.write(folder.path(), HOST)?;
    shows(3).context("without being asked")?;
    assert!(open.get("/readyz")?.starts_with("HTTP/1.1 200"), "a connection that was open goes on");
    server.stop()
}

#[test]
fn a_change_for_the_worse_is_said_and_changes_nothing() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    let mut server = start(folder.path(), &authority)?;
    std::fs::write(Authority::files(folder.path()).cert, "rubbish")?;
    server.signal(Signal::HUP)?;
    let said = "certificates have changed and cannot be used; those before stay in use";
    until("it is said", || Ok(server.log.text().contains(said).then_some(())))?;
    let client = Client::new(&authority, &[])?;
    assert_eq!(client.serial(server.address())?, authority.serial_of(1));
    anyhow::ensure!(server.terminate()?.success(), "it ends well all the same");
    Ok(())
}

#[test]
fn a_certificate_that_cannot_be_is_one_line_and_changes_nothing() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    let folder = folder.path();
    authority.write(folder, "10.9.8.7")?;
    std::fs::write(folder.join("rubbish.pem"), "rubbish")?;
    let here = "127.0.0.1:14513";
    let peers = ["--peer-cert", "cert.pem", "--peer-key", "key.pem", "--peer-ca", "ca.pem"];
    let cases: &[(&[&str], &str)] = &[
        (&["--tls-cert", "cert.pem"], "tls-cert: say --tls-key too"),
        (&["--tls-cert", "none.pem", "--tls-key", "key.pem"], "tls-cert: cannot read none.pem"),
        (&["--tls-cert", "rubbish.pem", "--tls-key", "key.pem"], "tls-cert: no certificate in the file"),
        (&["--tls-cert", "cert.pem", "--tls-key", "rubbish.pem"], "tls-key: "),
        (&["--tls-cert", "cert.pem", "--tls-key", "ca-key.pem"], "tls-cert: "),
        (&["--peer-cert", "cert.pem", "--peer-key", "key.pem"], "peer-cert: say --peer-ca too"),
        (
            &[&["--peer-addr", here][..], &peers].concat(),
            "peer-cert: the certificate of this node does not prove that it is 127.0.0.1: it is not valid for 127.0.0.1, only for 10.9.8.7",
        ),
    ];
    for (flags, expected) in cases {
        let serve = ["serve", "--addr", "127.0.0.1:0", "--data", "data"];
        let ended = run(cairn().current_dir(folder).args(serve).args(*flags))?;
        assert_eq!(ended.code, Some(2), "{flags:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
        assert!(!folder.join("data").exists(), "{flags:?} left a directory");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_certificates_form_a_cluster_and_say_nothing_in_the_open() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    authority.write(folder.path(), HOST)?;
    let flags = peer_flags(folder.path())?;
    let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let cluster = Cluster::with(folder.path(), 3, &flags)?;
    let key = writes::key(&["secret"]);
    writes::commit(&mut cluster.connect(1).await?, vec![writes::set(&key, b"by node 1")]).await?;
    let read = cluster.connect(2).await?.get(&key).await?.context("node 2 has it")?;
    assert_eq!(read.value, b"by node 1");
    // What a node without certificates would say first.
    let mut stranger = TcpStream::connect(&cluster.nodes()[0].peer)?;
    stranger.set_read_timeout(Some(PATIENCE))?;
    stranger.write_all(b"CAIRNPER")?;
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer)?;
    assert!(answer.starts_with(&[0x15, 3]), "an alert of TLS, and not {answer:?}");
    Ok(())
}

#[test]
fn a_node_joins_over_https() -> TestResult {
    let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
    let folder = folder.path();
    authority.write(folder, HOST)?;
    let ports = free_ports::<2>()?;
    let node = |name: &str, port: u16| -> TestResult<Serve> {
        let files = Authority::files(folder);
        let serve = Serve::on(&folder.join(name)).flag("--peer-addr", format!("{HOST}:{port}"));
        let serve =
            serve.flag("--tls-cert", files.cert).flag("--tls-key", files.key).flag("--tls-ca", files.ca);
        Ok(peer_flags(folder)?.into_iter().fold(serve, |serve, (name, value)| serve.flag(name, value)))
    };
    let mut first = node("first", ports[0])?.spawn()?;
    wait_until_ready(&mut first, &authority)?;
    let mut second = node("second", ports[1])?.flag("--join", &first.url).spawn()?;
    wait_until_ready(&mut second, &authority)?;
    let script = peers::examples().join("counters.ts");
    succeed(peers::deno_script(&script, &second)?.env("DENO_CERT", Authority::files(folder).ca))?;
    let status = ["cluster", "status", "--url", &second.url, "--token", TOKEN, "--json"];
    let shown = succeed(cairn().args(status).arg("--tls-ca").arg(Authority::files(folder).ca))?;
    assert!(ports.iter().all(|port| shown.stdout.contains(&format!("{HOST}:{port}"))), "{}", shown.stdout);
    let stranger = run(cairn().args(status))?;
    assert!(stranger.code == Some(2) && stranger.stderr.contains("certificate"), "{stranger:?}");
    Ok(())
}

/// What a node is told to prove itself with.
fn peer_flags(folder: &Path) -> TestResult<Vec<(&'static str, String)>> {
    let files = Authority::files(folder);
    let flags = [("--peer-cert", files.cert), ("--peer-key", files.key), ("--peer-ca", files.ca)];
    let text = |path: std::path::PathBuf| path.into_os_string().into_string().ok().context("a path in UTF-8");
    flags.into_iter().map(|(name, path)| Ok((name, text(path)?))).collect()
}
