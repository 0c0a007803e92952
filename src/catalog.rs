//! The catalog: which nodes and databases a cluster has. It is data of group 0, in the system's own keyspace.
//!
//! | key | value |
//! |---|---|
//! | `node/` id u64 big-endian | a [`NodeRow`] |
//! | `peer/` address | the id of the node there, as a u64 |
//! | `next/node`, `next/database` | the last id or number that was given, as a u64 |
//! | `db/` id, 16 bytes | a [`DatabaseRow`]; of the default database only once its content was replaced |
//! | `name/` name | the id of the database, 16 bytes |
//! | `primary-region` | where leaders are kept, as text |
//! | `lineage` | the cluster's lineage that the nodes above belong to, 16 bytes |
//!
//! - Everything changes by atomic writes that check what they were decided on, so that two nodes never decide apart.
//! - Ids of nodes and numbers of databases are never given twice.
//! - Decisions are pure: from a [`View`] to a [`Change`] or a refusal in words.

mod change;
mod databases;
mod loading;
mod nodes;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
mod view;

pub use change::Change;
pub(crate) use databases::DEFAULT_NAME;
pub use databases::{
    DATABASES_MAX, NewDatabase, create_database, end_database, forget_database, place, rows_of_database,
};
pub use loading::{RecoveryPoint, begin_loading, finish_loading, loading, replace};
pub use nodes::{
    Admission, NODES_MAX, admit, announce, begin, expect, forget_node, leave, set_intent, set_primary_region,
};
pub use rows::{DatabaseRow, DatabaseState, Intent, NodeRow};
pub(crate) use view::database_key;
pub use view::{DatabasePlace, Found, View};

/// Why the catalog does not change, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It is not there. Look at the list.
    #[error("{0}")]
    NotFound(String),
    /// What is there does not allow it. Change the request, or what is there.
    #[error("{0}")]
    Conflict(String),
    /// The request makes no sense. Change it.
    #[error("{0}")]
    Invalid(String),
    /// A row is not what was written. A person must look.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
    /// It cannot be read. A person must look.
    #[error("the catalog cannot be read")]
    Read(#[from] engine::Error),
}

/// The result of a decision.
pub type Result<T> = std::result::Result<T, CatalogError>;
