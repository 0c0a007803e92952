//! Encryption of what is archived, in the `age` format (age-encryption.org/v1, X25519 recipients).
//!
//! - Whoever writes an archive holds recipients, which can only encrypt; whoever reads it holds an identity.
//! - Each object is encrypted by itself, under a key of its own, for every recipient.
//! - What is decrypted was written by somebody who knows a recipient, and those are not secret: that it is what belongs there
//!   follows from digests and content hashes, as for an object that is not encrypted.
//! - The same bytes encrypted twice differ, so that the digest of the plain bytes stays in no name but that of a table.

use crate::layout::Digest;
use crate::{Error, Result};
use age::x25519;
use bytes::Bytes;
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

/// The most recipients of an archive, inclusive.
pub const RECIPIENTS_MAX: usize = 16;
/// The most identities that are tried, inclusive.
pub const IDENTITIES_MAX: usize = 256;
/// More than the head of an encrypted object takes, in bytes.
const HEAD_BYTES_MAX: u64 = 8 << 10;
/// The plain bytes that are encrypted at a time.
const CHUNK_BYTES: u64 = 64 << 10;
/// What each of these adds.
const TAG_BYTES: u64 = 16;

/// The most bytes that so many plain bytes can take when they are encrypted.
pub const fn sealed_len_max(plain_bytes: u64) -> u64 {
    plain_bytes.saturating_add(TAG_BYTES * (plain_bytes / CHUNK_BYTES + 1)).saturating_add(HEAD_BYTES_MAX)
}

/// What is wrong with a list of keys. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not a recipient. Write the public key that age-keygen prints.
    #[error(
        "{text} is not an age recipient: expected age1 and 58 letters and digits, as age-keygen prints it"
    )]
    Recipient {
        /// What was given.
        text: String,
    },
    /// Somebody is named twice. Leave one out.
    #[error("recipient {recipient} is named twice")]
    Twice {
        /// Who.
        recipient: String,
    },
    /// There are too many. Leave some out.
    #[error("more than {max} keys")]
    TooMany {
        /// How many there can be.
        max: usize,
    },
    /// A line is not an identity. Give the file that age-keygen wrote.
    #[error("line {line} is not an age identity: expected AGE-SECRET-KEY-1..., as age-keygen writes it")]
    Identity {
        /// Counted from 1.
        line: usize,
    },
    /// There is none. Give the file that age-keygen wrote.
    #[error("it holds no age identity: expected AGE-SECRET-KEY-1..., as age-keygen writes it")]
    NoIdentity,
    /// A secret stands where a public key belongs: it would be on every node. Give the public key.
    #[error(
        "an age identity is given as a recipient: give the public key, and keep the identity off the nodes"
    )]
    SecretAsRecipient,
}

/// For whom an archive is encrypted; nobody when it is not.
#[derive(Clone, Default)]
pub struct Recipients {
    list: Arc<Vec<x25519::Recipient>>,
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(ToString::to_string)).finish()
    }
}

impl PartialEq for Recipients {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for Recipients {}

impl Recipients {
    /// Nobody: objects are stored as they are.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Reads recipients, each written `age1...`.
    ///
    /// # Errors
    ///
    /// Which of them is none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyError> {
        let mut list: Vec<x25519::Recipient> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for text in texts {
            if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
                return Err(KeyError::SecretAsRecipient);
            }
            let recipient = text.parse::<x25519::Recipient>();
            let recipient = recipient.map_err(|_reason| KeyError::Recipient { text: text.to_owned() })?;
            let name = recipient.to_string();
            if names.contains(&name) {
                return Err(KeyError::Twice { recipient: name });
            }
            names.push(name);
            list.push(recipient);
        }
        if list.len() > RECIPIENTS_MAX {
            return Err(KeyError::TooMany { max: RECIPIENTS_MAX });
        }
        Ok(Self { list: Arc::new(list) })
    }

    /// Reads a file of recipients: one a line; empty lines and those that start with # say nothing.
    ///
    /// # Errors
    ///
    /// As [`Recipients::parse`].
    pub fn parse_file(text: &str) -> Result<Self, KeyError> {
        Self::parse(lines(text).map(|(_, line)| line))
    }

    /// Whether nothing is encrypted.
    pub fn is_nobody(&self) -> bool {
        self.list.is_empty()
    }

    /// Tells one set of recipients from another.
    pub fn digest(&self) -> Digest {
        Digest::of(self.names().join("\n").as_bytes())
    }

    /// Them, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.list.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// What is stored for these bytes: the same bytes when there is no recipient. Takes as long as its length says.
    ///
    /// # Errors
    ///
    /// [`Error::Seal`], which is a bug.
    pub fn seal(&self, plain: Bytes) -> Result<Bytes> {
        if self.is_nobody() {
            return Ok(plain);
        }
        let failed = |reason: String| Error::Seal { reason };
        let recipients = self.list.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor =
            age::Encryptor::with_recipients(recipients).map_err(|error| failed(error.to_string()))?;
        let capacity = usize::try_from(sealed_len_max(plain.len() as u64)).unwrap_or(0);
        let write = || {
            let mut writer = encryptor.wrap_output(Vec::with_capacity(capacity))?;
            writer.write_all(&plain)?;
            writer.finish()
        };
        write().map(Bytes::from).map_err(|error| failed(error.to_string()))
    }
}

/// What opens an encrypted archive.
#[derive(Clone, Default)]
pub struct Identities {
    list: Arc<Vec<x25519::Identity>>,
}

impl fmt::Debug for Identities {
    /// How many, and nothing of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities", self.list.len())
    }
}

impl Identities {
    /// None: only archives that are not encrypted can be read.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the text of an identity file as `age-keygen` writes it: one a line; empty lines and those that start with # say
    /// nothing.
    ///
    /// # Errors
    ///
    /// Which line is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let identity =
            |(line, text): (usize, &str)| text.parse().map_err(|_reason| KeyError::Identity { line });
        let list = lines(text).map(identity).collect::<Result<Vec<x25519::Identity>, KeyError>>()?;
        match list.len() {
            0 => Err(KeyError::NoIdentity),
            1..=IDENTITIES_MAX => Ok(Self { list: Arc::new(list) }),
            _ => Err(KeyError::TooMany { max: IDENTITIES_MAX }),
        }
    }

    /// The plain bytes of an encrypted object, at most `len_max`. Takes as long as its length says.
    ///
    /// # Errors
    ///
    /// [`Error::Sealed`] when there is no identity or none that it was encrypted for, [`Error::Damaged`] otherwise.
    pub fn open(&self, object: &str, stored: &[u8], len_max: u64) -> Result<Bytes> {
        let sealed = |reason| Error::Sealed { object: object.to_owned(), reason };
        if self.list.is_empty() {
            return Err(sealed("it is encrypted: give its identity with --identity"));
        }
        let damaged = |expected: &str| Error::Damaged {
            object: object.to_owned(),
            offset: 0,
            expected: expected.to_owned(),
        };
        let decryptor =
            age::Decryptor::new_buffered(stored).map_err(|_reason| damaged("the head of an age file"))?;
        let identities = self.list.iter().map(|identity| identity as &dyn age::Identity);
        let reader = match decryptor.decrypt(identities) {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => {
                return Err(sealed("it is encrypted, and not for any identity that was given"));
            }
            Err(_other) => return Err(damaged("an age file that its identity opens")),
        };
        let mut plain = Vec::with_capacity(stored.len());
        let read = reader.take(len_max.saturating_add(1)).read_to_end(&mut plain);
        read.map_err(|_reason| damaged("an age file that is whole"))?;
        if plain.len() as u64 > len_max {
            return Err(damaged("fewer plain bytes"));
        }
        Ok(plain.into())
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().map(str::trim).zip(1..).map(|(line, number)| (number, line));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
pub(crate) mod tests;
