//! How a bucket keeps objects: encryption, storage class, tags, lock.
//!
//! All of it is said with every PutObject and with the beginning of every multipart upload; a key of the customer's
//! (SSE-C) also with every part and every read.

use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockMode, ServerSideEncryption, StorageClass};
use engine::env::{Clock, SystemClock};
use md5::{Digest, Md5};
use std::fmt;

/// The one algorithm of keys of the customer's.
pub(super) const CUSTOMER_ALGORITHM: &str = "AES256";
/// The length of a customer's key, in bytes.
pub(crate) const CUSTOMER_KEY_LEN: usize = 32;
const DAY_MS: i64 = 24 * 3_600_000;

/// How objects are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// How the server encrypts them; its own default otherwise.
    pub encryption: Option<Encryption>,
    /// Their class; the bucket's default otherwise.
    pub storage_class: Option<String>,
    /// Their tags, as pairs of key and value.
    pub tags: Vec<(String, String)>,
    /// What keeps them from being removed.
    pub lock: Option<Lock>,
}

/// How the server encrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With its own key (SSE-S3).
    Aes256,
    /// With a key of its key service (SSE-KMS).
    Kms {
        /// The key; the account's default otherwise.
        key_id: Option<String>,
    },
    /// With a key that comes with each request (SSE-C).
    Customer(CustomerKey),
}

/// A key of the customer's; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerKey {
    pub(super) base64: String,
    pub(super) md5: String,
}

impl CustomerKey {
    /// From its bytes.
    pub fn new(key: &[u8; CUSTOMER_KEY_LEN]) -> Self {
        Self { base64: base64(key), md5: base64(&Md5::digest(key)) }
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey")
    }
}

/// What keeps objects from being removed (S3 Object Lock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Whether nobody at all may remove them (`compliance`), or those with a special right may (`governance`).
    pub compliance: bool,
    /// For how long, from when they are written.
    pub days: u32,
}

fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// Percent-encodes what is not plain in a tag.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

impl Options {
    pub(super) fn server_side_encryption(&self) -> Option<ServerSideEncryption> {
        match self.encryption {
            Some(Encryption::Aes256) => Some(ServerSideEncryption::Aes256),
            Some(Encryption::Kms { .. }) => Some(ServerSideEncryption::AwsKms),
            Some(Encryption::Customer(_)) | None => None,
        }
    }

    pub(super) fn kms_key_id(&self) -> Option<String> {
        match &self.encryption {
            Some(Encryption::Kms { key_id }) => key_id.clone(),
            _ => None,
        }
    }

    pub(super) const fn customer_key(&self) -> Option<&CustomerKey> {
        match &self.encryption {
            Some(Encryption::Customer(key)) => Some(key),
            _ => None,
        }
    }

    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.storage_class.as_deref().map(StorageClass::from)
    }

    pub(super) fn tagging(&self) -> Option<String> {
        let pairs: Vec<String> =
            self.tags.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
        (!pairs.is_empty()).then(|| pairs.join("&"))
    }

    pub(super) fn lock_mode(&self) -> Option<ObjectLockMode> {
        self.lock.map(
            |lock| {
                if lock.compliance { ObjectLockMode::Compliance } else { ObjectLockMode::Governance }
            },
        )
    }

    pub(super) fn locked_until(&self) -> Option<DateTime> {
        let now_ms = i64::try_from(SystemClock.now_ms()).unwrap_or(i64::MAX);
        let until_ms = |lock: Lock| now_ms.saturating_add(i64::from(lock.days) * DAY_MS);
        self.lock.map(|lock| DateTime::from_millis(until_ms(lock)))
    }

    /// The checksum that a bucket with locks wants of every upload.
    pub(super) fn content_md5(&self, bytes: &[u8]) -> Option<String> {
        self.lock.map(|_| base64(&Md5::digest(bytes)))
    }

    /// Adds what reading needs.
    pub(super) fn read_with(&self, request: GetObjectFluentBuilder) -> GetObjectFluentBuilder {
        match self.customer_key() {
            None => request,
            Some(key) => request
                .sse_customer_algorithm(CUSTOMER_ALGORITHM)
                .sse_customer_key(&key.base64)
                .sse_customer_key_md5(&key.md5),
        }
    }
}

/// Says how an object is kept, to a request that begins one: PutObject or CreateMultipartUpload.
macro_rules! stored_as {
    ($request:expr, $options:expr) => {{
        let options = &$options;
        let key = options.customer_key();
        $request
            .set_server_side_encryption(options.server_side_encryption())
            .set_ssekms_key_id(options.kms_key_id())
            .set_sse_customer_algorithm(key.map(|_| options::CUSTOMER_ALGORITHM.to_owned()))
            .set_sse_customer_key(key.map(|key| key.base64.clone()))
            .set_sse_customer_key_md5(key.map(|key| key.md5.clone()))
            .set_storage_class(options.storage_class())
            .set_tagging(options.tagging())
            .set_object_lock_mode(options.lock_mode())
            .set_object_lock_retain_until_date(options.locked_until())
    }};
}
pub(super) use stored_as;
