//! From the URL of an archive to its store.
//!
//! - `file:///absolute/path`: a directory.
//! - `s3://bucket/prefix?endpoint=...&region=...&path_style=true`: a bucket. Credentials come from
//!   the environment only, so that a URL can be shown and logged.

use super::local::Local;
use super::retry::{Prefixed, Retrying};
use super::s3::{S3, Settings};
use super::{Error, ObjectStore, Result, check_name};
use std::path::PathBuf;
use std::sync::Arc;

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory, as an absolute path.
    File(PathBuf),
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// Put before every name; empty or ending with a slash.
        prefix: String,
        /// `endpoint`: the server, when it is not AWS.
        endpoint: Option<String>,
        /// `region`.
        region: Option<String>,
        /// `path_style`: whether the bucket stands in the path and not in the host name.
        path_style: Option<bool>,
    },
}

fn wrong<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Url { reason: reason.into() })
}

/// Opens the store at a URL, with bounded retries. Sends no request.
///
/// # Errors
///
/// [`Error::Url`] saying what is wrong with the URL or which credential is missing.
pub fn open(url: &str) -> Result<Arc<dyn ObjectStore>> {
    match parse(url)? {
        Location::File(root) => Ok(Arc::new(Retrying::new(Arc::new(Local::new(root))))),
        Location::S3 { bucket, prefix, endpoint, region, path_style } => {
            let settings = Settings::from_environment(bucket, endpoint, region, path_style)?;
            let store = Retrying::new(Arc::new(S3::new(settings)));
            Ok(Arc::new(Prefixed::new(Arc::new(store), prefix)))
        }
    }
}

/// Reads a URL.
///
/// # Errors
///
/// [`Error::Url`] saying what is wrong and what would be right.
pub fn parse(url: &str) -> Result<Location> {
    match url.split_once("://") {
        Some(("file", rest)) => parse_file(url, rest),
        Some(("s3", rest)) => parse_s3(url, rest),
        Some((scheme, _)) => {
            wrong(format!("archive URL {url}: scheme {scheme} is unknown; file:// and s3:// are known"))
        }
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
    let path = decode(url, path)?;
    if path.trim_matches('/').is_empty() || path.split('/').any(|part| part == "..") {
        return wrong(format!("archive URL {url}: give a directory below the root, without .."));
    }
    Ok(Location::File(PathBuf::from(path)))
}

fn parse_s3(url: &str, rest: &str) -> Result<Location> {
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let bucket_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(bucket_byte) {
        return wrong(format!(
            "archive URL {url}: a bucket has 3 to 63 characters of a-z, 0-9, dot and dash"
        ));
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && check_name(prefix).is_err() {
        return wrong(format!(
            "archive URL {url}: the prefix may have letters, digits, dot, dash, underscore, /"
        ));
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let (mut endpoint, mut region, mut path_style) = (None, None, None);
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(url, value)?;
        match key {
            "endpoint" if value.starts_with("http://") || value.starts_with("https://") => {
                endpoint = Some(value)
            }
            "endpoint" => {
                return wrong(format!("archive URL {url}: endpoint must start with http:// or https://"));
            }
            "region" if !value.is_empty() => region = Some(value),
            "region" => return wrong(format!("archive URL {url}: region is empty")),
            "path_style" if value == "true" || value == "false" => path_style = Some(value == "true"),
            "path_style" => return wrong(format!("archive URL {url}: path_style is true or false")),
            _ => {
                return wrong(format!(
                    "archive URL {url}: parameter {key} is unknown; endpoint, region and path_style are known"
                ));
            }
        }
    }
    Ok(Location::S3 { bucket: bucket.to_owned(), prefix, endpoint, region, path_style })
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
    fn urls_name_directories_and_buckets() -> TestResult {
        assert_eq!(parse("file:///a/b%20c")?, Location::File(PathBuf::from("/a/b c")));
        assert_eq!(parse("file://localhost/a")?, Location::File(PathBuf::from("/a")));
        let plain = parse("s3://bucket")?;
        assert!(matches!(&plain, Location::S3 { prefix, .. } if prefix.is_empty()), "{plain:?}");
        let full = parse("s3://bucket/p/q/?endpoint=http://127.0.0.1:9000&region=eu-1&path_style=true")?;
        let expected = Location::S3 {
            bucket: "bucket".to_owned(),
            prefix: "p/q/".to_owned(),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            region: Some("eu-1".to_owned()),
            path_style: Some(true),
        };
        assert_eq!(full, expected);
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
            ("s3://", "bucket"),
            ("s3://UPPER/p", "bucket"),
            ("s3://bucket/../x", "prefix"),
            ("s3://bucket?endpoint=ftp://x", "endpoint"),
            ("s3://bucket?path_style=1", "path_style"),
            ("s3://bucket?secret=1", "secret"),
        ];
        for (url, word) in cases {
            let said = parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(word) && !said.contains('\n'), "{url}: {said}");
        }
    }
}
