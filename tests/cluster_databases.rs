//! Databases beside the default one: each has a keyspace, a token and a URL of its own.

use crate::rig::server::{Serve, Server, cairn, run, succeed};
use crate::rig::{TOKEN, TestResult, http, writes};
use anyhow::{Context, ensure};
use cairn::bench::client::{Client, Error, Http, Session};
use std::path::Path;

fn start(data: &Path) -> TestResult<Server> {
    Serve::on(data).flag("--archive", "none").flag("--groups", "2").flag("--disk-reserve", "1MiB").start()
}

/// Makes a database; returns its URL and token.
fn create(server: &Server, name: &str) -> TestResult<(String, String)> {
    let arguments = ["db", "create", name, "--json", "--url", &server.url, "--token", TOKEN];
    let made: serde_json::Value = serde_json::from_str(&succeed(cairn().args(arguments))?.stdout)?;
    let text = |field: &str| made[field].as_str().map(str::to_owned).context("a field is missing");
    Ok((format!("{}{}", server.url, text("path")?), text("token")?))
}

async fn connect(url: &str, token: &str) -> TestResult<Client> {
    Ok(Session::open(url, token, Http::One).await?.connect().await?)
}

async fn status_of(url: &str, token: &str) -> TestResult<u16> {
    match Session::open(url, token, Http::One).await {
        Ok(_) => Ok(200),
        Err(Error::Status { status, .. }) => Ok(status),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn databases_are_apart_from_each_other_and_survive_a_restart() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = start(data.path())?;
    let (shop_url, shop) = create(&server, "shop")?;
    let (blog_url, blog) = create(&server, "blog")?;
    let key = writes::key(&["k"]);
    let mut clients = [
        connect(&server.url, TOKEN).await?,
        connect(&shop_url, &shop).await?,
        connect(&blog_url, &blog).await?,
    ];
    for (client, value) in clients.iter_mut().zip([b"default", &b"of shop"[..], b"of blog"]) {
        writes::commit(client, vec![writes::set(&key, value)]).await?;
    }
    for (url, token) in [(&shop_url, &blog), (&blog_url, &shop), (&server.url, &shop)] {
        assert_eq!(status_of(url, token).await?, 401, "{url}");
    }
    assert_eq!(status_of(&shop_url, TOKEN).await?, 401, "the cluster's token opens no other database");
    let (shop_path, blog_path) = (shop_url.replace(&server.url, ""), blog_url.replace(&server.url, ""));
    drop(clients);
    server.stop()?;
    let server = start(data.path())?;
    for (url, token, value) in [
        (server.url.clone(), TOKEN, &b"default"[..]),
        (format!("{}{shop_path}", server.url), &shop, b"of shop"),
        (format!("{}{blog_path}", server.url), &blog, b"of blog"),
    ] {
        let entry = connect(&url, token).await?.get(&key).await?.context("the key is there")?;
        assert_eq!(entry.value, value, "{url}");
    }
    server.stop()
}

#[tokio::test]
async fn a_deleted_database_is_gone_and_a_new_one_of_its_name_is_empty() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = start(data.path())?;
    let (url, token) = create(&server, "shop")?;
    let key = writes::key(&["k"]);
    let mut client = connect(&url, &token).await?;
    writes::commit(&mut client, vec![writes::set(&key, b"v")]).await?;
    let delete = || run(cairn().args(["db", "delete", "shop", "--url", &server.url, "--token", TOKEN]));
    let deleted = delete()?;
    ensure!(deleted.code == Some(0), "{}", deleted.stderr);
    match client.get(&key).await {
        Err(Error::Status { status: 404, .. }) => {}
        other => panic!("a client that was connected is refused: {other:?}"),
    }
    assert_eq!(status_of(&url, &token).await?, 404);
    let again = delete()?;
    assert!(again.code == Some(2) && again.stderr.contains("there is no database shop"), "{again:?}");
    let (url, token) = create(&server, "shop")?;
    assert_eq!(connect(&url, &token).await?.get(&key).await?, None);
    server.stop()
}

#[test]
fn operators_need_the_access_token() -> TestResult {
    let data = tempfile::tempdir()?;
    let server = start(data.path())?;
    for (method, path) in
        [("GET", "/admin/v1/cluster"), ("POST", "/admin/v1/databases"), ("GET", "/admin/v1/x")]
    {
        assert_eq!(http::send(server.address(), method, path, &[], b"{}")?.status, 401, "{method} {path}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let known = [("authorization", bearer.as_str())];
    assert_eq!(http::send(server.address(), "GET", "/admin/v1/x", &known, b"")?.status, 404);
    let shown = http::send(server.address(), "GET", "/admin/v1/cluster", &known, b"")?;
    assert!(shown.status == 200 && shown.body.contains("\"state\":\"voter\""), "{}", shown.body);
    let metrics = http::get(server.address(), "/metrics")?.body;
    for line in ["cairn_raft_leads{group=\"2\"} 1", "cairn_raft_has_leader{group=\"0\"} 1"] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in {metrics}");
    }
    server.stop()
}
