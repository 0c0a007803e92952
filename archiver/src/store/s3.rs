//! A store in an S3 bucket, through the AWS SDK.
//!
//! - An object is one PutObject with its length known and its payload signed: it is there whole or
//!   not at all. Conditional writes are not relied on, because servers differ in what they do.
//! - Checksum trailers are sent only when an operation demands them: other servers than AWS's refuse them.
//! - The SDK's own retries are off: [`super::retry`] is the one place for them.

use super::{Error, Object, ObjectStore, PAGE_OBJECTS_MAX, Page, Result, check_name};
use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take, its body included: 64 MiB at 0.5 MiB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(128);
const DEFAULT_REGION: &str = "us-east-1";

/// How to reach a bucket.
#[derive(Clone)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// The server, when it is not AWS's.
    pub endpoint: Option<String>,
    /// The region; AWS's first one unless told.
    pub region: String,
    /// Whether the bucket stands in the path and not in the host name.
    pub path_style: bool,
    /// AWS_ACCESS_KEY_ID.
    pub access_key: String,
    /// AWS_SECRET_ACCESS_KEY; never shown.
    pub secret_key: String,
    /// AWS_SESSION_TOKEN; never shown.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("bucket", &self.bucket)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Settings {
    /// Adds what the environment says to what the URL said. The URL wins. The bucket stands in the
    /// path when there is an endpoint, unless the URL says otherwise: few servers of one's own
    /// have a name for each bucket.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] when there are no credentials.
    pub fn from_environment(
        bucket: String,
        endpoint: Option<String>,
        region: Option<String>,
        path_style: Option<bool>,
    ) -> Result<Self> {
        let wanted = |name: &str| {
            let reason = format!("archive s3://{bucket}: the environment variable {name} is not set");
            variable(name).ok_or(Error::Url { reason })
        };
        let (access_key, secret_key) = (wanted("AWS_ACCESS_KEY_ID")?, wanted("AWS_SECRET_ACCESS_KEY")?);
        let from_environment = || variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        let region_from_environment = || variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let endpoint = endpoint.or_else(from_environment);
        Ok(Self {
            path_style: path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            region: region.or_else(region_from_environment).unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            access_key,
            secret_key,
            session_token: variable("AWS_SESSION_TOKEN"),
            bucket,
        })
    }
}

/// A store in an S3 bucket.
#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    bucket: String,
    endpoint: Option<String>,
}

impl S3 {
    /// The store in the bucket. Sends no request.
    pub fn new(settings: Settings) -> Self {
        let credentials = Credentials::new(
            settings.access_key,
            settings.secret_key,
            settings.session_token,
            None,
            "environment",
        );
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(REQUEST_TIMEOUT)
            .build();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .credentials_provider(credentials)
            .region(Region::new(settings.region))
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
        Self { client, bucket: settings.bucket, endpoint: settings.endpoint }
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
        let source: Arc<dyn std::error::Error + Send + Sync> = match error.message() {
            Some(message) => Arc::new(Answer { status, code: code.to_owned(), message: message.to_owned() }),
            None => Arc::new(error),
        };
        if transient {
            Error::Unreachable { action, location, source }
        } else {
            Error::Refused { action, location, source }
        }
    }
}

/// What the server said, in one line.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status} {code}: {message}")]
struct Answer {
    status: u16,
    code: String,
    message: String,
}

#[async_trait]
impl ObjectStore for S3 {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        check_name(name)?;
        let request = self.client.put_object().bucket(&self.bucket).key(name).body(ByteStream::from(bytes));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.sort(format!("write {name}"), error)),
        }
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        check_name(name)?;
        let action = || format!("read {name}");
        let response = match self.client.get_object().bucket(&self.bucket).key(name).send().await {
            Ok(response) => response,
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => {
                return Err(Error::NotFound { name: name.to_owned(), location: self.location() });
            }
            Err(error) => return Err(self.sort(action(), error)),
        };
        let too_large = || Error::TooLarge { name: name.to_owned(), len_max };
        let announced = response.content_length().and_then(|len| u64::try_from(len).ok()).unwrap_or(0);
        if announced > len_max {
            return Err(too_large());
        }
        let mut body = response.body;
        let mut bytes = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|source| Error::Unreachable {
                action: action(),
                location: self.location(),
                source: Arc::new(source),
            })?;
            if bytes.len() as u64 + chunk.len() as u64 > len_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str) -> Settings {
        Settings {
            bucket: "bucket".to_owned(),
            endpoint: Some(endpoint.to_owned()),
            region: DEFAULT_REGION.to_owned(),
            path_style: true,
            access_key: "key".to_owned(),
            secret_key: "hush".to_owned(),
            session_token: None,
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = settings("http://127.0.0.1:1");
        assert!(!format!("{settings:?}{:?}", S3::new(settings.clone())).contains("hush"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_a_transient_error() -> Result<(), Box<dyn std::error::Error>> {
        // A port that was free a moment ago: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let store = S3::new(settings(&format!("http://127.0.0.1:{port}")));
        let error = store.put("a", Bytes::new()).await.err().ok_or("nobody answers there")?;
        assert!(error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("cannot write a in http://127.0.0.1"), "{error}");
        Ok(())
    }
}
