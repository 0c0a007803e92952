//! Who asks: static keys, a named profile, or whatever AWS's default chain finds.
//!
//! - Secrets are never shown.
//! - The chain is built with the first request, because building it reads files and may ask the machine's metadata
//!   service; opening a store does neither.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::future::ProvideCredentials as Providing;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::{Region, SharedHttpClient};
use std::fmt;
use tokio::sync::OnceCell;

/// Who asks.
#[derive(Clone)]
pub enum Credentials {
    /// Keys.
    Static {
        /// AWS_ACCESS_KEY_ID.
        access_key: String,
        /// AWS_SECRET_ACCESS_KEY; never shown.
        secret_key: String,
        /// AWS_SESSION_TOKEN; never shown.
        session_token: Option<String>,
    },
    /// The named profile of the files in `~/.aws`, or, without a name, what AWS's tools find: the environment, the
    /// default profile, a web identity token, a container's role, the instance's role.
    Chain {
        /// The profile.
        profile: Option<String>,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static { .. } => f.write_str("Static"),
            Self::Chain { profile } => f.debug_struct("Chain").field("profile", profile).finish(),
        }
    }
}

impl Credentials {
    /// Static keys from variables; the name of the one that is missing otherwise.
    pub(super) fn from_environment(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, &'static str> {
        let wanted = |name: &'static str| variable(name).ok_or(name);
        Ok(Self::Static {
            access_key: wanted("AWS_ACCESS_KEY_ID")?,
            secret_key: wanted("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable("AWS_SESSION_TOKEN"),
        })
    }

    pub(super) fn provider(self, http: SharedHttpClient, region: Region) -> SharedCredentialsProvider {
        match self {
            Self::Static { access_key, secret_key, session_token } => {
                SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
                    access_key,
                    secret_key,
                    session_token,
                    None,
                    "environment",
                ))
            }
            Self::Chain { profile } => {
                SharedCredentialsProvider::new(Chain { profile, http, region, found: OnceCell::new() })
            }
        }
    }
}

/// Credentials that are looked for with the first request.
#[derive(Debug)]
struct Chain {
    profile: Option<String>,
    http: SharedHttpClient,
    region: Region,
    found: OnceCell<SharedCredentialsProvider>,
}

impl Chain {
    async fn build(&self) -> SharedCredentialsProvider {
        let how = ProviderConfig::default()
            .with_http_client(self.http.clone())
            .with_region(Some(self.region.clone()));
        match &self.profile {
            Some(profile) => {
                let file = ProfileFileCredentialsProvider::builder().configure(&how).profile_name(profile);
                SharedCredentialsProvider::new(file.build())
            }
            None => {
                let chain = DefaultCredentialsChain::builder().configure(how).build().await;
                SharedCredentialsProvider::new(chain)
            }
        }
    }

    async fn provide(&self) -> provider::Result {
        self.found.get_or_init(|| self.build()).await.provide_credentials().await
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.provide())
    }
}
