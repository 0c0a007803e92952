//! The metadata exchange: which protocol version, which endpoints, which token.
//!
//! - The answer has exactly the fields of the protocol: `@deno/kv` refuses any other.
//! - Endpoints are relative, except for version 1, whose clients cannot resolve one.
//! - The strong endpoint comes first: Deno takes the first strong one for everything. `@deno/kv` reads eventually, and
//!   watches, at the first other one.
//! - A request without a body comes from a client that knows version 1 alone.

use super::auth::Auth;
use super::errors::Error;
use hyper::HeaderMap;
use hyper::header::HOST;
use hyper::http::uri::Authority;
use serde::{Deserialize, Serialize};

/// The path under which the data path of the default database is served; relative to the server's root.
pub const DATA_PATH: &str = "/v2";
/// What follows the path of the strong endpoint in that of the eventual one.
pub const EVENTUAL: &str = "/eventual";
/// The versions that are served, best first.
const VERSIONS: [u64; 3] = [3, 2, 1];

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "supportedVersions", default = "version_1_alone")]
    supported_versions: Vec<u64>,
}

fn version_1_alone() -> Vec<u64> {
    vec![1]
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    version: u64,
    database_id: String,
    endpoints: [Endpoint; 2],
    token: String,
    expires_at: String,
}

#[derive(Serialize)]
struct Endpoint {
    url: String,
    consistency: &'static str,
}

/// The highest version that a client offers and this server speaks.
///
/// # Errors
///
/// 400 when the body is not a metadata request, or offers nothing that is served.
pub fn negotiate(body: &[u8]) -> Result<u64, Error> {
    let offered = if body.is_empty() {
        version_1_alone()
    } else {
        let request: Request = serde_json::from_slice(body).map_err(|_malformed| Error::InvalidExchange)?;
        request.supported_versions
    };
    VERSIONS.into_iter().find(|version| offered.contains(version)).ok_or(Error::NoCommonVersion)
}

/// Answers a metadata request for the database that is served under `path` with JSON. `authority` is where the client
/// found us, if it said so.
///
/// # Errors
///
/// 401 without the access token; 400 when the request cannot be answered.
pub fn exchange(
    auth: &Auth,
    now_ms: u64,
    headers: &HeaderMap,
    authority: Option<&Authority>,
    path: &str,
    body: &[u8],
) -> Result<String, Error> {
    let version = negotiate(body)?;
    auth.check_access(headers)?;
    let url =
        if version == 1 { format!("http://{}{path}", host(headers, authority)?) } else { path.to_owned() };
    let (token, expires_ms) = auth.issue(now_ms);
    let answer = Answer {
        version,
        database_id: auth.database_id().to_string(),
        endpoints: [
            Endpoint { url: url.clone(), consistency: "strong" },
            Endpoint { url: url + EVENTUAL, consistency: "eventual" },
        ],
        token,
        expires_at: rfc3339(expires_ms),
    };
    Ok(serde_json::to_string(&answer).expect("strings and numbers are always JSON"))
}

fn host(headers: &HeaderMap, authority: Option<&Authority>) -> Result<Authority, Error> {
    let header = || headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let found = authority.cloned().or_else(header).ok_or(Error::HostMissing)?;
    // A user name in it would be sent on to whoever the client talks to next.
    if found.as_str().contains('@') { Err(Error::HostMissing) } else { Ok(found) }
}

/// A time in UTC, ending in `Z`.
fn rfc3339(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{AUTHORIZATION, HeaderValue};
    use uuid::Uuid;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn headers(host: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer access-token"));
        if let Some(host) = host {
            headers.insert(HOST, HeaderValue::from_static(host));
        }
        headers
    }

    fn answer(host: Option<&'static str>, body: &str) -> Result<String, Error> {
        let auth = Auth::new("access-token", Uuid::from_u128(1));
        exchange(&auth, 1_700_000_000_000, &headers(host), None, DATA_PATH, body.as_bytes())
    }

    #[test]
    fn the_highest_version_offered_is_spoken() {
        for (body, version) in [
            (r#"{"supportedVersions":[1,2,3]}"#, Ok(3)),
            (r#"{"supportedVersions":[2,1]}"#, Ok(2)),
            (r#"{"supportedVersions":[1]}"#, Ok(1)),
            (r#"{"supportedVersions":[9,3]}"#, Ok(3)),
            ("", Ok(1)),
            ("{}", Ok(1)),
            (r#"{"supportedVersions":[]}"#, Err(Error::NoCommonVersion)),
            (r#"{"supportedVersions":[4]}"#, Err(Error::NoCommonVersion)),
            ("[1", Err(Error::InvalidExchange)),
            (r#"{"supportedVersions":"3"}"#, Err(Error::InvalidExchange)),
        ] {
            assert_eq!(negotiate(body.as_bytes()), version, "{body}");
        }
    }

    #[test]
    fn the_answer_has_the_fields_of_the_protocol_and_no_other() -> TestResult {
        let json: serde_json::Value = serde_json::from_str(&answer(None, r#"{"supportedVersions":[3]}"#)?)?;
        let token = json["token"].as_str().ok_or("no token")?;
        let expected = serde_json::json!({
            "version": 3,
            "databaseId": "00000000-0000-0000-0000-000000000001",
            "endpoints": [
                {"url": "/v2", "consistency": "strong"},
                {"url": "/v2/eventual", "consistency": "eventual"},
            ],
            "token": token,
            "expiresAt": "2023-11-15T22:13:20Z",
        });
        assert_eq!(json, expected);
        Ok(())
    }

    #[test]
    fn version_1_gets_an_absolute_endpoint_or_is_told_what_is_missing() -> TestResult {
        let json: serde_json::Value = serde_json::from_str(&answer(Some("kv.example:4512"), "")?)?;
        assert_eq!(json["endpoints"][0]["url"], "http://kv.example:4512/v2");
        for host in [None, Some("not a host"), Some("user:secret@kv.example")] {
            assert_eq!(answer(host, ""), Err(Error::HostMissing), "{host:?}");
        }
        Ok(())
    }
}
