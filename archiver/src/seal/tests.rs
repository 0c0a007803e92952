use super::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A key made for these tests, in the form that age-keygen writes.
pub(crate) const IDENTITY: &str = include_str!("../../testdata/identity.txt");
/// What the first release that encrypts made of [`PLAIN`] for that key.
const FROZEN: &[u8] = include_bytes!("../../testdata/sealed.age");
const PLAIN: &[u8] = b"what was sealed once is opened for ever";

pub(crate) fn recipients() -> Recipients {
    let public = IDENTITY.lines().find_map(|line| line.strip_prefix("# public key: "));
    Recipients::parse(public).expect("the file names its public key")
}

pub(crate) fn identities() -> Identities {
    Identities::parse(IDENTITY).expect("the file is an identity file")
}

#[test]
fn what_is_sealed_is_opened_by_any_recipient_and_nobody_else() -> TestResult {
    let other = x25519::Identity::generate();
    let both = Recipients::parse([other.to_public().to_string().as_str(), &recipients().names()[0]])?;
    for len in [0, 1, 65_536, 200_000] {
        let plain = Bytes::from(vec![7; len]);
        let sealed = both.seal(plain.clone())?;
        assert!(sealed.len() as u64 <= sealed_len_max(len as u64) && sealed.len() > len);
        assert_eq!(identities().open("o", &sealed, len as u64)?, plain);
        let alone = recipients().seal(plain.clone())?;
        let others = Identities { list: Arc::new(vec![other.clone()]) };
        assert_eq!(others.open("o", &sealed, len as u64)?, plain);
        assert!(matches!(others.open("o", &alone, len as u64), Err(Error::Sealed { .. })));
        assert!(matches!(Identities::none().open("o", &alone, len as u64), Err(Error::Sealed { .. })));
    }
    Ok(())
}

#[test]
fn nobody_means_as_it_is() -> TestResult {
    assert_eq!(Recipients::nobody().seal(Bytes::from_static(PLAIN))?, PLAIN);
    Ok(())
}

#[test]
fn any_flipped_bit_and_any_cut_is_found() -> TestResult {
    let sealed = recipients().seal(Bytes::from_static(PLAIN))?;
    for at in 0..sealed.len() {
        let mut flipped = sealed.to_vec();
        flipped[at] ^= 1;
        assert!(identities().open("o", &flipped, 1 << 20).is_err(), "byte {at}");
        assert!(identities().open("o", &sealed[..at], 1 << 20).is_err(), "cut at {at}");
    }
    assert!(identities().open("o", &sealed, PLAIN.len() as u64 - 1).is_err(), "more than was asked for");
    Ok(())
}

#[test]
fn the_format_is_frozen() -> TestResult {
    assert_eq!(identities().open("o", FROZEN, 1 << 20)?, PLAIN);
    Ok(())
}

#[test]
fn keys_that_are_none_are_refused_and_no_secret_is_shown() {
    let secret = IDENTITY.lines().last().unwrap_or_default();
    let names = recipients().names();
    let said = |texts: &[&str]| Recipients::parse(texts.iter().copied()).err().map(|e| e.to_string());
    assert!(said(&["age1xyz"]).is_some_and(|said| said.contains("age1xyz")));
    assert!(said(&[&names[0], &names[0]]).is_some_and(|said| said.contains("twice")));
    assert!(said(&[secret]).is_some_and(|said| !said.contains(&secret[16..])));
    let file = format!("# ours\n\n{}\n", names[0]);
    assert_eq!(Recipients::parse_file(&file).map(|found| found.names()), Ok(names));
    assert_eq!(Identities::parse("# empty\n").err(), Some(KeyError::NoIdentity));
    let bad = Identities::parse(&format!("{secret}\n{secret}x")).err();
    assert_eq!(bad, Some(KeyError::Identity { line: 2 }));
    assert!(!format!("{:?}", identities()).contains("AGE"));
}
