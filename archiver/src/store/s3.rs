//! A store in an S3 bucket, through the AWS SDK.
//!
//! - An object is one PutObject with its length known and its payload signed: it is there whole or
//!   not at all. Conditional writes are not relied on, because servers differ in what they do.
//! - Checksum trailers are sent only when an operation demands them: other servers than AWS's refuse them.
//! - The SDK's own retries are off: [`super::retry`] is the one place for them.
//! - How objects are kept (encryption, class, tags, lock) is said with every object: see [`options`].

pub mod credentials;
pub mod options;
mod settings;
pub mod smooth;
#[cfg(test)]
mod tests;

pub use credentials::Credentials;
pub use options::Options;
pub use settings::{Place, Settings};

use super::{Error, Object, ObjectStore, PAGE_OBJECTS_MAX, Page, Result, Tag, Upload, check_name};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};
use options::stored_as;
use smooth::Smooth;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take, its body included: 64 MiB at 0.5 MiB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(128);

/// A store in an S3 bucket.
#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    bucket: String,
    endpoint: Option<String>,
    options: Arc<Options>,
}

impl S3 {
    /// The store in the bucket. Sends no request.
    pub fn new(settings: Settings) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(REQUEST_TIMEOUT)
            .build();
        let region = Region::new(settings.region);
        let credentials = settings.credentials.provider(http.clone(), region.clone());
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(SharedHttpClient::new(Smooth(http)))
            .credentials_provider(credentials)
            .region(region)
            .force_path_style(settings.path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let client = Client::from_conf(config.build());
        let options = Arc::new(settings.options);
        Self { client, bucket: settings.bucket, endpoint: settings.endpoint, options }
    }

    /// Sorts an error of the SDK by what the caller does next.
    fn sort<E>(&self, action: String, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let code = error.code().unwrap_or_default();
        let later = matches!(code, "SlowDown" | "RequestTimeout" | "Throttling" | "ThrottlingException");
        let no_answer = matches!(
            error,
            SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_)
        );
        let transient = no_answer || later || status >= 500 || matches!(status, 408 | 429);
        let location = self.location();
        let unsupported = code == "NotImplemented" || status == 501;
        let source: Arc<dyn std::error::Error + Send + Sync> = match error.message() {
            Some(message) => Arc::new(Answer { status, code: code.to_owned(), message: message.to_owned() }),
            None => Arc::new(error),
        };
        if unsupported {
            return Error::Unsupported { action, location };
        }
        if transient {
            Error::Unreachable { action, location, source }
        } else {
            Error::Refused { action, location, source }
        }
    }

    /// An error about an upload, which may be gone.
    fn sort_upload<E>(&self, action: String, upload: &Upload, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if error.code() == Some("NoSuchUpload") {
            Error::NoUpload { name: upload.name.clone(), location: self.location() }
        } else {
            self.sort(action, error)
        }
    }

    /// An error about an object, which may be absent.
    fn sort_get(&self, name: &str, error: SdkError<GetObjectError>) -> Error {
        if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) {
            Error::NotFound { name: name.to_owned(), location: self.location() }
        } else {
            self.sort(format!("read {name}"), error)
        }
    }

    fn cut_short(&self, name: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        let (action, location) = (format!("read {name}"), self.location());
        Error::Unreachable { action, location, source: Arc::new(source) }
    }
}

/// What the server said, in one line.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status} {code}: {message}{}", self.advice())]
struct Answer {
    status: u16,
    code: String,
    message: String,
}

impl Answer {
    /// What to do about it, where that is known.
    fn advice(&self) -> &'static str {
        match (self.code.as_str(), self.status) {
            ("NoSuchBucket", _) => " Make the bucket, or name another.",
            (_, 401 | 403) => {
                " Look at the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and at what they may do."
            }
            _ => "",
        }
    }
}

#[async_trait]
impl ObjectStore for S3 {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        check_name(name)?;
        let request = self.client.put_object().bucket(&self.bucket).key(name);
        let request = stored_as!(request, self.options).set_content_md5(self.options.content_md5(&bytes));
        let digested = smooth::digested(&bytes).await;
        let request = request.body(ByteStream::from(bytes));
        let sent = match digested {
            Some(digested) => request.customize().interceptor(digested).send().await,
            None => request.send().await,
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(self.sort(format!("write {name}"), error)),
        }
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        check_name(name)?;
        let request = self.client.get_object().bucket(&self.bucket).key(name);
        let response = match self.options.read_with(request).send().await {
            Ok(response) => response,
            Err(error) => return Err(self.sort_get(name, error)),
        };
        let too_large = || Error::TooLarge { name: name.to_owned(), len_max };
        let announced = response.content_length().and_then(|len| u64::try_from(len).ok()).unwrap_or(0);
        if announced > len_max {
            return Err(too_large());
        }
        let mut body = response.body;
        let mut bytes = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|source| self.cut_short(name, source))?;
            if bytes.len() as u64 + chunk.len() as u64 > len_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        check_name(name)?;
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
            return Ok(Bytes::new());
        };
        let request = self.client.get_object().bucket(&self.bucket).key(name);
        let request = request.range(format!("bytes={}-{last}", range.start));
        let response = match self.options.read_with(request).send().await {
            Ok(response) => response,
            // The object ends before.
            Err(error) if error.raw_response().is_some_and(|r| r.status().as_u16() == 416) => {
                return Ok(Bytes::new());
            }
            Err(error) => return Err(self.sort_get(name, error)),
        };
        // A server that does not know ranges sends the whole object.
        let mut skip = if response.content_range().is_some() { 0 } else { range.start };
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut body = response.body;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|source| self.cut_short(name, source))?;
            let skipped = usize::try_from(skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            skip -= skipped as u64;
            chunk = chunk.slice(skipped..);
            bytes.extend_from_slice(&chunk[..chunk.len().min(wanted - bytes.len())]);
            if bytes.len() == wanted {
                break;
            }
        }
        Ok(bytes.freeze())
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        check_name(name)?;
        let request = self.client.put_object().bucket(&self.bucket).key(name).if_none_match("*");
        let request = stored_as!(request, self.options).set_content_md5(self.options.content_md5(&bytes));
        match request.body(ByteStream::from(bytes)).send().await {
            Ok(_) => Ok(true),
            // 409: another conditional write of the same name is under way.
            Err(error) if error.raw_response().is_some_and(|r| matches!(r.status().as_u16(), 409 | 412)) => {
                Ok(false)
            }
            Err(error) => Err(self.sort(format!("create {name}"), error)),
        }
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        check_name(name)?;
        let action = || format!("begin {name} in parts");
        let unsupported = || Error::Unsupported { action: action(), location: self.location() };
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(name);
        let response = match stored_as!(request, self.options).send().await {
            Ok(response) => response,
            // It said yes in words that are not those of S3 (rclone serve s3).
            Err(error) if error.raw_response().is_some_and(|response| response.status().is_success()) => {
                return Err(unsupported());
            }
            Err(error) => return Err(self.sort(format!("begin {name}"), error)),
        };
        let id = response.upload_id.ok_or_else(unsupported)?;
        Ok(Upload { name: name.to_owned(), id, part_bytes })
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        let action = format!("write part {number} of {}", upload.name);
        let key = self.options.customer_key();
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(&upload.name)
            .upload_id(&upload.id)
            .part_number(i32::try_from(number).unwrap_or(i32::MAX))
            .set_sse_customer_algorithm(key.map(|_| options::CUSTOMER_ALGORITHM.to_owned()))
            .set_sse_customer_key(key.map(|key| key.base64.clone()))
            .set_sse_customer_key_md5(key.map(|key| key.md5.clone()))
            .set_content_md5(self.options.content_md5(&bytes));
        match request.body(ByteStream::from(bytes)).send().await {
            Ok(response) => match response.e_tag {
                Some(tag) => Ok(Tag(tag)),
                None => Err(Error::Unsupported { action, location: self.location() }),
            },
            Err(error) => Err(self.sort_upload(action, upload, error)),
        }
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        let part = |(number, tag): (i32, &Tag)| {
            CompletedPart::builder().part_number(number).e_tag(tag.0.clone()).build()
        };
        let parts = (1..).zip(tags).map(part).collect();
        let key = self.options.customer_key();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.name)
            .upload_id(&upload.id)
            .set_sse_customer_algorithm(key.map(|_| options::CUSTOMER_ALGORITHM.to_owned()))
            .set_sse_customer_key(key.map(|key| key.base64.clone()))
            .set_sse_customer_key_md5(key.map(|key| key.md5.clone()))
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.sort_upload(format!("complete {}", upload.name), upload, error)),
        }
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(&upload.name);
        match request.upload_id(&upload.id).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
            Err(error) => Err(self.sort(format!("give up {}", upload.name), error)),
        }
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_start_after(start_after.map(str::to_owned))
            .max_keys(i32::try_from(PAGE_OBJECTS_MAX).unwrap_or(i32::MAX));
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.sort(format!("list {prefix}"), error)),
        };
        let mut page = Page { objects: Vec::new(), more: response.is_truncated().unwrap_or(false) };
        for object in response.contents() {
            let Some(name) = object.key() else { continue };
            let modified_ms = object.last_modified().and_then(|time| time.to_millis().ok()).unwrap_or(0);
            page.objects.push(Object {
                name: name.to_owned(),
                bytes: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                modified_ms: u64::try_from(modified_ms).unwrap_or(0),
            });
        }
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        match self.client.delete_object().bucket(&self.bucket).key(name).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(self.sort(format!("remove {name}"), error)),
        }
    }

    fn location(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}/{}", endpoint.trim_end_matches('/'), self.bucket),
            None => format!("s3://{}", self.bucket),
        }
    }
}
