//! One HTTP/1.1 request on one connection, for the few places that need no client.

use super::{PATIENCE, TestResult};
use anyhow::Context;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The head, as it came.
    pub(crate) head: String,
    /// The body, as text; a chunked one keeps its chunk sizes.
    pub(crate) body: String,
}

/// Sends a GET.
pub(crate) fn get(address: &str, path: &str) -> TestResult<Answer> {
    send(address, "GET", path, &[], b"")
}

/// Sends a request and reads the answer to its end.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TestResult<Answer> {
    send_within(PATIENCE, address, method, path, headers, body)
}

/// The same, within a bound for each step.
pub(crate) fn send_within(
    within: Duration,
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TestResult<Answer> {
    let mut stream = TcpStream::connect_timeout(&address.parse()?, within)?;
    stream.set_read_timeout(Some(within))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(request.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has a head")?;
    let status = head.split(' ').nth(1).context("the answer has a status")?.parse()?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
