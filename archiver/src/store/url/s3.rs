//! `s3://bucket/prefix?...`

use super::super::check_name;
use super::super::s3::options::{CUSTOMER_KEY_LEN, CustomerKey, Encryption, Lock};
use super::{Place, Result, parameters, wrong};
use engine::fs::{Fs, disk::Disk, read_file};
use std::path::Path;

/// The most tags of an object, inclusive.
const TAGS_MAX: usize = 10;
const KNOWN: &str = "endpoint, region, path_style, credentials, profile, sse, sse_kms_key_id, sse_key_file, \
                     storage_class, tag, lock and lock_days";

/// Parameters that mean something only together.
#[derive(Debug, Default)]
struct Together {
    sse: Option<String>,
    kms_key_id: Option<String>,
    key_file: Option<String>,
    lock: Option<String>,
    lock_days: Option<String>,
}

pub(super) fn parse(url: &str, rest: &str) -> Result<Place> {
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let bucket_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(bucket_byte) {
        return wrong(format!(
            "archive URL {url}: a bucket has 3 to 63 characters of a-z, 0-9, dot and dash"
        ));
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && check_name(prefix).is_err() {
        return wrong(format!(
            "archive URL {url}: the prefix may have letters, digits, dot, dash, underscore, /"
        ));
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let mut place = Place { bucket: bucket.to_owned(), prefix, ..Place::default() };
    let mut together = Together::default();
    for (key, value) in parameters(url, query)? {
        if value.is_empty() {
            return wrong(format!("archive URL {url}: parameter {key} is empty; {KNOWN} are known"));
        }
        parameter(url, &mut place, &mut together, &key, value)?;
    }
    place.options.encryption = encryption(url, &together, &Disk)?;
    place.options.lock = lock(url, &together)?;
    if place.chain && place.profile.is_some() {
        return wrong(format!("archive URL {url}: give profile or credentials=chain, not both"));
    }
    Ok(place)
}

fn parameter(url: &str, place: &mut Place, together: &mut Together, key: &str, value: String) -> Result<()> {
    let plain = |value: &str| value.bytes().all(|b| b.is_ascii_graphic());
    let once = match key {
        "endpoint" if value.starts_with("http://") || value.starts_with("https://") => &mut place.endpoint,
        "endpoint" => {
            return wrong(format!("archive URL {url}: endpoint must start with http:// or https://"));
        }
        "region" if plain(&value) => &mut place.region,
        "profile" => &mut place.profile,
        "sse" => &mut together.sse,
        "sse_kms_key_id" if plain(&value) => &mut together.kms_key_id,
        "sse_key_file" => &mut together.key_file,
        "lock" => &mut together.lock,
        "lock_days" => &mut together.lock_days,
        "storage_class" if matches!(value.as_str(), "GLACIER" | "DEEP_ARCHIVE") => {
            return wrong(format!(
                "archive URL {url}: objects of storage class {value} cannot be read at once; GLACIER_IR can"
            ));
        }
        "storage_class"
            if value.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') =>
        {
            &mut place.options.storage_class
        }
        "path_style" if matches!(value.as_str(), "true" | "false") => {
            place.path_style = Some(value == "true");
            return Ok(());
        }
        "path_style" => return wrong(format!("archive URL {url}: path_style is true or false")),
        "credentials" if matches!(value.as_str(), "environment" | "chain") => {
            place.chain = value == "chain";
            return Ok(());
        }
        "credentials" => return wrong(format!("archive URL {url}: credentials is environment or chain")),
        "tag" => return tag(url, &mut place.options.tags, &value),
        "region" | "sse_kms_key_id" | "storage_class" => {
            return wrong(format!("archive URL {url}: {key} cannot be {value}"));
        }
        _ => return wrong(format!("archive URL {url}: parameter {key} is unknown; {KNOWN} are known")),
    };
    match once.replace(value) {
        None => Ok(()),
        Some(_) => wrong(format!("archive URL {url}: parameter {key} is given twice")),
    }
}

fn tag(url: &str, tags: &mut Vec<(String, String)>, value: &str) -> Result<()> {
    let fits = |key: &str, value: &str| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256 && tags.len() < TAGS_MAX
    };
    match value.split_once(':').filter(|(key, value)| fits(key, value)) {
        Some((key, _)) if tags.iter().any(|(other, _)| other == key) => {
            wrong(format!("archive URL {url}: tag {key} is given twice"))
        }
        Some((key, value)) => {
            tags.push((key.to_owned(), value.to_owned()));
            Ok(())
        }
        None => wrong(format!(
            "archive URL {url}: tag is key:value, with at most 128 and 256 characters, and at most {TAGS_MAX} times"
        )),
    }
}

fn encryption(url: &str, together: &Together, fs: &dyn Fs) -> Result<Option<Encryption>> {
    let Together { sse, kms_key_id, key_file, .. } = together;
    let kind = sse.as_deref();
    if kms_key_id.is_some() && kind != Some("aws:kms") {
        return wrong(format!("archive URL {url}: sse_kms_key_id needs sse=aws:kms"));
    }
    if key_file.is_some() && kind != Some("customer") {
        return wrong(format!("archive URL {url}: sse_key_file needs sse=customer"));
    }
    match (kind, key_file) {
        (None, _) => Ok(None),
        (Some("AES256"), _) => Ok(Some(Encryption::Aes256)),
        (Some("aws:kms"), _) => Ok(Some(Encryption::Kms { key_id: kms_key_id.clone() })),
        (Some("customer"), Some(path)) => customer_key(url, path, fs).map(Encryption::Customer).map(Some),
        (Some("customer"), None) => wrong(format!("archive URL {url}: sse=customer needs sse_key_file")),
        (Some(_), _) => wrong(format!("archive URL {url}: sse is AES256, aws:kms or customer")),
    }
}

fn customer_key(url: &str, path: &str, fs: &dyn Fs) -> Result<CustomerKey> {
    if !path.starts_with('/') {
        return wrong(format!("archive URL {url}: sse_key_file is an absolute path"));
    }
    match read_file(fs, Path::new(path), CUSTOMER_KEY_LEN as u64) {
        Ok(bytes) => match <[u8; CUSTOMER_KEY_LEN]>::try_from(bytes) {
            Ok(key) => Ok(CustomerKey::new(&key)),
            Err(_short) => {
                wrong(format!("archive URL {url}: {path} must have exactly {CUSTOMER_KEY_LEN} bytes"))
            }
        },
        Err(error) => {
            wrong(format!("archive URL {url}: cannot read {CUSTOMER_KEY_LEN} bytes of {path}: {error}"))
        }
    }
}

fn lock(url: &str, together: &Together) -> Result<Option<Lock>> {
    let Together { lock, lock_days, .. } = together;
    let days = lock_days.as_deref().map(|days| days.parse::<u32>().ok().filter(|days| *days > 0));
    match (lock.as_deref(), days) {
        (None, None) => Ok(None),
        (Some(mode @ ("governance" | "compliance")), Some(Some(days))) => {
            Ok(Some(Lock { compliance: mode == "compliance", days }))
        }
        _ => wrong(format!(
            "archive URL {url}: a lock is lock=governance or lock=compliance, with lock_days, a number of days"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::s3::Options;
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn read(url: &str) -> Result<Place> {
        parse(url, url.strip_prefix("s3://").unwrap_or(url))
    }

    #[test]
    fn urls_name_buckets() -> TestResult {
        assert_eq!(read("s3://bucket")?.prefix, "");
        let full = read("s3://bucket/p/q/?endpoint=http://127.0.0.1:9000&region=eu-1&path_style=true")?;
        let expected = Place {
            bucket: "bucket".to_owned(),
            prefix: "p/q/".to_owned(),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            region: Some("eu-1".to_owned()),
            path_style: Some(true),
            ..Place::default()
        };
        assert_eq!(full, expected);
        Ok(())
    }

    #[test]
    fn urls_say_how_objects_are_kept() -> TestResult {
        let kept = |query: &str| read(&format!("s3://bucket/p?{query}")).map(|place| place.options);
        assert_eq!(kept("credentials=environment")?, Options::default());
        assert_eq!(kept("sse=AES256")?.encryption, Some(Encryption::Aes256));
        let key_id = Some("arn:aws:kms:eu:1:key/2".to_owned());
        let kms = kept("sse=aws:kms&sse_kms_key_id=arn:aws:kms:eu:1:key/2")?;
        assert_eq!(kms.encryption, Some(Encryption::Kms { key_id }));
        let all = kept("storage_class=STANDARD_IA&tag=team:kv&tag=a%26b:&lock=governance&lock_days=7")?;
        assert_eq!(all.storage_class.as_deref(), Some("STANDARD_IA"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(all.tags, [pair("team", "kv"), pair("a&b", "")]);
        assert_eq!(all.lock, Some(Lock { compliance: false, days: 7 }));
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("key");
        let file = Disk.create(&path)?;
        file.write_at(&[7; 32], 0)?;
        let customer = kept(&format!("sse=customer&sse_key_file={}", path.display()))?;
        assert_eq!(customer.encryption, Some(Encryption::Customer(CustomerKey::new(&[7; 32]))));
        file.set_len(31)?;
        assert!(kept(&format!("sse=customer&sse_key_file={}", path.display())).is_err());
        assert_eq!(read("s3://bucket?profile=backup")?.profile.as_deref(), Some("backup"));
        assert!(read("s3://bucket?credentials=chain")?.chain);
        Ok(())
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        let cases = [
            ("s3://", "bucket"),
            ("s3://UPPER/p", "bucket"),
            ("s3://bucket/../x", "prefix"),
            ("s3://bucket?endpoint=ftp://x", "endpoint"),
            ("s3://bucket?path_style=1", "path_style"),
            ("s3://bucket?secret=1", "secret is unknown"),
            ("s3://bucket?region=", "region is empty"),
            ("s3://bucket?region=a&region=b", "twice"),
            ("s3://bucket?credentials=mine", "environment or chain"),
            ("s3://bucket?credentials=chain&profile=x", "not both"),
            ("s3://bucket?sse=none", "AES256"),
            ("s3://bucket?sse=customer", "sse_key_file"),
            ("s3://bucket?sse=customer&sse_key_file=key", "absolute"),
            ("s3://bucket?sse=customer&sse_key_file=/absent", "cannot read"),
            ("s3://bucket?sse_key_file=/k", "sse=customer"),
            ("s3://bucket?sse=AES256&sse_kms_key_id=x", "sse=aws:kms"),
            ("s3://bucket?storage_class=GLACIER", "GLACIER_IR"),
            ("s3://bucket?storage_class=cheap", "storage_class cannot be"),
            ("s3://bucket?tag=x", "key:value"),
            ("s3://bucket?tag=x:1&tag=x:2", "twice"),
            ("s3://bucket?lock=governance", "lock_days"),
            ("s3://bucket?lock_days=7", "lock=governance"),
            ("s3://bucket?lock=legal&lock_days=7", "lock=governance"),
            ("s3://bucket?lock=compliance&lock_days=0", "lock_days"),
        ];
        for (url, word) in cases {
            let said = read(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(word) && !said.contains('\n'), "{url}: {said}");
        }
    }
}
