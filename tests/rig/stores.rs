//! Stores opened in this process, with credentials that are not in its environment.

use super::TestResult;
use archiver::store::prefixed::Prefixed;
use archiver::store::s3::{Credentials, S3, Settings};
use archiver::store::url::{Location, parse};
use archiver::store::{ObjectStore, open as open_url};
use std::sync::Arc;

/// Opens the store at a URL, with these variables in place of the environment's.
pub(crate) fn open(url: &str, variables: &[(&str, &str)]) -> TestResult<Arc<dyn ObjectStore>> {
    let Location::S3(place) = parse(url)? else { return Ok(open_url(url)?) };
    let variable = |name: &str| {
        let found = variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        found.unwrap_or_default()
    };
    let credentials = Credentials::Static {
        access_key: variable("AWS_ACCESS_KEY_ID"),
        secret_key: variable("AWS_SECRET_ACCESS_KEY"),
        session_token: None,
    };
    let store = S3::new(Settings {
        bucket: place.bucket,
        endpoint: place.endpoint,
        region: place.region.unwrap_or_default(),
        path_style: place.path_style.unwrap_or(true),
        credentials,
        options: place.options,
    });
    Ok(Arc::new(Prefixed::new(Arc::new(store), place.prefix)))
}
