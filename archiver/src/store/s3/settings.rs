//! How to reach a bucket.

use super::{Credentials, Options};
use crate::store::{Error, Result};

const DEFAULT_REGION: &str = "us-east-1";

/// How to reach a bucket, and how its objects are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// The server, when it is not AWS's.
    pub endpoint: Option<String>,
    /// The region; AWS's first one unless told.
    pub region: String,
    /// Whether the bucket stands in the path and not in the host name.
    pub path_style: bool,
    /// Who asks.
    pub credentials: Credentials,
    /// How objects are kept.
    pub options: Options,
}

/// What a URL says about a bucket; see [`crate::store::url`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// Put before every name; empty or ending with a slash.
    pub prefix: String,
    /// `endpoint`.
    pub endpoint: Option<String>,
    /// `region`.
    pub region: Option<String>,
    /// `path_style`.
    pub path_style: Option<bool>,
    /// `profile`.
    pub profile: Option<String>,
    /// `credentials=chain`.
    pub chain: bool,
    /// How objects are kept.
    pub options: Options,
}

pub(super) fn variable(name: &str) -> Option<String> {
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
    pub fn from_environment(place: Place) -> Result<Self> {
        let Place { bucket, endpoint, region, path_style, profile, chain, options, prefix: _ } = place;
        let credentials = match (profile, chain) {
            (None, false) => Credentials::from_environment(variable).map_err(|missing| Error::Url {
                reason: format!(
                    "archive s3://{bucket}: the environment variable {missing} is not set \
                     (other credentials: profile=NAME or credentials=chain in the URL)"
                ),
            })?,
            (profile, _) => Credentials::Chain { profile },
        };
        let from_environment = || variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        let region_from_environment = || variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let endpoint = endpoint.or_else(from_environment);
        Ok(Self {
            path_style: path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            region: region.or_else(region_from_environment).unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            credentials,
            options,
            bucket,
        })
    }
}
