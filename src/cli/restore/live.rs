//! `cairn restore --into`: brings a database of the archive into a cluster that serves.
//!
//! - It is restored aside first, whole and checked; then its rows are written to a database that nobody sees.
//! - It is shown by one change of the catalog: under a new name, or in the place of the content of one that is there.
//! - A failure leaves the cluster's databases as they were; what was loaded is deleted again.

use crate::admin::client::{Client, ClientError};
use crate::archive::ArchiveStatus;
use crate::cli::UsageError;
use crate::cli::operate::usage;
use crate::cluster::operator::{
    CreatedDatabase, DatabaseStatus, LOAD_ROWS_MAX, LoadRow, Loaded, Ready, RecoveryStatus,
};
use archiver::job::Job;
use archiver::restore::{Ask, Destination, Scope};
use engine::{Direction, Engine};
use hyper::Method;
use replication::{GroupId, StoredValue, split_value};
use serde_json::json;
use std::path::PathBuf;

/// Bytes of rows in one request after which it is sent.
const BATCH_BYTES: usize = 512 << 10;
/// Bytes of an engine key before the key of the database.
const PREFIX_LEN: usize = 4;
/// How often a request is sent again that nobody answered.
const TRIES_MAX: u32 = 5;

/// Where a restored database goes in a cluster that serves.
#[derive(Debug, clap::Args)]
pub(super) struct Live {
    /// Any node of a cluster that serves, which takes the database in
    #[arg(long, value_name = "URL", conflicts_with = "to", requires = "how")]
    into: Option<String>,

    #[command(flatten)]
    how: How,

    /// The cluster's access token
    #[arg(long, env = "DENO_KV_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,

    /// Certificates in PEM of the CA to believe over https [default: those of the system]
    #[arg(long, env = "CAIRN_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

/// As what it is taken in.
#[derive(Debug, clap::Args)]
#[group(id = "how", multiple = false)]
struct How {
    /// As a new database of this name
    #[arg(long, value_name = "NAME", requires = "into")]
    as_new: Option<String>,

    /// In the place of what this database holds now, which the archive can bring back afterwards
    #[arg(long, value_name = "DATABASE", requires = "into")]
    in_place: Option<String>,
}

impl Live {
    /// The cluster that takes it in; `None` when it goes into a directory.
    ///
    /// # Errors
    ///
    /// A [`UsageError`] when the URL or the token cannot work.
    pub(super) fn client(&self) -> anyhow::Result<Option<Client>> {
        let Some(url) = &self.into else {
            if self.how.as_new.is_some() || self.how.in_place.is_some() {
                return Err(
                    UsageError("say --into and the URL of a node, and leave out --to".to_owned()).into()
                );
            }
            return Ok(None);
        };
        let missing = || UsageError("say --token, or set DENO_KV_ACCESS_TOKEN".to_owned());
        let token = self.token.as_deref().ok_or_else(missing)?;
        Ok(Some(Client::new(url, token, self.tls_ca.as_deref()).map_err(usage)?))
    }

    /// Refuses what the cluster would refuse in the end, before anything is fetched.
    ///
    /// # Errors
    ///
    /// A [`UsageError`] when the name is taken, there is nothing of that name to replace, or nothing could bring it back.
    pub(super) async fn check(&self, client: &Client) -> anyhow::Result<()> {
        let databases: Vec<DatabaseStatus> = client.get("/databases").await.map_err(usage)?;
        let find =
            |name: &str| databases.iter().find(|database| database.name == name || database.id == name);
        if let Some(name) = self.how.as_new.as_deref().filter(|name| find(name).is_some()) {
            return Err(UsageError(format!("there is a database called {name}: give another name")).into());
        }
        let Some(name) = self.how.in_place.as_deref() else { return Ok(()) };
        match find(name) {
            None => Err(UsageError(format!("there is no database {name} to replace")).into()),
            Some(found) => self.check_archive(client, found).await,
        }
    }

    /// Refuses to replace what no archive could bring back.
    async fn check_archive(&self, client: &Client, found: &DatabaseStatus) -> anyhow::Result<()> {
        let all: Vec<ArchiveStatus> = client.get("/archive").await.map_err(usage)?;
        if all.iter().any(|status| status.group == found.group && status.error.is_none()) {
            return Ok(());
        }
        let held: Vec<&str> = all.iter().filter_map(|status| status.error.as_deref()).collect();
        let why = if held.is_empty() { "there is none".to_owned() } else { held.join("; ") };
        let name = &found.name;
        let text = format!("no archive could bring the old content of {name} back ({why}): use --as-new");
        Err(UsageError(text).into())
    }

    /// Loads what was restored at `from`, and shows it.
    ///
    /// # Errors
    ///
    /// When the cluster refuses or cannot be reached; what was loaded is deleted again then, if that can be.
    pub(super) async fn load(
        &self,
        client: &Client,
        from: &Destination,
        ask: &Ask,
        job: &Job,
    ) -> anyhow::Result<String> {
        let name = self.how.as_new.as_deref();
        let made: CreatedDatabase =
            client.send(Method::POST, "/loading", &json!({ "name": name })).await.map_err(usage)?;
        let loaded = self.fill(client, &made, from, ask, job).await;
        if loaded.is_err() {
            let path = format!("/databases/{}", made.id);
            let deleted: Result<DatabaseStatus, _> = client.send(Method::DELETE, &path, &json!({})).await;
            if let Err(error) = deleted {
                tracing::warn!(%error, database = made.id, "what was loaded is left: delete it with cairn db delete");
            }
        }
        let (rows, ready) = loaded?;
        let Ready { database, recovery_point } = ready;
        Ok(match recovery_point {
            None => format!(
                "loaded {rows} rows as {}\n  id            {}\n  path          {}\n  access token  {}\n",
                database.name, database.id, database.path, made.token
            ),
            Some(RecoveryStatus { versionstamp, .. }) => format!(
                "replaced the content of {name} by {rows} rows\nthe old content is in the archive: restore it with \
                 --database {name} --at {versionstamp}\n",
                name = database.name,
            ),
        })
    }

    async fn fill(
        &self,
        client: &Client,
        made: &CreatedDatabase,
        from: &Destination,
        ask: &Ask,
        job: &Job,
    ) -> anyhow::Result<(u64, Ready)> {
        job.phase("loading");
        let mut batches = Batches::open(from, ask)?;
        let mut rows = 0;
        while let Some((count, body)) = batches.next()? {
            job.checkpoint()?;
            job.throttle(body.len() as u64).await;
            let len = body.len() as u64;
            let loaded: Loaded = send(client, &format!("/loading/{}/rows", made.id), body).await?;
            anyhow::ensure!(loaded.rows == count, "the cluster took {} of {count} rows", loaded.rows);
            rows += count as u64;
            job.done_bytes(len);
            job.done_keys(count as u64);
        }
        batches.engine.close()?;
        let path = format!("/loading/{}/finish", made.id);
        let replaces = json!({ "replaces": self.how.in_place });
        Ok((rows, client.send(Method::POST, &path, &replaces).await.map_err(usage)?))
    }
}

fn ask_group(ask: &Ask) -> u64 {
    ask.scopes.keys().find(|group| **group != GroupId::CATALOG.0).copied().unwrap_or(GroupId::FIRST.0)
}

/// Sends rows until they were taken: sending them again changes nothing.
async fn send(client: &Client, path: &str, body: Vec<u8>) -> anyhow::Result<Loaded> {
    let body = bytes::Bytes::from(body);
    let mut tries = 0;
    loop {
        tries += 1;
        match client.send_bytes(path, body.clone()).await {
            Err(error @ ClientError::Refused { status: 400..=408, .. }) => return Err(usage(error)),
            Err(error) if tries == TRIES_MAX => return Err(usage(error)),
            Err(error) => {
                tracing::debug!(%error, "sending rows again");
                tokio::time::sleep(std::time::Duration::from_millis(200 << tries)).await;
            }
            Ok(loaded) => return Ok(loaded),
        }
    }
}

/// The rows of a restored part, in requests.
struct Batches {
    engine: Engine,
    /// Where the next one starts; `None` when all were read.
    from: Option<Vec<u8>>,
}

impl Batches {
    fn open(from: &Destination, ask: &Ask) -> anyhow::Result<Batches> {
        let group = ask_group(ask);
        let dir = from.dir.join("groups").join(group.to_string());
        let (engine, _recovery) = Engine::open(from.env.clone(), &dir, from.options.clone())?;
        let prefix = match ask.scopes.get(&group) {
            // Of several prefixes, all of one database: nothing else is there.
            Some(Scope::Prefixes(prefixes)) => prefixes.first().map(|prefix| prefix[..PREFIX_LEN].to_vec()),
            Some(Scope::All) | None => None,
        };
        let prefix = prefix.ok_or_else(|| UsageError("name the database that is meant".to_owned()))?;
        Ok(Batches { engine, from: Some(prefix) })
    }

    /// The next rows and how many they are; `None` at the end.
    fn next(&mut self) -> anyhow::Result<Option<(usize, Vec<u8>)>> {
        let Some(start) = self.from.take() else { return Ok(None) };
        let mut end = start[..PREFIX_LEN].to_vec();
        end.extend_from_slice(&[0xff; engine::write_batch::KEY_LEN_MAX - PREFIX_LEN]);
        let (mut body, mut count) = (Vec::new(), 0);
        for entry in self.engine.snapshot().range(&start, &end, Direction::Forward)? {
            let entry = entry?;
            if count == LOAD_ROWS_MAX || body.len() >= BATCH_BYTES {
                self.from = Some(entry.key.to_vec());
                break;
            }
            let damaged = || anyhow::anyhow!("a stored value has no known encoding");
            let (encoding, bytes) = split_value(&entry.value.bytes).ok_or_else(damaged)?;
            let value = StoredValue { encoding, bytes: bytes.to_vec() };
            let key = entry.key[PREFIX_LEN..].to_vec();
            LoadRow { key, value, expire_at_ms: entry.value.expire_at_ms }.encode(&mut body);
            count += 1;
        }
        Ok((count > 0).then_some((count, body)))
    }
}
