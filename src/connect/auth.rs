//! Who may talk to the database: the access token, and the data path tokens made from it.
//!
//! - The access token is kept as a digest and compared in constant time.
//! - A data path token is `<expiry, Unix ms, 16 hex digits>.<64 hex digits>`, the second part a keyed
//!   BLAKE3 over the expiry and the database id. Its key is derived from the access token, so every
//!   node with the same access token accepts it, and none has to remember it.
//! - A new access token ends all data path tokens made from the old one.
//! - Every database but the default one has an access token of its own, known by its digest alone.

use super::errors::Error;
use super::limits::TOKEN_LIFE_MS;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use uuid::Uuid;

/// The fewest characters of an access token, inclusive; as `denokv` has it.
pub const ACCESS_TOKEN_LEN_MIN: usize = 12;
/// The most characters of an access token, inclusive.
pub const ACCESS_TOKEN_LEN_MAX: usize = 1024;

const KEY_CONTEXT: &str = "CairnKV 2026-11-21 data path token";
const DATABASE_KEY_CONTEXT: &str = "CairnKV 2026-11-22 data path token of a database";

/// Checks access tokens, makes and checks data path tokens.
#[derive(Debug, Clone)]
pub struct Auth {
    access_digest: blake3::Hash,
    signing_key: SigningKey,
    database_id: Uuid,
}

#[derive(Clone)]
struct SigningKey([u8; 32]);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// Why a text cannot be an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessTokenError {
    /// Too short or too long.
    #[error("an access token has {ACCESS_TOKEN_LEN_MIN} to {ACCESS_TOKEN_LEN_MAX} characters")]
    Len,
    /// A space, a control character or one outside ASCII: a header cannot carry it.
    #[error("an access token has only visible ASCII characters")]
    Character,
}

/// Checks that `token` can be used as an access token.
///
/// # Errors
///
/// When it is too short, too long, or cannot stand in a header.
pub fn check_access_token(token: &str) -> Result<(), AccessTokenError> {
    if !(ACCESS_TOKEN_LEN_MIN..=ACCESS_TOKEN_LEN_MAX).contains(&token.len()) {
        return Err(AccessTokenError::Len);
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AccessTokenError::Character);
    }
    Ok(())
}

impl Auth {
    /// Takes the access token's digest and derives the signing key.
    pub fn new(access_token: &str, database_id: Uuid) -> Self {
        Self {
            access_digest: blake3::hash(access_token.as_bytes()),
            signing_key: SigningKey(blake3::derive_key(KEY_CONTEXT, access_token.as_bytes())),
            database_id,
        }
    }

    /// The tokens of another database, whose access token has this digest. Data path tokens are signed with a key that also
    /// needs this server's access token, so that who reads the digest in a backup cannot make one.
    #[must_use]
    pub fn of_database(&self, access_digest: [u8; 32], database_id: Uuid) -> Self {
        let material = [self.signing_key.0, access_digest].concat();
        Self {
            access_digest: blake3::Hash::from_bytes(access_digest),
            signing_key: SigningKey(blake3::derive_key(DATABASE_KEY_CONTEXT, &material)),
            database_id,
        }
    }

    /// The id that data path requests must name.
    pub const fn database_id(&self) -> Uuid {
        self.database_id
    }

    /// Checks that the request carries the access token.
    ///
    /// # Errors
    ///
    /// 401 when it carries none or another.
    pub fn check_access(&self, headers: &HeaderMap) -> Result<(), Error> {
        let token = bearer(headers)?;
        // Hashes compare in constant time.
        if blake3::hash(token.as_bytes()) == self.access_digest { Ok(()) } else { Err(Error::InvalidToken) }
    }

    /// A data path token that is good from `now_ms`, and when it expires in Unix milliseconds.
    pub fn issue(&self, now_ms: u64) -> (String, u64) {
        // Whole seconds, because the expiry is told to clients in them.
        let expires_ms = (now_ms.saturating_add(TOKEN_LIFE_MS) / 1000) * 1000;
        (format!("{expires_ms:016x}.{}", self.sign(expires_ms).to_hex()), expires_ms)
    }

    /// Checks that the request carries a data path token that has not expired.
    ///
    /// # Errors
    ///
    /// 401 when it carries none, one that has expired, or one that is not ours.
    pub fn check_data_path(&self, headers: &HeaderMap, now_ms: u64) -> Result<(), Error> {
        let (expires_ms, signature) = parse(bearer(headers)?).ok_or(Error::InvalidToken)?;
        if self.sign(expires_ms) == signature && now_ms < expires_ms {
            Ok(())
        } else {
            Err(Error::InvalidToken)
        }
    }

    fn sign(&self, expires_ms: u64) -> blake3::Hash {
        let mut message = [0; 24];
        message[..8].copy_from_slice(&expires_ms.to_be_bytes());
        message[8..].copy_from_slice(self.database_id.as_bytes());
        blake3::keyed_hash(&self.signing_key.0, &message)
    }
}

fn parse(token: &str) -> Option<(u64, blake3::Hash)> {
    let (expiry, signature) = token.split_once('.')?;
    let canonical = expiry.len() == 16 && expiry.bytes().all(|b| b.is_ascii_hexdigit());
    let expires_ms = canonical.then(|| u64::from_str_radix(expiry, 16).ok())??;
    Some((expires_ms, blake3::Hash::from_hex(signature).ok()?))
}

/// The token of `Authorization: Bearer <token>`, "bearer" in any case.
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) =
        header.and_then(|text| text.split_once(' ')).ok_or(Error::MalformedAuthorization)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token) } else { Err(Error::MalformedAuthorization) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn with(value: &str) -> Result<HeaderMap, Box<dyn std::error::Error>> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value)?);
        Ok(headers)
    }

    fn auth() -> Auth {
        Auth::new("correct-horse-battery", Uuid::from_u128(1))
    }

    #[test]
    fn the_access_token_opens_and_anything_else_does_not() -> TestResult {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(auth().check_access(&with(&format!("{scheme} correct-horse-battery"))?), Ok(()));
        }
        for (header, error) in [
            ("Bearer correct-horse-batter", Error::InvalidToken),
            ("Bearer ", Error::InvalidToken),
            ("Bearer", Error::MalformedAuthorization),
            ("Basic correct-horse-battery", Error::MalformedAuthorization),
        ] {
            assert_eq!(auth().check_access(&with(header)?), Err(error), "{header}");
        }
        assert_eq!(auth().check_access(&HeaderMap::new()), Err(Error::MalformedAuthorization));
        Ok(())
    }

    #[test]
    fn a_data_path_token_is_good_until_it_expires() -> TestResult {
        let (token, expires_ms) = auth().issue(1_000);
        let headers = with(&format!("Bearer {token}"))?;
        assert_eq!(expires_ms, 1_000 + TOKEN_LIFE_MS);
        assert_eq!(auth().check_data_path(&headers, expires_ms - 1), Ok(()));
        assert_eq!(auth().check_data_path(&headers, expires_ms), Err(Error::InvalidToken));
        Ok(())
    }

    #[test]
    fn a_changed_or_foreign_token_is_refused() -> TestResult {
        let (token, _) = auth().issue(0);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
            let headers = with(&format!("Bearer {}", String::from_utf8(bytes)?))?;
            assert_eq!(auth().check_data_path(&headers, 0), Err(Error::InvalidToken), "byte {at}");
        }
        for other in [
            Auth::new("another-token", Uuid::from_u128(1)),
            Auth::new("correct-horse-battery", Uuid::from_u128(2)),
        ] {
            let headers = with(&format!("Bearer {}", other.issue(0).0))?;
            assert_eq!(auth().check_data_path(&headers, 0), Err(Error::InvalidToken));
        }
        let access = with("Bearer correct-horse-battery")?;
        assert_eq!(auth().check_data_path(&access, 0), Err(Error::InvalidToken));
        Ok(())
    }

    #[test]
    fn each_database_has_tokens_of_its_own() -> TestResult {
        let digest = *blake3::hash(b"token-of-the-database").as_bytes();
        let (own, id) = (auth().of_database(digest, Uuid::from_u128(7)), Uuid::from_u128(7));
        assert_eq!(own.database_id(), id);
        assert_eq!(own.check_access(&with("Bearer token-of-the-database")?), Ok(()));
        assert_eq!(own.check_access(&with("Bearer correct-horse-battery")?), Err(Error::InvalidToken));
        let headers = with(&format!("Bearer {}", own.issue(0).0))?;
        assert_eq!(own.check_data_path(&headers, 0), Ok(()));
        let other_node = Auth::new("correct-horse-battery", Uuid::from_u128(1)).of_database(digest, id);
        assert_eq!(other_node.check_data_path(&headers, 0), Ok(()), "every node takes it");
        for other in [
            auth(),
            auth().of_database(digest, Uuid::from_u128(8)),
            auth().of_database(*blake3::hash(b"a-newer-token").as_bytes(), id),
            Auth::new("another-cluster", Uuid::from_u128(1)).of_database(digest, id),
        ] {
            assert_eq!(other.check_data_path(&headers, 0), Err(Error::InvalidToken));
        }
        Ok(())
    }

    #[test]
    fn the_token_is_not_in_what_is_printed() {
        assert!(!format!("{:?}", auth()).contains("correct-horse"));
    }

    #[test]
    fn tokens_that_no_header_can_carry_are_refused() {
        assert_eq!(check_access_token("eleven-char"), Err(AccessTokenError::Len));
        assert_eq!(check_access_token("twelve chars"), Err(AccessTokenError::Character));
        assert_eq!(check_access_token("twelve-chärs"), Err(AccessTokenError::Character));
        assert_eq!(check_access_token("twelve-chars"), Ok(()));
    }
}
