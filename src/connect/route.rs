//! Which path leads where.
//!
//! | path | what |
//! |---|---|
//! | `/` | metadata exchange of the default database |
//! | `/v2/...` | its data path, strong |
//! | `/v2/eventual/...` | its data path, eventual; takes no writes |
//! | `/databases/<id>/connect` | metadata exchange of a database |
//! | `/databases/<id>/v2/...` | its data path, as above |
//! | `/admin/v1/...` | the admin API, see [`crate::admin`] |
//! | `/healthz`, `/readyz`, `/metrics` | how the server stands |

use super::Consistency;
use super::exchange::DATA_PATH;
use crate::admin::ADMIN_PATH;
use crate::metrics::Endpoint;
use hyper::Method;
use uuid::Uuid;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) route: Route,
    /// `None` is the default database, or no matter.
    pub(super) database: Option<Uuid>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Exchange,
    Data(Data),
    Admin,
    Health,
    Ready,
    Metrics,
}

/// What is asked of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    SnapshotRead(Consistency),
    AtomicWrite,
    Watch(Consistency),
}

/// Where the data path of a database is served; `None` is the default one.
pub(super) fn data_path(database: Option<Uuid>) -> String {
    database.map_or_else(|| DATA_PATH.to_owned(), |id| format!("/databases/{id}{DATA_PATH}"))
}

impl Target {
    /// What this path names; `None` when it is nothing.
    pub(super) fn of(path: &str) -> Option<Target> {
        let alone = |route| Some(Target { route, database: None });
        match path {
            "/" | "" => alone(Route::Exchange),
            "/healthz" => alone(Route::Health),
            "/readyz" => alone(Route::Ready),
            "/metrics" => alone(Route::Metrics),
            _ if after_admin(path).is_some() => alone(Route::Admin),
            _ => match path.strip_prefix("/databases/") {
                Some(rest) => Target::of_database(rest),
                None => alone(Route::Data(Data::of(path.strip_prefix(DATA_PATH)?)?)),
            },
        }
    }

    fn of_database(rest: &str) -> Option<Target> {
        let (id, rest) = rest.split_at_checked(rest.find('/')?)?;
        let database = Some(Uuid::try_parse(id).ok()?);
        let route = match rest {
            "/connect" => Route::Exchange,
            _ => Route::Data(Data::of(rest.strip_prefix(DATA_PATH)?)?),
        };
        Some(Target { route, database })
    }
}

/// The rest of a path of the admin API.
pub(super) fn after_admin(path: &str) -> Option<&str> {
    path.strip_prefix(ADMIN_PATH).filter(|rest| rest.starts_with('/'))
}

impl Data {
    /// What the rest of a path after [`DATA_PATH`] names.
    fn of(rest: &str) -> Option<Data> {
        match rest {
            "/snapshot_read" => Some(Data::SnapshotRead(Consistency::Strong)),
            "/eventual/snapshot_read" => Some(Data::SnapshotRead(Consistency::Eventual)),
            "/atomic_write" => Some(Data::AtomicWrite),
            "/watch" => Some(Data::Watch(Consistency::Strong)),
            "/eventual/watch" => Some(Data::Watch(Consistency::Eventual)),
            _ => None,
        }
    }
}

impl Route {
    /// The methods that it takes.
    pub(super) const fn allow(self) -> &'static str {
        match self {
            Route::Exchange | Route::Data(_) => "POST",
            Route::Admin => "GET, POST, PUT, DELETE",
            Route::Health | Route::Ready | Route::Metrics => "GET",
        }
    }

    pub(super) fn allows(self, method: &Method) -> bool {
        // The admin API says itself which of its paths takes what.
        self == Route::Admin || self.allow() == method.as_str()
    }

    /// How it is counted.
    pub(super) const fn endpoint(self) -> Endpoint {
        match self {
            Route::Exchange => Endpoint::Exchange,
            Route::Data(Data::SnapshotRead(Consistency::Strong)) => Endpoint::SnapshotRead,
            Route::Data(Data::SnapshotRead(Consistency::Eventual)) => Endpoint::EventualRead,
            Route::Data(Data::AtomicWrite) => Endpoint::AtomicWrite,
            Route::Data(Data::Watch(_)) => Endpoint::Watch,
            Route::Admin => Endpoint::Admin,
            Route::Health | Route::Ready | Route::Metrics => Endpoint::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0d9c3f0e-8b1a-4c0e-9f6d-2a7b8c9d0e1f";

    #[test]
    fn what_the_exchange_names_is_where_data_is_served() {
        for database in [None, Uuid::try_parse(ID).ok()] {
            for (suffix, data) in [
                ("/snapshot_read", Data::SnapshotRead(Consistency::Strong)),
                ("/eventual/snapshot_read", Data::SnapshotRead(Consistency::Eventual)),
                ("/atomic_write", Data::AtomicWrite),
                ("/watch", Data::Watch(Consistency::Strong)),
                ("/eventual/watch", Data::Watch(Consistency::Eventual)),
            ] {
                let found = Target::of(&(data_path(database) + suffix));
                assert_eq!(found, Some(Target { route: Route::Data(data), database }), "{suffix}");
            }
        }
    }

    #[test]
    fn a_path_that_is_almost_right_is_nothing() {
        for path in [
            "/v2",
            "/v2/",
            "/v2/eventual",
            "/v2/eventual/atomic_write",
            "/v22/watch",
            "/admin/v1",
            "/admin/v10/cluster",
            "/databases",
            "/databases/",
            "/databases//connect",
            "/databases/x/connect",
            &format!("/databases/{ID}"),
            &format!("/databases/{ID}/"),
            &format!("/databases/{ID}/connect/"),
            &format!("/databases/{ID}/metrics"),
        ] {
            assert_eq!(Target::of(path), None, "{path}");
        }
        let connect = Target::of(&format!("/databases/{ID}/connect"));
        assert_eq!(connect, Some(Target { route: Route::Exchange, database: Uuid::try_parse(ID).ok() }));
    }
}
