//! The metadata exchange and the tokens that it gives.

use crate::support::client::{Session, call, exchange};
use crate::support::messages::{get, set};
use crate::support::{Server, TOKEN, TestResult};
use anyhow::Context;
use cairn::connect::limits::TOKEN_LIFE_MS;
use denokv_proto::datapath as pb;
use hyper::Method;

#[tokio::test]
async fn each_version_is_spoken_from_exchange_to_data() -> TestResult {
    let server = Server::start().await?;
    for version in [1, 2, 3] {
        let session = Session::open(&server, version).await?;
        let key = [u8::try_from(version)?];
        let stamp = session.commit(vec![set(&key, b"v")]).await?;
        let found = session.get(&key).await?.context("the key is there")?;
        assert_eq!((found.versionstamp, found.value), (stamp, b"v".to_vec()), "version {version}");
        let read = pb::SnapshotRead { ranges: vec![get(&key)] };
        let output: pb::SnapshotReadOutput = session.call("snapshot_read", &read).await?.message()?;
        assert!(output.read_is_strongly_consistent && !output.read_disabled && output.status == 1);
    }
    Ok(())
}

#[tokio::test]
async fn the_answer_is_what_each_client_wants() -> TestResult {
    let server = Server::start().await?;
    let answer = exchange(&server, r#"{"supportedVersions":[1,2,3]}"#).await?;
    assert_eq!(answer.headers["content-type"], "application/json");
    let json = answer.json()?;
    let endpoints = serde_json::json!([
        {"url": "/v2", "consistency": "strong"},
        {"url": "/v2/eventual", "consistency": "eventual"},
    ]);
    assert_eq!(json["endpoints"], endpoints);
    let expires: jiff::Timestamp = json["expiresAt"].as_str().context("no expiry")?.parse()?;
    let left = expires.as_millisecond() - i64::try_from(server.clock.now_ms())?;
    assert!((86_398_000..=86_400_000).contains(&left), "{left} ms");
    let json = exchange(&server, "").await?.json()?;
    assert_eq!(json["version"], 1);
    assert_eq!(json["endpoints"][0]["url"], format!("http://{}/v2", server.addr));
    Ok(())
}

#[tokio::test]
async fn a_wrong_exchange_is_refused_in_words() -> TestResult {
    let server = Server::start().await?;
    let ask = async |headers: &[(&str, &str)], body: &'static str| {
        call(&server, Method::POST, "/", headers, body).await
    };
    let versions = r#"{"supportedVersions":[3]}"#;
    let bearer = format!("Bearer {TOKEN}");
    ask(&[], versions).await?.refused(401, "Malformed authorization header.")?;
    ask(&[("authorization", TOKEN)], versions).await?.refused(401, "Malformed authorization header.")?;
    ask(&[("authorization", "Bearer not-the-token")], versions)
        .await?
        .refused(401, "Invalid access token.")?;
    let valid = [("authorization", bearer.as_str())];
    ask(&valid, r#"{"supportedVersions":[4]}"#).await?.refused(
        400,
        "The server could not negotiate a protocol version. The server requires protocol version 1, 2 or 3.",
    )?;
    ask(&valid, "{").await?.refused(
        400,
        "The metadata request is invalid: expected JSON such as {\"supportedVersions\":[1,2,3]}.",
    )?;
    Ok(())
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() -> TestResult {
    let server = Server::start().await?;
    for path in ["/v2", "/v2/", "/v2/snapshot_read/", "/v3/watch", "/index.html", "//"] {
        call(&server, Method::POST, path, &[], "").await?.refused(404, "Resource not found.")?;
    }
    for (method, path, allow) in [
        (Method::GET, "/", "POST"),
        (Method::PUT, "/v2/atomic_write", "POST"),
        (Method::POST, "/healthz", "GET"),
    ] {
        let answer = call(&server, method, path, &[], "").await?;
        answer.refused(405, "Method not allowed.")?;
        assert_eq!(answer.headers["allow"], allow);
    }
    Ok(())
}

#[tokio::test]
async fn the_data_path_wants_its_own_token_a_version_and_the_database() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    for method in ["snapshot_read", "atomic_write", "watch"] {
        let refused =
            async |session: Session, status, text| session.bytes(method, "").await?.refused(status, text);
        let access = format!("Bearer {TOKEN}");
        refused(session.with("authorization", Some(&access)), 401, "Invalid access token.").await?;
        refused(session.with("authorization", None), 401, "Malformed authorization header.").await?;
        for version in [None, Some("4"), Some("03"), Some("")] {
            let other = session.with("x-denokv-version", version);
            refused(other, 400, "Expected protocol version 1, 2 or 3.").await?;
        }
        for id in [None, Some("nonsense"), Some("00000000-0000-0000-0000-000000000000")] {
            refused(session.with("x-denokv-database-id", id), 400, "Invalid database id.").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_data_path_token_expires_and_a_new_exchange_helps() -> TestResult {
    let server = Server::start().await?;
    let session = Session::open(&server, 3).await?;
    server.clock.advance(TOKEN_LIFE_MS);
    session.bytes("snapshot_read", "").await?.refused(401, "Invalid access token.")?;
    assert_eq!(Session::open(&server, 3).await?.get(b"k").await?, None);
    Ok(())
}
