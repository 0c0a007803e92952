use super::*;
use parking_lot::Mutex;
use rcgen::{CertifiedKey, generate_simple_self_signed};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A certificate for the name, and its key.
fn signed(name: &str) -> Result<(String, String), rcgen::Error> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()])?;
    Ok((cert.pem(), signing_key.serialize_pem()))
}

struct Folder {
    folder: tempfile::TempDir,
    files: CertFiles,
}

impl Folder {
    fn with(cert: &str, key: &str) -> std::io::Result<Folder> {
        let folder = tempfile::tempdir()?;
        let files = CertFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        let folder = Folder { folder, files };
        folder.write(cert, key)?;
        Ok(folder)
    }

    fn write(&self, cert: &str, key: &str) -> std::io::Result<()> {
        std::fs::write(&self.files.cert, cert)?;
        std::fs::write(&self.files.key, key)
    }
}

/// Files without a meaning, of which a test says whether they can be used.
/// What was shown so far.
type Shown = Arc<Mutex<Vec<Vec<u8>>>>;

fn watched(files: &CertFiles) -> Result<(Watched, Shown), ConfigError> {
    let in_use: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let mut watched = Watched::new([("tls-cert", files.cert.clone()), ("tls-key", files.key.clone())]);
    let (read, used) = (watched.read()?, in_use.clone());
    watched.begin(read, move |read| {
        if read[0] != read[1] {
            return Err(value("tls-cert")("they do not fit"));
        }
        *used.lock() = read.to_vec();
        Ok(())
    });
    Ok((watched, in_use))
}

#[test]
fn a_certificate_that_changes_is_put_into_use() -> TestResult {
    let ((cert, key), (next_cert, next_key)) = (signed("one")?, signed("two")?);
    let folder = Folder::with(&cert, &key)?;
    let (tls, mut watched) = ClientTls::open(&folder.files)?;
    let before = tls.0.load_full();
    watched.look(false);
    assert!(Arc::ptr_eq(&before, &tls.0.load_full()), "nothing has changed");
    folder.write(&next_cert, &next_key)?;
    watched.look(false);
    let after = tls.0.load_full();
    assert!(!Arc::ptr_eq(&before, &after));
    folder.write("rubbish", &next_key)?;
    watched.look(true);
    assert!(Arc::ptr_eq(&after, &tls.0.load_full()), "what cannot be used is not put into use");
    Ok(())
}

#[test]
fn files_that_change_one_after_the_other_are_waited_for() -> TestResult {
    let folder = Folder::with("a", "a")?;
    let (mut watched, in_use) = watched(&folder.files)?;
    folder.write("b", "a")?;
    watched.look(false);
    assert_eq!((watched.state, in_use.lock().len()), (State::Unsettled, 0));
    folder.write("b", "b")?;
    watched.look(false);
    assert_eq!((watched.state, in_use.lock()[0].as_slice()), (State::InUse, &b"b"[..]));
    Ok(())
}

#[test]
fn what_stays_wrong_is_given_up_until_it_changes() -> TestResult {
    let folder = Folder::with("a", "a")?;
    let (mut watched, in_use) = watched(&folder.files)?;
    folder.write("b", "c")?;
    for expected in [State::Unsettled, State::Rejected, State::Rejected] {
        watched.look(false);
        assert_eq!(watched.state, expected);
    }
    std::fs::remove_file(&folder.files.key)?;
    for expected in [State::Unsettled, State::Rejected, State::Rejected] {
        watched.look(false);
        assert_eq!(watched.state, expected);
    }
    folder.write("d", "e")?;
    watched.look(true);
    assert_eq!(watched.state, State::Rejected, "who asks is told at once");
    folder.write("f", "f")?;
    watched.look(false);
    assert_eq!((watched.state, in_use.lock()[0].as_slice()), (State::InUse, &b"f"[..]));
    Ok(())
}

#[test]
fn what_cannot_be_used_at_the_start_is_named_by_its_setting() -> TestResult {
    let ((cert, key), (_, other_key)) = (signed("one")?, signed("two")?);
    let cases = [
        ("", &key, "tls-cert: no certificate in the file"),
        (&cert, &String::new(), "tls-key: "),
        (&cert, &other_key, "tls-cert: "),
        (&"x".repeat(2 << 20), &key, "tls-cert: "),
    ];
    for (cert, key, expected) in cases {
        let folder = Folder::with(cert, key)?;
        let error = ClientTls::open(&folder.files).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let folder = Folder::with(&cert, &key)?;
    std::fs::remove_file(&folder.files.cert)?;
    let error = ClientTls::open(&folder.files).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("tls-cert: cannot read") && error.contains("cert.pem"), "{error}");
    drop(folder.folder);
    Ok(())
}
