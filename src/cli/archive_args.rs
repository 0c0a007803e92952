//! Which archive a command reads, and what opens it.

use super::UsageError;
use archiver::Archive;
use archiver::seal::Identities;
use archiver::store::{self, ObjectStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most bytes of an identity file.
const IDENTITY_FILE_BYTES_MAX: u64 = 1 << 20;

/// An archive to read.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ArchiveArgs {
    /// URL of the archive: file:///absolute/path or s3://bucket/prefix?endpoint=...
    #[arg(long, env = "CAIRN_ARCHIVE", value_name = "URL")]
    from: String,

    /// File with the age identity that opens the archive, when it is encrypted (age-keygen writes one)
    #[arg(long, env = "CAIRN_IDENTITY", value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl ArchiveArgs {
    /// Opens it. Sends no request.
    ///
    /// # Errors
    ///
    /// A [`UsageError`] when the URL or the identity file cannot work.
    pub(super) fn open(&self) -> anyhow::Result<Archive> {
        open_archive(&self.from, self.identity.as_deref())
    }
}

/// Opens the store at a URL. Sends no request.
///
/// # Errors
///
/// A [`UsageError`] when the URL cannot work.
pub(super) fn open_store(url: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    store::open(url).map_err(|error| UsageError(error.to_string()).into())
}

/// Opens the archive at a URL with the identities in a file.
///
/// # Errors
///
/// A [`UsageError`] when the URL or the file cannot work.
pub(super) fn open_archive(url: &str, identity: Option<&Path>) -> anyhow::Result<Archive> {
    let store = store::open(url).map_err(|error| UsageError(error.to_string()))?;
    let identities = identity.map_or_else(|| Ok(Identities::none()), read_identities)?;
    Ok(Archive::new(store, identities))
}

fn read_identities(path: &Path) -> anyhow::Result<Identities> {
    let wrong = |reason: String| UsageError(format!("identity file {}: {reason}", path.display()));
    let len = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if len > IDENTITY_FILE_BYTES_MAX {
        return Err(wrong("it is too large: give the file that age-keygen wrote".to_owned()).into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Ok(Identities::parse(&text).map_err(|error| wrong(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_identity_file_is_said_in_a_line_without_what_is_in_it() -> std::io::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), "AGE-SECRET-KEY-1WRONG\n")?;
        for (path, word) in [(file.path(), "line 1"), (Path::new("/nowhere/at/all"), "No such file")] {
            let said = open_archive("file:///a/b", Some(path)).err().map(|error| error.to_string());
            let said = said.unwrap_or_default();
            assert!(said.contains(word) && !said.contains("WRONG") && !said.contains('\n'), "{said}");
        }
        Ok(())
    }
}
