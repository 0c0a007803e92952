//! From the URL of an archive to its store.
//!
//! - `file:///absolute/path`: a directory.
//! - `s3://bucket/prefix?parameter=value&...`: a bucket, with the parameters below.
//! - `sftp://user@host:port/absolute/path?key=FILE&known_hosts=FILE`: a directory of another machine. Host and user are what
//!   `ssh` makes of them; `key` is a private key file and `known_hosts` the file of known hosts, both absolute paths.
//!   `CAIRN_SSH` names another program than `ssh`.
//! - `rclone:///remote:path`: a directory of any cloud that rclone knows, through a remote control that is started for it
//!   (`CAIRN_RCLONE` names another program than `rclone`); `rclone://host:port/remote:path`: through one that runs already
//!   with `--rc-serve`, as `CAIRN_RCLONE_USER` with `CAIRN_RCLONE_PASSWORD`.
//!
//! No secret stands in a URL, so that it can be shown and logged.
//!
//! | parameter of s3:// | means | default |
//! |---|---|---|
//! | `endpoint` | the server, as `http://host:port` or `https://host` | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, then AWS's |
//! | `region` | the region | `AWS_REGION`, `AWS_DEFAULT_REGION`, then us-east-1 |
//! | `path_style` | `true`: the bucket stands in the path; `false`: in the host name | `true` with an endpoint |
//! | `credentials` | `environment`: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`; `chain`: what AWS's tools find: those, the default profile, a web identity token, a container's role, the instance's role | `environment` |
//! | `profile` | the profile of `~/.aws/config` and `~/.aws/credentials` to take credentials from | none |
//! | `sse` | how the server encrypts: `AES256`, `aws:kms`, or `customer` (SSE-C) | the bucket's default |
//! | `sse_kms_key_id` | with `sse=aws:kms`: the key | the account's default |
//! | `sse_key_file` | with `sse=customer`: an absolute path to a file of 32 bytes, the key | |
//! | `storage_class` | such as `STANDARD_IA`; not one that has to be thawed before it can be read | the bucket's default |
//! | `tag` | `key:value`, at most ten times | none |
//! | `lock` | `governance` or `compliance`: objects cannot be removed for `lock_days` (the bucket must have Object Lock) | none |
//! | `lock_days` | for how many days | |
//!
//! [`emulated::LATENCY_VARIABLE`] and [`emulated::BANDWIDTH_VARIABLE`] put any of them behind an emulated link.

mod rclone;
mod s3;
mod sftp;

use super::counted::Counted;
#[cfg(doc)]
use super::emulated;
use super::emulated::{Emulated, Link};
use super::local::Local;
use super::prefixed::Prefixed;
use super::rclone::{Rclone, Server};
use super::retry::Retrying;
use super::s3::{Place, S3, Settings};
use super::sftp::{Host, Sftp};
use super::{Error, ObjectStore, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory, as an absolute path.
    File(PathBuf),
    /// A bucket.
    S3(Box<Place>),
    /// A directory of what rclone knows.
    Rclone {
        /// The remote control.
        server: Server,
        /// The directory, as rclone names it.
        remote: String,
    },
    /// A directory over SFTP.
    Sftp {
        /// The server.
        host: Host,
        /// The directory, as an absolute path.
        root: String,
    },
}

fn wrong<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Url { reason: reason.into() })
}

/// Opens the store at a URL, with bounded retries; what is asked of it is counted. Sends no request.
///
/// # Errors
///
/// [`Error::Url`] saying what is wrong with the URL or which credential is missing.
pub fn open(url: &str) -> Result<Arc<dyn ObjectStore>> {
    match parse(url)? {
        Location::File(root) => open_local(root),
        Location::Rclone { server, remote } => wrapped(Arc::new(Rclone::new(server, &remote))),
        Location::Sftp { host, root } => wrapped(Arc::new(Sftp::new(host, &root))),
        Location::S3(place) => {
            let prefix = place.prefix.clone();
            let store = wrapped(Arc::new(S3::new(Settings::from_environment(*place)?)))?;
            Ok(Arc::new(Prefixed::new(store, prefix)))
        }
    }
}

/// Opens the store in a directory, an absolute path, as [`open`] does.
///
/// # Errors
///
/// [`Error::Url`] when the environment asks for a link that cannot be.
pub fn open_local(root: PathBuf) -> Result<Arc<dyn ObjectStore>> {
    wrapped(Arc::new(Local::new(root)))
}

/// What stands around every store: retries around counting around the emulated link.
fn wrapped(store: Arc<dyn ObjectStore>) -> Result<Arc<dyn ObjectStore>> {
    let store = match Link::from_environment()? {
        Some(link) => Arc::new(Emulated::new(store, link)),
        None => store,
    };
    Ok(Arc::new(Retrying::new(Arc::new(Counted::new(store)))))
}

/// Reads a URL.
///
/// # Errors
///
/// [`Error::Url`] saying what is wrong and what would be right.
pub fn parse(url: &str) -> Result<Location> {
    match url.split_once("://") {
        Some(("file", rest)) => parse_file(url, rest),
        Some(("s3", rest)) => s3::parse(url, rest).map(|place| Location::S3(Box::new(place))),
        Some(("sftp", rest)) => sftp::parse(url, rest),
        Some(("rclone", rest)) => rclone::parse(url, rest),
        Some((scheme, _)) => wrong(format!(
            "archive URL {url}: scheme {scheme} is unknown; file://, s3://, sftp:// and rclone:// are known"
        )),
        None => wrong(format!(
            "archive {url} is not a URL; for a directory write file:///absolute/path, for a bucket s3://bucket/prefix"
        )),
    }
}

fn parse_file(url: &str, rest: &str) -> Result<Location> {
    if rest.contains(['?', '#']) {
        return wrong(format!("archive URL {url}: a file:// URL takes no parameters"));
    }
    let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
    if !path.starts_with('/') {
        return wrong(format!(
            "archive URL {url}: the path must be absolute, as in file:///var/backups/cairn"
        ));
    }
    Ok(Location::File(PathBuf::from(directory(url, path)?)))
}

/// An absolute path below the root, decoded.
fn directory(url: &str, path: &str) -> Result<String> {
    let path = decode(url, path)?;
    if path.trim_matches('/').is_empty() || path.split('/').any(|part| part == "..") {
        return wrong(format!("archive URL {url}: give a directory below the root, without .."));
    }
    Ok(path)
}

/// The parameters of a URL, decoded, in their order.
fn parameters(url: &str, query: Option<&str>) -> Result<Vec<(String, String)>> {
    let pairs = query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(url, key)?, decode(url, value)?))
    });
    decoded.collect()
}

fn decode(url: &str, text: &str) -> Result<String> {
    let bad =
        || Error::Url { reason: format!("archive URL {url}: % must be followed by two hexadecimal digits") };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit =
            |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let (high, low) = (digit(rest.next()).ok_or_else(bad)?, digit(rest.next()).ok_or_else(bad)?);
        bytes.push(high << 4 | low);
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => wrong(format!("archive URL {url}: it is not UTF-8 text once decoded")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn urls_name_directories() -> TestResult {
        assert_eq!(parse("file:///a/b%20c")?, Location::File(PathBuf::from("/a/b c")));
        assert_eq!(parse("file://localhost/a")?, Location::File(PathBuf::from("/a")));
        Ok(())
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        let cases = [
            ("/var/backups", "file:///"),
            ("backups", "file:///"),
            ("file://backups", "absolute"),
            ("file:///", "below the root"),
            ("file:///a/../b", ".."),
            ("file:///a?x=1", "no parameters"),
            ("file:///a%2", "%"),
            ("http://a/b", "http"),
        ];
        for (url, word) in cases {
            let said = parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(word) && !said.contains('\n'), "{url}: {said}");
        }
    }
}
