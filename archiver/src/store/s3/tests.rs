//! What is sent, seen by a server that writes it down.

use super::options::{CustomerKey, Encryption, Lock};
use super::*;
use crate::store::PART_BYTES_MIN;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A request: its method, path and headers.
#[derive(Debug, Clone, Default)]
struct Seen {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

type Record = Arc<Mutex<Vec<Seen>>>;

/// Answers everything as a bucket would that has what is asked for.
async fn answer(mut stream: TcpStream, record: Record) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        bytes.drain(..end + 4);
        while bytes.len() < len {
            stream.read_buf(&mut bytes).await?;
        }
        let sent: Vec<u8> = bytes.drain(..len).collect();
        let body = if path.ends_with("?uploads") || path.contains("?uploads&") {
            "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
        } else if method == "POST" {
            "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
        } else {
            "0123456789"
        };
        record.lock().expect("no test panics here").push(Seen { method, path, headers, body: sent });
        let len = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {len}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn server() -> Result<(String, Record), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let record = Record::default();
    let seen = Arc::clone(&record);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&seen)));
        }
    });
    Ok((endpoint, record))
}

fn settings(endpoint: &str, options: Options) -> Settings {
    Settings {
        bucket: "bucket".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".to_owned(),
        path_style: true,
        credentials: Credentials::Static {
            access_key: "key".to_owned(),
            secret_key: "hush".to_owned(),
            session_token: None,
        },
        options,
    }
}

/// What is seen of a put, a multipart upload, a read, and a removal.
async fn seen_with(options: Options) -> Result<Vec<Seen>, Box<dyn std::error::Error>> {
    let (endpoint, record) = server().await?;
    let store = S3::new(settings(&endpoint, options));
    store.put("a", Bytes::from_static(b"1")).await?;
    let upload = store.begin("b", PART_BYTES_MIN).await?;
    let tag = store.part(&upload, 1, Bytes::from_static(b"2")).await?;
    store.complete(&upload, &[tag]).await?;
    store.get("a", 10).await?;
    store.delete("a").await?;
    let seen = record.lock().expect("no test panics here").clone();
    assert_eq!(seen.len(), 6, "{seen:?}");
    Ok(seen)
}

const OBJECT_HEADERS: [&str; 9] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-object-lock-mode",
    "content-md5",
];

fn with(seen: &Seen) -> Vec<(&str, &str)> {
    OBJECT_HEADERS
        .iter()
        .filter_map(|name| seen.headers.get(*name).map(|value| (*name, value.as_str())))
        .collect()
}

#[tokio::test]
async fn nothing_is_said_that_was_not_asked_for() -> TestResult {
    for seen in seen_with(Options::default()).await? {
        assert_eq!(with(&seen), [], "{seen:?}");
        assert!(!seen.headers.contains_key("x-amz-trailer"), "{seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn puts_and_uploads_say_how_objects_are_kept() -> TestResult {
    let kms = Options {
        encryption: Some(Encryption::Kms { key_id: Some("k1".to_owned()) }),
        storage_class: Some("STANDARD_IA".to_owned()),
        tags: vec![("team".to_owned(), "a b&c".to_owned()), ("x".to_owned(), String::new())],
        lock: None,
    };
    let seen = seen_with(kms).await?;
    let expected = [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k1"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging", "team=a%20b%26c&x="),
    ];
    assert_eq!((with(&seen[0]), with(&seen[1])), (expected.to_vec(), expected.to_vec()));
    assert!(seen[2..].iter().all(|seen| with(seen).is_empty()), "{seen:?}");
    let own = seen_with(Options { encryption: Some(Encryption::Aes256), ..Options::default() }).await?;
    assert_eq!(with(&own[0]), [("x-amz-server-side-encryption", "AES256")]);
    Ok(())
}

#[tokio::test]
async fn a_key_of_the_customers_comes_with_every_request_but_the_removal() -> TestResult {
    let key = CustomerKey::new(&[7; 32]);
    let seen =
        seen_with(Options { encryption: Some(Encryption::Customer(key)), ..Options::default() }).await?;
    // 32 bytes of 7 and their MD5, as `openssl dgst -md5 -binary | base64` says.
    let expected = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="),
        ("x-amz-server-side-encryption-customer-key-md5", "y4HAEFCYWuvAXWFTtA1Qpg=="),
    ];
    for seen in &seen[..5] {
        assert_eq!(with(seen), expected, "{seen:?}");
    }
    assert_eq!((seen[5].method.as_str(), with(&seen[5])), ("DELETE", vec![]));
    Ok(())
}

#[tokio::test]
async fn a_lock_says_until_when_and_carries_a_checksum() -> TestResult {
    let lock = Some(Lock { compliance: true, days: 30 });
    let seen = seen_with(Options { lock, ..Options::default() }).await?;
    for (seen, until) in [(&seen[0], true), (&seen[1], true), (&seen[2], false)] {
        let date = seen.headers.get("x-amz-object-lock-retain-until-date");
        assert_eq!(date.is_some(), until, "{seen:?}");
        if let Some(date) = date {
            let until_ms = date.parse::<jiff::Timestamp>()?.as_millisecond();
            let now_ms = i64::try_from(engine::Env::real().clock.now_ms())?;
            let days = 30 * 24 * 3_600_000;
            assert!((now_ms + days - 60_000..=now_ms + days).contains(&until_ms), "{date}");
            assert_eq!(seen.headers.get("x-amz-object-lock-mode").map(String::as_str), Some("COMPLIANCE"));
        }
    }
    // The MD5 of "1" and of "2".
    assert_eq!(seen[0].headers.get("content-md5").map(String::as_str), Some("xMpCOKC5I4INzFCab3WEmw=="));
    assert_eq!(seen[2].headers.get("content-md5").map(String::as_str), Some("yB5yjZ1ML2NvBn+JzBSGLA=="));
    Ok(())
}

#[tokio::test]
async fn a_range_is_asked_for_and_cut_out_of_a_whole_answer() -> TestResult {
    let (endpoint, record) = server().await?;
    let store = S3::new(settings(&endpoint, Options::default()));
    // This server knows no ranges.
    assert_eq!(store.get_range("a", 3..6).await?, Bytes::from_static(b"345"));
    assert_eq!(store.get_range("a", 8..20).await?, Bytes::from_static(b"89"));
    assert_eq!(store.get_range("a", 20..30).await?, Bytes::new());
    let seen = record.lock().expect("no test panics here").clone();
    let ranges: Vec<_> = seen.iter().filter_map(|seen| seen.headers.get("range")).collect();
    assert_eq!(ranges, ["bytes=3-5", "bytes=8-19", "bytes=20-29"]);
    assert!(seen.iter().all(|seen| seen.path.starts_with("/bucket/a")), "{seen:?}");
    Ok(())
}

#[test]
fn secrets_are_not_shown() {
    let encryption = Some(Encryption::Customer(CustomerKey::new(&[7; 32])));
    let settings = settings("http://127.0.0.1:1", Options { encryption, ..Options::default() });
    let shown = format!("{settings:?}{:?}", S3::new(settings.clone()));
    assert!(!shown.contains("hush") && !shown.contains("BwcH"), "{shown}");
}

#[test]
fn a_missing_key_is_named() {
    let missing = |there: &'static [&'static str]| {
        Credentials::from_environment(|name| there.contains(&name).then(|| "x".to_owned())).err()
    };
    assert_eq!(missing(&[]), Some("AWS_ACCESS_KEY_ID"));
    assert_eq!(missing(&["AWS_ACCESS_KEY_ID"]), Some("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(missing(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]), None);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_transient_error() -> TestResult {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let store = S3::new(settings(&format!("http://127.0.0.1:{port}"), Options::default()));
    let error = store.put("a", Bytes::new()).await.err().ok_or("nobody answers there")?;
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("cannot write a in http://127.0.0.1"), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_is_sent_evenly_is_the_same_request() -> TestResult {
    let (endpoint, record) = server().await?;
    let store = S3::new(settings(&endpoint, Options::default()));
    let bytes = Bytes::from_iter((0..1_000_000_u32).map(|n| n.to_le_bytes()[1]));
    store.put("a", bytes.clone()).await?;
    smooth::at(1 << 30, store.put("a", bytes.clone())).await?;
    let seen = record.lock().expect("no test panics here").clone();
    let [whole, even] = seen.as_slice() else { return Err(format!("{} requests", seen.len()).into()) };
    assert!(whole.body == bytes && even.body == bytes, "{} bytes came", even.body.len());
    for name in ["content-length", "x-amz-content-sha256"] {
        assert!(even.headers.contains_key(name), "{:?}", even.headers);
        assert_eq!(whole.headers.get(name), even.headers.get(name), "{name}");
    }
    assert_eq!(even.headers["x-amz-content-sha256"].len(), 64, "its payload is signed");
    Ok(())
}
