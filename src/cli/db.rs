//! `cairn db`: the databases of a cluster, each with its own keyspace, token and URL.

use super::columns::{cells, columns};
use super::operate::Node;
use crate::cluster::operator::{CreatedDatabase, DatabaseStatus};
use hyper::Method;
use serde_json::json;

/// What `cairn db` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a database; prints its URL and its token, which is never shown again
    Create {
        /// What it is called: letters, digits, '-', '_' and '.'
        name: String,
        #[command(flatten)]
        node: Node,
    },
    /// Show the databases
    List {
        #[command(flatten)]
        node: Node,
    },
    /// Delete a database with everything in it
    Delete {
        /// Its id or name
        database: String,
        #[command(flatten)]
        node: Node,
    },
}

/// Makes, shows or deletes databases.
///
/// # Errors
///
/// When the node cannot be reached, or refuses.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Create { name, node } => {
            let body = json!({ "name": name });
            let made: CreatedDatabase =
                node.ask(async |client| client.send(Method::POST, "/databases", &body).await)?;
            node.show(&made, |made| created(&node, made))
        }
        Command::List { node } => {
            let databases: Vec<DatabaseStatus> = node.ask(async |client| client.get("/databases").await)?;
            node.show(&databases, |databases| list(databases))
        }
        Command::Delete { database, node } => {
            let path = format!("/databases/{database}");
            let deleted: DatabaseStatus =
                node.ask(async |client| client.send(Method::DELETE, &path, &json!({})).await)?;
            node.show(&deleted, |deleted| format!("deleted {} ({})\n", deleted.name, deleted.id))
        }
    }
}

fn created(node: &Node, made: &CreatedDatabase) -> String {
    let CreatedDatabase { id, name, path, token, .. } = made;
    format!(
        "made {name}\n  id            {id}\n  url           {}{path}\n  access token  {token}\nConnect from Deno with\n  \
         DENO_KV_ACCESS_TOKEN={token} deno run --unstable-kv --allow-env --allow-net main.ts\n",
        node.base()
    )
}

fn list(databases: &[DatabaseStatus]) -> String {
    let mut rows = vec![cells(["name", "id", "group", "made", "path"])];
    for database in databases {
        let made = database.created_ms.map(archiver::catalog::rfc3339).unwrap_or_default();
        let group = database.group.to_string();
        rows.push(cells([&database.name, &database.id, &group, &made, &database.path]));
    }
    columns(&rows, "")
}
