//! What commands that operate a cluster share: which node they ask, and how they end.

use super::UsageError;
use crate::admin::client::{Client, ClientError};
use anyhow::Context;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A cluster that is asked beside other work.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Asked {
    /// Any node of the cluster
    #[arg(long, value_name = "URL")]
    pub(super) cluster: Option<String>,

    /// The cluster's access token
    #[arg(long, env = "DENO_KV_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,

    /// Certificates in PEM of the CA to believe over https [default: those of the system]
    #[arg(long, env = "CAIRN_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

impl Asked {
    /// `None` when no cluster was named.
    pub(super) fn client(&self) -> anyhow::Result<Option<Client>> {
        self.cluster
            .as_ref()
            .map(|url| client(url, self.token.as_deref(), self.tls_ca.as_deref()))
            .transpose()
    }
}

fn client(url: &str, token: Option<&str>, ca: Option<&Path>) -> anyhow::Result<Client> {
    let missing = || UsageError("say --token, or set DENO_KV_ACCESS_TOKEN".to_owned());
    Client::new(url, token.ok_or_else(missing)?, ca).map_err(usage)
}

/// Which node is asked.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Node {
    /// Any node of the cluster
    #[arg(long, env = "CAIRN_URL", value_name = "URL", default_value = "http://127.0.0.1:4512")]
    url: String,

    /// The cluster's access token
    #[arg(long, env = "DENO_KV_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,

    /// Certificates in PEM of the CA to believe over https [default: those of the system]
    #[arg(long, env = "CAIRN_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Node {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        client(&self.url, self.token.as_deref(), self.tls_ca.as_deref())
    }

    /// Where it is, without a slash at the end.
    pub(super) fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// Asks the node, and waits for its answer.
    pub(super) fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
    ) -> anyhow::Result<T> {
        let client = self.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("cannot start")?.block_on(ask(client)).map_err(usage)
    }

    /// Prints an answer: as JSON when that was asked for, else in these words.
    pub(super) fn show<T: Serialize>(
        &self,
        answer: &T,
        words: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(answer)?);
        } else {
            print!("{}", words(answer));
        }
        Ok(())
    }
}

/// What cannot be, however often it is asked, is about what was typed. An address at which nobody answers is too.
pub(super) fn usage(error: ClientError) -> anyhow::Error {
    if error.is_final() || matches!(error, ClientError::Unreachable { .. }) {
        return UsageError(error.to_string()).into();
    }
    error.into()
}
