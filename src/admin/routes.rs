//! Which request is which command. Pure.

use archiver::job::JobId;
use hyper::Method;
use replication::NodeId;
use uuid::Uuid;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Status,
    Join,
    Add,
    Promote(NodeId),
    Remove(NodeId, bool),
    TransferLeader,
    Seal,
    Unseal,
    Regions,
    SetPrimaryRegion,
    Databases,
    CreateDatabase,
    DeleteDatabase(String),
    BeginLoading,
    Load(Uuid),
    FinishLoading(Uuid),
    Archives,
    Jobs,
    CancelJob(JobId),
    ThrottleJob(JobId),
}

/// Why a request is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    NotFound,
    Method,
    Invalid(String),
}

/// The command of a request; `path` begins after the path of the API.
pub(super) fn command(method: &Method, path: &str, query: Option<&str>) -> Result<Command, Refused> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let with =
        |wanted: Method, command: Command| if *method == wanted { Ok(command) } else { Err(Refused::Method) };
    let either = |get: Command, other: Method, command: Command| match method {
        method if *method == Method::GET => Ok(get),
        method if *method == other => Ok(command),
        _ => Err(Refused::Method),
    };
    match parts.as_slice() {
        ["cluster"] => with(Method::GET, Command::Status),
        ["cluster", "join"] => with(Method::POST, Command::Join),
        ["cluster", "nodes"] => with(Method::POST, Command::Add),
        ["cluster", "nodes", id] => with(Method::DELETE, Command::Remove(node(id)?, is_forced(query)?)),
        ["cluster", "nodes", id, "promote"] => with(Method::POST, Command::Promote(node(id)?)),
        ["cluster", "transfer-leader"] => with(Method::POST, Command::TransferLeader),
        ["cluster", "seal"] if *method == Method::DELETE => Ok(Command::Unseal),
        ["cluster", "seal"] => with(Method::POST, Command::Seal),
        ["cluster", "regions"] => either(Command::Regions, Method::PUT, Command::SetPrimaryRegion),
        ["databases"] => either(Command::Databases, Method::POST, Command::CreateDatabase),
        ["databases", which] => with(Method::DELETE, Command::DeleteDatabase((*which).to_owned())),
        ["loading"] => with(Method::POST, Command::BeginLoading),
        ["loading", id, "rows"] => with(Method::POST, Command::Load(database(id)?)),
        ["loading", id, "finish"] => with(Method::POST, Command::FinishLoading(database(id)?)),
        ["archive"] => with(Method::GET, Command::Archives),
        ["jobs"] => with(Method::GET, Command::Jobs),
        ["jobs", id, "cancel"] => with(Method::POST, Command::CancelJob(job(id)?)),
        ["jobs", id, "rate"] => with(Method::PUT, Command::ThrottleJob(job(id)?)),
        _ => Err(Refused::NotFound),
    }
}

fn database(id: &str) -> Result<Uuid, Refused> {
    Uuid::try_parse(id).map_err(|_not_one| Refused::Invalid(format!("'{id}' is not the id of a database")))
}

fn job(id: &str) -> Result<JobId, Refused> {
    id.parse().map_err(|reason| Refused::Invalid(format!("'{id}' is not a job: {reason}")))
}

fn node(id: &str) -> Result<NodeId, Refused> {
    id.parse().map(NodeId).map_err(|_not_one| Refused::Invalid(format!("'{id}' is not the number of a node")))
}

fn is_forced(query: Option<&str>) -> Result<bool, Refused> {
    match query {
        None | Some("" | "force=false") => Ok(false),
        Some("force=true") => Ok(true),
        Some(other) => Err(Refused::Invalid(format!("'{other}' is not understood: only force=true is"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_one_command_or_is_refused_with_why() {
        let refused = |reason: &str| Err(Refused::Invalid(reason.to_owned()));
        for (method, path, query, expected) in [
            (Method::GET, "/cluster", None, Ok(Command::Status)),
            (Method::POST, "/cluster", None, Err(Refused::Method)),
            (Method::POST, "/cluster/join", None, Ok(Command::Join)),
            (Method::POST, "/cluster/nodes", None, Ok(Command::Add)),
            (Method::DELETE, "/cluster/nodes/3", None, Ok(Command::Remove(NodeId(3), false))),
            (Method::DELETE, "/cluster/nodes/3", Some("force=true"), Ok(Command::Remove(NodeId(3), true))),
            (
                Method::DELETE,
                "/cluster/nodes/3",
                Some("hard"),
                refused("'hard' is not understood: only force=true is"),
            ),
            (Method::DELETE, "/cluster/nodes/x", None, refused("'x' is not the number of a node")),
            (Method::POST, "/cluster/nodes/3/promote", None, Ok(Command::Promote(NodeId(3)))),
            (Method::POST, "/cluster/nodes/3/demote", None, Err(Refused::NotFound)),
            (Method::POST, "/cluster/transfer-leader", None, Ok(Command::TransferLeader)),
            (Method::POST, "/cluster/seal", None, Ok(Command::Seal)),
            (Method::DELETE, "/cluster/seal", None, Ok(Command::Unseal)),
            (Method::GET, "/cluster/seal", None, Err(Refused::Method)),
            (Method::GET, "/cluster/regions", None, Ok(Command::Regions)),
            (Method::PUT, "/cluster/regions", None, Ok(Command::SetPrimaryRegion)),
            (Method::GET, "/databases", None, Ok(Command::Databases)),
            (Method::POST, "/databases", None, Ok(Command::CreateDatabase)),
            (Method::DELETE, "/databases/shop", None, Ok(Command::DeleteDatabase("shop".to_owned()))),
            (Method::GET, "/databases/shop", None, Err(Refused::Method)),
            (Method::GET, "/archive", None, Ok(Command::Archives)),
            (Method::POST, "/archive", None, Err(Refused::Method)),
            (Method::GET, "/jobs", None, Ok(Command::Jobs)),
            (Method::POST, "/jobs/00000000000000ff/cancel", None, Ok(Command::CancelJob(JobId(255)))),
            (Method::PUT, "/jobs/00000000000000ff/rate", None, Ok(Command::ThrottleJob(JobId(255)))),
            (
                Method::POST,
                "/jobs/7/cancel",
                None,
                refused("'7' is not a job: a job id is 16 hexadecimal digits"),
            ),
            (Method::GET, "/cluster/", None, Err(Refused::NotFound)),
            (Method::GET, "", None, Err(Refused::NotFound)),
        ] {
            assert_eq!(command(&method, path, query), expected, "{method} {path} {query:?}");
        }
    }
}
