//! Where commits are archived, for whom, how often, and for how long.

use super::units::Millis;
use super::{ConfigError, bytes, invalid, millis};
use archiver::retention::{Kept, Policy};
use archiver::seal::Recipients;
use archiver::ship::DEFAULT_INTERVAL_MS;
use serde::Deserialize;
use std::path::PathBuf;

/// How long an archive on the disk of the data is kept unless told otherwise, in milliseconds.
pub const DEFAULT_LOCAL_RETENTION_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of a checkpoint that are uploaded in a second unless told otherwise; docs/benchmarks.md says what clients notice of it.
const DEFAULT_TABLE_BYTES_PER_S: u64 = 64 << 20;
/// How often a checkpoint is archived unless told otherwise, in milliseconds.
pub const DEFAULT_CHECKPOINT_INTERVAL_MS: u64 = 60 * 60 * 1000;
/// The most targets.
pub const TARGETS_MAX: usize = 8;
/// The bounds of the interval at which segments are shipped, in milliseconds, inclusive.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;
/// The most bytes of a file of recipients.
const RECIPIENTS_FILE_BYTES_MAX: u64 = 64 << 10;

/// The flags about archives, each with its environment variable.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ArchiveFlags {
    /// Where every commit is archived: file:///DIR, s3://BUCKET/PREFIX, or none; may be repeated [default: the folder archive in the data directory]
    #[arg(long, env = "CAIRN_ARCHIVE", value_name = "URL", value_delimiter = ' ')]
    pub archive: Vec<String>,

    /// Encrypt the archives for this age public key; may be repeated
    #[arg(long, env = "CAIRN_ARCHIVE_RECIPIENT", value_name = "AGE1...", value_delimiter = ' ')]
    pub archive_recipient: Vec<String>,

    /// Encrypt the archives for the age public keys in this file, one a line
    #[arg(long, env = "CAIRN_ARCHIVE_RECIPIENTS_FILE", value_name = "FILE")]
    pub archive_recipients_file: Option<PathBuf>,

    /// How often commits are shipped while there are any; half of it is the usual lag, and each time is one request [default: 400ms]
    #[arg(long, env = "CAIRN_ARCHIVE_INTERVAL", value_name = "DURATION")]
    pub archive_interval: Option<String>,

    /// Bytes of a checkpoint that are uploaded in a second to each archive, such as 50MiB; 0 is no bound [default: 64MiB]
    #[arg(long, env = "CAIRN_ARCHIVE_RATE", value_name = "SIZE")]
    pub archive_rate: Option<String>,

    /// How long every point of the archive is kept, such as 7d [default: 24h for file://, for ever for s3://]
    #[arg(long, env = "CAIRN_ARCHIVE_RETENTION", value_name = "DURATION")]
    pub archive_retention: Option<String>,

    /// Older points that are kept beyond that, such as hourly=24,daily=7,weekly=4,monthly=12,last=3 [default: none]
    #[arg(long, env = "CAIRN_ARCHIVE_KEEP", value_name = "RULES")]
    pub archive_keep: Option<String>,

    /// How often every byte of the archives is verified, such as 1d; needs the right to read and list [default: never]
    #[arg(long, env = "CAIRN_VERIFY_EVERY", value_name = "DURATION")]
    pub verify_every: Option<String>,

    /// How often a checkpoint is archived, such as 1h [default: 1h]
    #[arg(long, env = "CAIRN_CHECKPOINT_INTERVAL", value_name = "DURATION")]
    pub checkpoint_interval: Option<String>,
}

/// One URL or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Urls {
    /// `archive = "..."`
    One(String),
    /// `archive = ["...", "..."]`
    Several(Vec<String>),
}

impl From<Urls> for Vec<String> {
    fn from(urls: Urls) -> Self {
        match urls {
            Urls::One(url) => vec![url],
            Urls::Several(urls) => urls,
        }
    }
}

impl ArchiveFlags {
    /// What was said here, and where nothing was, what `file` says.
    pub(super) fn or(self, file: ArchiveFlags) -> ArchiveFlags {
        let list = |said: Vec<String>, file: Vec<String>| if said.is_empty() { file } else { said };
        ArchiveFlags {
            archive: list(self.archive, file.archive),
            archive_recipient: list(self.archive_recipient, file.archive_recipient),
            archive_recipients_file: self.archive_recipients_file.or(file.archive_recipients_file),
            archive_interval: self.archive_interval.or(file.archive_interval),
            archive_rate: self.archive_rate.or(file.archive_rate),
            archive_retention: self.archive_retention.or(file.archive_retention),
            archive_keep: self.archive_keep.or(file.archive_keep),
            verify_every: self.verify_every.or(file.verify_every),
            checkpoint_interval: self.checkpoint_interval.or(file.checkpoint_interval),
        }
    }
}

/// Where commits are archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// `<data>/archive`, which dies with the disk.
    Beside,
    /// These URLs, at least one.
    At(Vec<String>),
    /// Nowhere.
    Nowhere,
}

/// How commits are archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Where.
    pub at: Where,
    /// For whom everything is encrypted; nobody when it is not.
    pub recipients: Recipients,
    /// How often commits are shipped, in milliseconds.
    pub interval_ms: u64,
    /// Bytes of tables uploaded in a second; `None` without a bound.
    pub table_bytes_per_s_max: Option<u64>,
    /// What is kept; `None` when nothing is removed.
    pub policy: Option<Policy>,
    /// How often the archives are verified, in milliseconds; `None` is never.
    pub verify_every_ms: Option<u64>,
    /// How often a checkpoint is archived, in milliseconds.
    pub checkpoint_interval_ms: u64,
}

impl ArchiveSettings {
    /// Checks what was said.
    ///
    /// # Errors
    ///
    /// When a value cannot be used.
    pub(super) fn resolve(flags: ArchiveFlags) -> Result<Self, ConfigError> {
        let recipients = recipients(&flags)?;
        let interval = millis("archive-interval", flags.archive_interval)?.unwrap_or(DEFAULT_INTERVAL_MS);
        if !INTERVAL_MS.contains(&interval) {
            let (least, most) = (Millis(*INTERVAL_MS.start()), Millis(*INTERVAL_MS.end()));
            return Err(invalid("archive-interval")(format!("expected {least} to {most}")));
        }
        let at = place(flags.archive)?;
        let retention = millis("archive-retention", flags.archive_retention)?;
        Ok(Self {
            policy: policy(&at, retention, flags.archive_keep.as_deref())?,
            at,
            recipients,
            interval_ms: interval,
            table_bytes_per_s_max: Some(
                bytes("archive-rate", flags.archive_rate)?.unwrap_or(DEFAULT_TABLE_BYTES_PER_S),
            )
            .filter(|rate| *rate > 0),
            verify_every_ms: millis("verify-every", flags.verify_every)?.filter(|every| *every > 0),
            checkpoint_interval_ms: millis("checkpoint-interval", flags.checkpoint_interval)?
                .unwrap_or(DEFAULT_CHECKPOINT_INTERVAL_MS),
        })
    }
}

fn place(urls: Vec<String>) -> Result<Where, ConfigError> {
    let urls: Vec<String> = urls.into_iter().filter(|url| !url.is_empty()).collect();
    let says_none = |url: &String| url == "none";
    if urls.is_empty() {
        return Ok(Where::Beside);
    }
    if urls.iter().any(says_none) {
        return match urls.len() {
            1 => Ok(Where::Nowhere),
            _ => Err(invalid("archive")("none stands alone: leave it out, or the others")),
        };
    }
    if urls.len() > TARGETS_MAX {
        return Err(invalid("archive")(format!("expected at most {TARGETS_MAX} targets")));
    }
    Ok(Where::At(urls))
}

fn policy(at: &Where, retention_ms: Option<u64>, keep: Option<&str>) -> Result<Option<Policy>, ConfigError> {
    let kept = keep.map(str::parse::<Kept>).transpose().map_err(invalid("archive-keep"))?;
    let default_ms = (*at == Where::Beside).then_some(DEFAULT_LOCAL_RETENTION_MS);
    match (retention_ms.or(default_ms), kept) {
        (Some(window_ms), kept) => Ok(Some(Policy::new(window_ms, kept.unwrap_or_default()))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid("archive-keep")(
            "say --archive-retention too: for how long every point is kept before these rules count",
        )),
    }
}

fn recipients(flags: &ArchiveFlags) -> Result<Recipients, ConfigError> {
    let said = flags.archive_recipient.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    let mut texts: Vec<String> = said.map(str::to_owned).collect();
    if let Some(path) = &flags.archive_recipients_file {
        let wrong =
            |reason: String| invalid("archive-recipients-file")(format!("{}: {reason}", path.display()));
        let len = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if len > RECIPIENTS_FILE_BYTES_MAX {
            return Err(wrong("it is too large for a list of public keys".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let named = Recipients::parse_file(&text).map_err(|error| wrong(error.to_string()))?;
        if named.is_nobody() {
            return Err(wrong("it names no recipient".to_owned()));
        }
        texts.extend(named.names());
    }
    Recipients::parse(texts.iter().map(String::as_str)).map_err(invalid("archive-recipient"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "age18lqp448kkmjcdpeq4mc5vw9zkx3jn4v4kpfpkdu8l3tfpd52ca5syxsk6j";

    fn resolve(set: impl FnOnce(&mut ArchiveFlags)) -> Result<ArchiveSettings, String> {
        let mut flags = ArchiveFlags::default();
        set(&mut flags);
        ArchiveSettings::resolve(flags).map_err(|error| error.to_string())
    }

    fn said(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_local_archive_is_kept_for_a_day_and_a_named_one_for_ever() -> Result<(), String> {
        let beside = resolve(|_| {})?;
        assert_eq!(beside.at, Where::Beside);
        assert_eq!(beside.policy.map(|policy| policy.window_ms), Some(DEFAULT_LOCAL_RETENTION_MS));
        assert!(beside.recipients.is_nobody());
        let urls = vec!["s3://bucket/a".to_owned(), "file:///b".to_owned()];
        let named = resolve(|flags| flags.archive = urls.clone())?;
        assert_eq!((named.at, named.policy), (Where::At(urls), None));
        assert_eq!(resolve(|flags| flags.archive = vec!["none".to_owned()])?.at, Where::Nowhere);
        Ok(())
    }

    #[test]
    fn recipients_come_from_flags_and_from_a_file() -> Result<(), Box<dyn std::error::Error>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), format!("# us\n{KEY}\n"))?;
        let from_file = resolve(|flags| flags.archive_recipients_file = Some(file.path().to_path_buf()))?;
        let from_flag = resolve(|flags| flags.archive_recipient = vec![KEY.to_owned()])?;
        assert_eq!(from_file, from_flag);
        assert!(!from_flag.recipients.is_nobody());
        Ok(())
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        type Set = fn(&mut ArchiveFlags);
        let cases: &[(Set, &str)] = &[
            (|f| f.archive = vec!["none".to_owned(), "s3://bucket".to_owned()], "archive: none stands alone"),
            (|f| f.archive = vec!["x".to_owned(); TARGETS_MAX + 1], "archive: expected at most 8"),
            (|f| f.archive_recipient = vec!["age1".to_owned()], "archive-recipient: age1 is not an age"),
            (|f| f.archive_recipients_file = Some("/nowhere".into()), "archive-recipients-file: /nowhere"),
            (|f| f.archive_interval = said("1ms"), "archive-interval: expected 10 ms to"),
            (|f| f.archive_rate = said("fast"), "archive-rate: expected a size"),
        ];
        for (set, expected) in cases {
            let error = resolve(set).err().unwrap_or_default();

            assert!(error.contains(expected), "{expected}: {error}");
        }
        let alone = resolve(|flags| {
            flags.archive = vec!["s3://bucket".to_owned()];
            flags.archive_keep = said("daily=7");
        });
        assert!(alone.is_err_and(|error| error.contains("archive-keep: say --archive-retention too")));
        let bad = resolve(|flags| flags.archive_keep = said("yearly=1")).err().unwrap_or_default();
        assert!(bad.contains("archive-keep: expected"), "{bad}");
    }
}
