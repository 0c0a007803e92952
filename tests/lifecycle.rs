//! Starting with nothing, answering the questions of an orchestrator, and ending when told.

use crate::rig::output::Output;
use crate::rig::server::{Serve, cairn};
use crate::rig::{TestResult, http, now_ms, peers, until, writes};
use anyhow::Context;
use cairn::bench::client::{Client, Error};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

#[test]
fn without_a_flag_it_makes_its_directory_and_says_how_to_connect() -> TestResult {
    let folder = tempfile::tempdir()?;
    let mut command = cairn();
    command.arg("serve").current_dir(folder.path()).env("CAIRN_ADDR", "127.0.0.1:0");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let printed = Output::collect(child.stdout.take().context("stdout is piped")?);
    let token_file = folder.path().join("cairn-data/token");
    let said = until("it says how to connect", || {
        let text = printed.text();
        Ok(text.contains("Deno.openKv(\"http://127.0.0.1:").then_some(text))
    });
    child.kill()?;
    child.wait()?;
    let said = said?;
    let token = std::fs::read_to_string(token_file)?;
    assert!(said.contains(token.trim()), "the access token is printed:\n{said}");
    assert!(said.contains("DENO_KV_ACCESS_TOKEN"), "and how to hand it over:\n{said}");
    assert!(said.contains("dies with the disk"), "and what the default archive is worth:\n{said}");
    Ok(())
}

#[test]
fn it_tells_that_it_lives_that_it_is_ready_and_how_it_fares() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = Serve::on(data.path()).start()?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http::get(server.address(), path)?.status, 200, "{path}");
    }
    let metrics = http::get(server.address(), "/metrics")?;
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("# TYPE cairn_"), "{}", metrics.body);
    assert_eq!(http::get(server.address(), "/nothing/here")?.status, 404);
    server.stop()
}

#[test]
fn sigterm_ends_it_well_with_an_idle_connection_and_a_watching_deno() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = Serve::on(data.path()).start()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/watch.ts");
    let mut deno = peers::deno()?;
    deno.args(["run", "--unstable-kv", "--allow-all", "--no-lock"]).arg(script).envs(server.client_env());
    let mut deno = deno.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let seen = Output::collect(deno.stdout.take().context("stdout is piped")?);
    let watching = until("Deno has its first message", || Ok((!seen.lines().is_empty()).then_some(())));
    let idle = TcpStream::connect(server.address());
    let stopped = watching.and_then(|()| server.stop());
    deno.kill()?;
    deno.wait()?;
    drop(idle?);
    stopped?;
    assert_eq!(seen.lines(), ["seen: null"]);
    Ok(())
}

/// Writes until the server goes; returns the stamps it gave.
async fn write_until_refused(mut client: Client, name: String) -> TestResult<u64> {
    for count in 0.. {
        let key = writes::key(&["drain", &name, &count.to_string()]);
        if let Err(error) = writes::commit(&mut client, vec![writes::set(&key, b"1")]).await {
            let gone = error.downcast_ref::<Error>();
            assert!(
                matches!(gone, Some(Error::Connection(_) | Error::Body(_))),
                "a server that ends finishes what it took and takes no more: {error}"
            );
            return Ok(count);
        }
    }
    anyhow::bail!("the numbers ran out")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_finishes_what_was_taken_and_loses_nothing_acknowledged() -> TestResult {
    let data = tempfile::tempdir()?;
    let mut server = Serve::on(data.path()).start()?;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        let name = number.to_string();
        let client = server.connect().await?;
        clients.spawn(async move {
            Ok::<_, anyhow::Error>((name.clone(), write_until_refused(client, name).await?))
        });
    }
    let mut observer = server.connect().await?;
    let deadline = now_ms() + 60_000;
    while writes::list(&mut observer, &writes::key(&["drain"]), &[0xff]).await?.len() < 200 {
        anyhow::ensure!(now_ms() < deadline, "200 writes are made in time");
    }
    let status = tokio::task::block_in_place(|| server.terminate())?;
    assert!(status.success(), "SIGTERM ended it with {status}");
    let acknowledged = clients.join_all().await;

    let server = Serve::on(data.path()).start()?;
    let mut client = server.connect().await?;
    for outcome in acknowledged {
        let (name, count) = outcome?;
        let start = writes::key(&["drain", &name]);
        let end = [&start[..], &[0xff]].concat();
        let found = writes::list(&mut client, &start, &end);
        let found = u64::try_from(found.await?.len())?;
        assert!(found == count || found == count + 1, "client {name}: {count} acknowledged, {found} there");
    }
    server.stop()
}
