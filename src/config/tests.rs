use super::archive::{DEFAULT_CHECKPOINT_INTERVAL_MS, Where};
use super::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn file(text: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    Ok(file)
}

fn with_file(text: &str, flags: Flags) -> Result<Settings, Box<dyn std::error::Error>> {
    let file = file(text)?;
    Ok(Settings::resolve(Flags { config: Some(file.path().to_path_buf()), ..flags })?)
}

#[test]
fn nothing_said_is_safe_and_complete() -> TestResult {
    let settings = Settings::resolve(Flags::default())?;
    assert_eq!(settings.data, Path::new(DEFAULT_DATA));
    assert!(settings.addr.ip().is_loopback());
    assert_eq!(settings.addr.port(), 4512);
    assert_eq!(settings.archive.at, Where::Beside);
    assert_eq!(settings.access_token, None);
    assert_eq!((settings.disk_reserve_bytes, settings.scrub_bytes_per_s), (None, None));
    Ok(())
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() -> TestResult {
    let text = "data = '/srv/kv'\naddr = '0.0.0.0:1'\nhistory = '2h'\nhistory-size = '2GiB'\nlog-format = 'json'\ndisk-reserve = '3GiB'\nmemory = '1GiB'\nthreads = 3\nscrub = '2MiB'";
    let flags = Flags { addr: Some("[::1]:2".to_owned()), ..Flags::default() };
    let settings = with_file(text, flags)?;
    assert_eq!(settings.data, Path::new("/srv/kv"));
    assert_eq!(settings.addr, "[::1]:2".parse()?);
    assert_eq!((settings.history_ms, settings.history_bytes_max), (7_200_000, 2 << 30));
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.disk_reserve_bytes, Some(3 << 30));
    assert_eq!(settings.memory_bytes_max, Some(1 << 30));
    assert_eq!((settings.threads, settings.scrub_bytes_per_s), (3, Some(2 << 20)));
    assert_eq!(settings.archive.checkpoint_interval_ms, DEFAULT_CHECKPOINT_INTERVAL_MS);
    Ok(())
}

#[test]
fn archives_stand_in_a_file_alone_or_as_a_list() -> TestResult {
    for (text, urls) in [
        ("archive = 's3://bucket/a'", &["s3://bucket/a"][..]),
        ("archives = ['s3://bucket/a', 'file:///b']", &["s3://bucket/a", "file:///b"]),
    ] {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        assert_eq!(with_file(text, Flags::default())?.archive.at, Where::At(urls));
    }
    let text = "archive-interval = '2s'\narchive-retention = '7d'\narchive-keep = 'daily=7'";
    let settings = with_file(text, Flags::default())?.archive;
    assert_eq!(settings.interval_ms, 2_000);
    assert_eq!(settings.policy.map(|policy| (policy.window_ms, policy.kept.daily)), Some((604_800_000, 7)));
    Ok(())
}

#[test]
fn a_node_of_a_cluster_can_be_described_in_a_file() -> TestResult {
    let text = "peer-addr = '10.0.0.2:4513'\njoin = 'http://10.0.0.1:4512'\nlearner = true\nregion = 'eu'\nprimary-region = 'us'\nread-lease = true\nheartbeat = '100ms'\nelection = '1s'";
    let cluster = ClusterFlags { region: Some("ap".to_owned()), ..ClusterFlags::default() };
    let settings = with_file(text, Flags { cluster, ..Flags::default() })?.cluster;
    assert_eq!(settings.peer.map(|peer| peer.listen), Some("10.0.0.2:4513".parse()?));
    assert_eq!((settings.join.len(), settings.learner, settings.read_lease), (1, true, true));
    assert_eq!(settings.region.as_deref(), Some("ap"), "a flag wins");
    assert_eq!(settings.primary_region.as_deref(), Some("us"));
    assert_eq!((settings.heartbeat_ms, settings.election_ms), (100, 1_000));
    assert_eq!(with_file("groups = 3", Flags::default())?.cluster.groups, Some(3));
    Ok(())
}

#[test]
fn a_file_that_is_not_understood_is_refused_with_its_line() {
    for (text, expected) in [
        ("data = '/srv'\nadress = '1'", "line 2: unknown field `adress`"),
        ("data = [", "line 1:"),
        ("\n\naddr = 4512", "line 3: invalid type"),
        ("addr = 'localhost'", "invalid value for addr: expected <ip>:<port>"),
        ("history = '1'", "invalid value for history: expected a duration"),
        ("history-size = '1h'", "invalid value for history-size: expected a size"),
        ("disk-reserve = 'lots'", "invalid value for disk-reserve: expected a size"),
        ("threads = 0", "invalid value for threads: expected 1 to 1024, not 0"),
        ("log-format = 'xml'", "invalid value for log-format: expected text or json"),
        ("access-token = 'short'", "invalid value for access-token: an access token has 12"),
    ] {
        let error = with_file(text, Flags::default()).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(expected), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_secret_is_in_no_message() -> TestResult {
    let secret = "my secret with spaces";
    let flags = || Flags { access_token: Some(secret.to_owned()), ..Flags::default() };
    let error = Settings::resolve(flags()).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(!error.is_empty() && !error.contains(secret), "{error}");
    let flags = Flags { access_token: Some("long-enough-secret".to_owned()), ..Flags::default() };
    assert!(!format!("{:?}", Settings::resolve(flags)?).contains("long-enough-secret"));
    Ok(())
}
