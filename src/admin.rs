//! The admin API: what `cairn cluster` and `cairn db` ask of a node, as JSON, on the port of clients.
//!
//! | method and path, after `/admin/v1` | what it does |
//! |---|---|
//! | GET `/cluster` | how the cluster stands |
//! | POST `/cluster/join` | lets a node join, and tells it who it is |
//! | POST `/cluster/nodes` | announces a node: `address`, `region` |
//! | POST `/cluster/nodes/<id>/promote` | gives a learner a vote |
//! | DELETE `/cluster/nodes/<id>` | takes a node out; `?force=true` although a majority may be lost |
//! | POST `/cluster/transfer-leader` | hands over the lead: `node`, and `group` unless all |
//! | POST `/cluster/seal` | takes no more writes, in any group: `reason`; says where each group ends |
//! | DELETE `/cluster/seal` | takes writes again |
//! | GET `/cluster/regions` | which regions there are |
//! | PUT `/cluster/regions` | where leaders are kept: `primary`, or null |
//! | GET `/databases` | which databases there are |
//! | POST `/databases` | makes one: `name` |
//! | DELETE `/databases/<id or name>` | deletes one |
//! | POST `/loading` | makes a database that nobody sees, to be filled: `name`, or null for one that is to replace another |
//! | POST `/loading/<id>/rows` | writes rows to it, as [`LoadRow`](crate::cluster::operator::LoadRow) has them |
//! | POST `/loading/<id>/finish` | shows it: under its name, or in the place of another: `replaces` |
//! | GET `/archive` | how far the archive of each group at each place is, as the node that is asked knows |
//! | GET `/jobs` | long work of the node that is asked |
//! | POST `/jobs/<id>/cancel` | asks a job to stop |
//! | PUT `/jobs/<id>/rate` | bounds its bytes a second: `bytesPerS`, or null |
//!
//! - Every request carries the access token. Any node takes any request.
//! - What is refused is answered with one sentence, as JSON: `{"error": "..."}`.
//! - 4xx: nothing was changed. 409 with "unknown": it may have been. 503: the cluster could not answer; ask again.

pub mod client;
mod routes;

use crate::archive::ArchiveReports;
use crate::catalog::CatalogError;
use crate::cluster::operator::{JoinRequest, Operator, OperatorError};
use crate::cluster::seam::ClusterError;
use crate::connect::wire::{self, Body};
use crate::jobs::JobReport;
use archiver::job::{Job, JobId, Jobs};
use hyper::{Method, Response, StatusCode};
use replication::{GroupId, NodeId};
use routes::{Command, Refused};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Under which path the admin API is served.
pub const ADMIN_PATH: &str = "/admin/v1";

/// An answer that is an error.
#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

/// Answers the requests of operators who have been let in.
#[derive(Debug, Clone)]
pub struct Admin {
    operator: Operator,
    jobs: Jobs,
    archives: Option<Arc<ArchiveReports>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JobRate {
    bytes_per_s: Option<u64>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Announcement {
    address: String,
    #[serde(default)]
    region: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    node: u64,
    group: Option<u64>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Primary {
    primary: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedOrNot {
    name: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Replaces {
    replaces: Option<String>,
}

impl Admin {
    /// Answers through this operator, and shows these jobs.
    pub const fn new(operator: Operator, jobs: Jobs) -> Admin {
        Admin { operator, jobs, archives: None }
    }

    /// Also says how far these archives are.
    #[must_use]
    pub fn with_archives(mut self, archives: Arc<ArchiveReports>) -> Admin {
        self.archives = Some(archives);
        self
    }

    /// Says so when another cluster goes on from this one.
    pub fn ended(&self) -> Option<String> {
        self.archives.as_ref()?.ended()
    }

    /// Answers a request for a path after [`ADMIN_PATH`].
    pub async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> Response<Body> {
        match routes::command(method, path, query) {
            Ok(command) => self.run(command, body).await.unwrap_or_else(|error| refusal(&error)),
            Err(Refused::NotFound) => error(StatusCode::NOT_FOUND, "there is nothing at this path"),
            Err(Refused::Method) => error(StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods"),
            Err(Refused::Invalid(reason)) => error(StatusCode::BAD_REQUEST, &reason),
        }
    }

    async fn run(&self, command: Command, body: &[u8]) -> Result<Response<Body>, OperatorError> {
        let operator = &self.operator;
        match command {
            Command::Status => operator.status().await.map(|status| json(&status)),
            Command::Join => {
                let request: JoinRequest = read(body)?;
                operator.join(&request).await.map(|answer| json(&answer))
            }
            Command::Add => {
                let Announcement { address, region } = read(body)?;
                operator.add(&address, &region).await.map(|change| json(&change))
            }
            Command::Promote(node) => operator.promote(node).await.map(|change| json(&change)),
            Command::Remove(node, force) => operator.remove(node, force).await.map(|change| json(&change)),
            Command::TransferLeader => {
                let Transfer { node, group } = read(body)?;
                let moved = operator.transfer_leader(group.map(GroupId), NodeId(node)).await;
                moved.map(|change| json(&change))
            }
            Command::Seal => {
                let Reason { reason } = read(body)?;
                operator.seal(&reason).await.map(|sealed| json(&sealed))
            }
            Command::Unseal => operator.unseal().await.map(|unsealed| json(&unsealed)),
            Command::Regions => operator.regions().await.map(|regions| json(&regions)),
            Command::SetPrimaryRegion => {
                let Primary { primary } = read(body)?;
                operator.set_primary_region(primary.as_deref()).await.map(|regions| json(&regions))
            }
            Command::Databases => operator.databases().await.map(|databases| json(&databases)),
            Command::CreateDatabase => {
                let Named { name } = read(body)?;
                operator.create_database(&name).await.map(|made| json(&made))
            }
            Command::DeleteDatabase(which) => {
                operator.delete_database(&which).await.map(|deleted| json(&deleted))
            }
            Command::BeginLoading => {
                let NamedOrNot { name } = read(body)?;
                operator.begin_loading(name.as_deref()).await.map(|made| json(&made))
            }
            Command::Load(id) => operator.load(id, body).await.map(|loaded| json(&loaded)),
            Command::FinishLoading(id) => {
                let Replaces { replaces } = read(body)?;
                operator.finish_loading(id, replaces.as_deref()).await.map(|ready| json(&ready))
            }
            Command::Archives => {
                Ok(json(&self.archives.as_ref().map(|archives| archives.list()).unwrap_or_default()))
            }
            Command::Jobs => {
                let jobs = self.jobs.list().into_iter().map(JobReport::from);
                Ok(json(&jobs.collect::<Vec<_>>()))
            }
            Command::CancelJob(id) => Ok(self.job(id, |job| job.cancel())),
            Command::ThrottleJob(id) => {
                let JobRate { bytes_per_s } = read(body)?;
                Ok(self.job(id, |job| job.set_bytes_per_s_max(bytes_per_s)))
            }
        }
    }

    /// Does something to a job, and shows it.
    fn job(&self, id: JobId, act: impl FnOnce(&Job)) -> Response<Body> {
        let Some(job) = self.jobs.get(id) else {
            return error(StatusCode::NOT_FOUND, "this node knows no such job: see cairn jobs list");
        };
        act(&job);
        json(&JobReport::from(job.status()))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, OperatorError> {
    let invalid =
        |error: serde_json::Error| CatalogError::Invalid(format!("the body is not as expected: {error}"));
    Ok(serde_json::from_slice(body).map_err(invalid)?)
}

fn json(answer: &impl Serialize) -> Response<Body> {
    wire::json(serde_json::to_string(answer).expect("strings and numbers are always JSON"))
}

fn error(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = json(&ErrorBody { error: text });
    *response.status_mut() = status;
    response
}

fn refusal(refused: &OperatorError) -> Response<Body> {
    let status = match refused {
        OperatorError::Catalog(CatalogError::NotFound(_)) => StatusCode::NOT_FOUND,
        OperatorError::Catalog(CatalogError::Invalid(_)) => StatusCode::BAD_REQUEST,
        OperatorError::Catalog(_) | OperatorError::Refused(_) => StatusCode::CONFLICT,
        OperatorError::Cluster(ClusterError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
        OperatorError::Cluster(ClusterError::Unknown(_) | ClusterError::Failed(_)) => StatusCode::CONFLICT,
    };
    error(status, &crate::connect::errors::Chain(refused).to_string())
}

#[cfg(test)]
mod tests;
