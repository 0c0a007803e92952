//! Every way a request is refused, with its status and its text: the one table of it.
//!
//! - No 5xx for what can never succeed: Deno repeats a request that got one, for ever.
//! - A 5xx for a write says that it was not applied and never will be.
//! - An outcome that cannot be known is a 409, which no client repeats.
//! - Texts are those of `denokv` where it has one: programs and tests look for them. No 400 says
//!   "authorization" unless it is about it: clients would fetch a new token and try again.

use hyper::StatusCode;
use replication::Refusal;

/// Why a request was refused. `Display` is the body of the answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// No such path.
    #[error("Resource not found.")]
    NotFound,
    /// The path is there, the method is not.
    #[error("Method not allowed.")]
    MethodNotAllowed,
    /// No `Authorization: Bearer ...`.
    #[error("Malformed authorization header.")]
    MalformedAuthorization,
    /// Not our token, or one that has expired.
    #[error("Invalid access token.")]
    InvalidToken,
    /// Not our database.
    #[error("Invalid database id.")]
    InvalidDatabaseId,
    /// A data path request without a version that we serve.
    #[error("Expected protocol version 1, 2 or 3.")]
    InvalidProtocolVersion,
    /// A metadata request that is not one.
    #[error("The metadata request is invalid: expected JSON such as {{\"supportedVersions\":[1,2,3]}}.")]
    InvalidExchange,
    /// No version in common.
    #[error(
        "The server could not negotiate a protocol version. The server requires protocol version 1, 2 or 3."
    )]
    NoCommonVersion,
    /// Version 1 wants absolute endpoints, and nothing says where we are.
    #[error("Protocol version 1 needs a valid Host header.")]
    HostMissing,
    /// The body is over its bound.
    #[error("The request body is too large: at most {} bytes are accepted.", super::limits::BODY_LEN_MAX)]
    BodyTooLarge,
    /// The body did not arrive.
    #[error("The request body could not be read.")]
    BodyBroken,
    /// Not the message it should be.
    #[error("Request protobuf is invalid: {0}.")]
    InvalidProtobuf(String),
    /// A key over its limit.
    #[error("A key exceeds the key size limit.")]
    KeyTooLong,
    /// A key without bytes.
    #[error("A key must not be empty.")]
    KeyEmpty,
    /// A value over its limit.
    #[error("A value exceeds the value size limit.")]
    ValueTooLong,
    /// More entries than one read may ask for.
    #[error("The total number of entries requested across read ranges in the read request is too large.")]
    ReadTooLarge,
    /// More bytes than one write may have.
    #[error("The total size of the atomic write is too large.")]
    WriteTooLarge,
    /// Too many ranges.
    #[error("Too many read ranges requested in one read request.")]
    TooManyRanges,
    /// Too many keys.
    #[error("Too many keys watched in a single watch request.")]
    TooManyWatchedKeys,
    /// Too many checks.
    #[error("Too many checks included in atomic write.")]
    TooManyChecks,
    /// Too many mutations.
    #[error("Too many mutations / enqueues included in atomic write.")]
    TooManyMutations,
    /// A limit below 1.
    #[error("The read range limit of the snapshot read request is invalid.")]
    InvalidRangeLimit,
    /// Neither 0 nor 10 bytes.
    #[error("Invalid versionstamp.")]
    InvalidVersionstamp,
    /// An unknown kind, or a value missing.
    #[error("Invalid mutation kind or arguments.")]
    InvalidMutation,
    /// Below -1.
    #[error("Invalid mutation expire at.")]
    InvalidExpireAt,
    /// Not 1, 2 or 3.
    #[error("The value encoding {0} is unknown.")]
    UnknownEncoding(i32),
    /// A 64-bit integer that has not 64 bits.
    #[error("A value of the 64-bit integer encoding must have 8 bytes.")]
    InvalidLe64,
    /// Bounds where none can be.
    #[error("Cannot use min/max parameters with KvU64 operands")]
    BoundsOnU64,
    /// It only follows.
    #[error(
        "This server is a standby: it serves reads of what it has, and nothing else. Use the cluster that it follows, or promote it."
    )]
    Standby,
    /// Another cluster is to go on from here.
    #[error("This cluster is sealed and takes no writes: {0}. Nothing was written.")]
    Sealed(String),
    /// The cluster was sealed while the write was under way: it may stand after the end.
    #[error("write outcome unknown: the cluster was sealed while this write was under way")]
    SealedMeanwhile,
    /// Nobody would deliver the message.
    #[error(
        "This server cannot deliver queue messages yet, so it does not accept them: nothing was written."
    )]
    EnqueueUnsupported,
    /// The write cannot be applied to what is stored.
    #[error("{0}")]
    Refused(Refusal),
    /// The disk is full up to its reserve. `Display` of the engine's error.
    #[error("{0}")]
    DiskFull(String),
    /// Too many watches at once.
    #[error("Too many watches are open on this server.")]
    TooManyWatches,
    /// The write may or may not be there.
    #[error("write outcome unknown: the server failed while it made this write durable")]
    OutcomeUnknown,
    /// What is stored could not be read.
    #[error("The server could not read its data. Nothing was written. Its log says more.")]
    StorageFailed,
    /// The write was not taken, and can be sent again.
    #[error("The server is stopping. Nothing was written.")]
    Stopping,
    /// No majority of the cluster could be reached in time. Nothing was written and nothing will be, so it can be sent again.
    #[error("The cluster cannot answer now: {0}. Nothing was written.")]
    Unavailable(String),
}

impl Error {
    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::Standby | Error::Sealed(_) => StatusCode::FORBIDDEN,
            Error::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Error::MalformedAuthorization | Error::InvalidToken => StatusCode::UNAUTHORIZED,
            Error::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Error::DiskFull(_) | Error::TooManyWatches => StatusCode::TOO_MANY_REQUESTS,
            Error::OutcomeUnknown | Error::SealedMeanwhile | Error::StorageFailed => StatusCode::CONFLICT,
            Error::Stopping | Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::InvalidDatabaseId
            | Error::InvalidProtocolVersion
            | Error::InvalidExchange
            | Error::NoCommonVersion
            | Error::HostMissing
            | Error::BodyBroken
            | Error::InvalidProtobuf(_)
            | Error::KeyTooLong
            | Error::KeyEmpty
            | Error::ValueTooLong
            | Error::ReadTooLarge
            | Error::WriteTooLarge
            | Error::TooManyRanges
            | Error::TooManyWatchedKeys
            | Error::TooManyChecks
            | Error::TooManyMutations
            | Error::InvalidRangeLimit
            | Error::InvalidVersionstamp
            | Error::InvalidMutation
            | Error::InvalidExpireAt
            | Error::UnknownEncoding(_)
            | Error::InvalidLe64
            | Error::BoundsOnU64
            | Error::EnqueueUnsupported
            | Error::Refused(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Error::InvalidProtobuf(error.to_string())
    }
}

/// A read failed: whether it will work next time is nothing that the client can know.
impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        tracing::error!(error = %Chain(&error), "cannot read stored data");
        Error::StorageFailed
    }
}

/// An error and its sources on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_applied_and_may_be_repeated_is_a_5xx() {
        let refused = [
            Error::NotFound,
            Error::DiskFull(String::new()),
            Error::OutcomeUnknown,
            Error::StorageFailed,
            Error::Refused(Refusal::SumOutOfRange),
            Error::BodyTooLarge,
        ];
        assert!(refused.iter().all(|error| error.status().is_client_error()));
        assert!(Error::Stopping.status().is_server_error());
        assert!(Error::Unavailable(String::new()).status().is_server_error());
    }

    #[test]
    fn no_bad_request_sends_a_client_for_a_new_token() {
        let bad = [
            Error::InvalidExchange,
            Error::HostMissing,
            Error::InvalidProtocolVersion,
            Error::InvalidDatabaseId,
            Error::EnqueueUnsupported,
        ];
        assert!(bad.iter().all(|error| !error.to_string().to_lowercase().contains("authorization")));
    }
}
