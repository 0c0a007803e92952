//! The first lines on standard output: where the server is, where its data is, how to connect.

use crate::config::Settings;
use crate::config::archive::Where;
use crate::config::units::Millis;
use crate::data_dir::{DataDir, DataDirError};
use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};

/// The access token and where it came from.
pub(super) struct Token {
    text: String,
    source: Source,
}

enum Source {
    Given,
    Kept,
    Made,
}

impl Token {
    /// The token that was given, else the one in the directory, else a new one.
    pub(super) fn of(dir: &DataDir, settings: &Settings) -> Result<Token, DataDirError> {
        if let Some(text) = &settings.access_token {
            return Ok(Token { text: text.clone(), source: Source::Given });
        }
        let token = dir.access_token()?;
        let source = if token.made { Source::Made } else { Source::Kept };
        Ok(Token { text: token.text, source })
    }

    /// The token that was given, else the one in the directory, if there is one.
    pub(super) fn known(dir: &DataDir, settings: &Settings) -> Result<Option<Token>, DataDirError> {
        if settings.access_token.is_some() || dir.token_path().exists() {
            return Token::of(dir, settings).map(Some);
        }
        Ok(None)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

pub(super) fn text(settings: &Settings, dir: &DataDir, token: &Token, addr: SocketAddr) -> String {
    let kept = dir.token_path();
    let (token_line, in_shell) = match token.source {
        Source::Given => ("as given".to_owned(), "<the access token>".to_owned()),
        Source::Kept => (format!("in {}", kept.display()), format!("$(cat {})", kept.display())),
        Source::Made => (format!("{} (kept in {})", token.text, kept.display()), token.text.clone()),
    };
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes every line");
    let scheme = if settings.tls.clients.is_some() { "https" } else { "http" };
    line(format!("CairnKV {} serves {scheme}://{addr}", env!("CARGO_PKG_VERSION")));
    line(format!("  data          {}", dir.path().display()));
    line(format!("  archive       {}", archive_line(settings, dir)));
    line(format!("  access token  {token_line}"));
    if addr.ip().is_loopback() {
        line("  reachable     from this machine alone; --addr 0.0.0.0:4512 opens it to others".to_owned());
    }
    line("Connect from Deno with".to_owned());
    line(format!("  DENO_KV_ACCESS_TOKEN={in_shell} deno run --unstable-kv --allow-env --allow-net main.ts"));
    line("where main.ts has".to_owned());
    line(format!("  const kv = await Deno.openKv(\"{scheme}://{}\");", reachable(addr)));
    if settings.tls.clients.is_some() {
        line(
            "with a name of the certificate as the host, and DENO_CERT=<file> for a CA of your own"
                .to_owned(),
        );
    }
    text
}

/// An address that a client on this machine can use.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

fn archive_line(settings: &Settings, dir: &DataDir) -> String {
    let is_encrypted = !settings.archive.recipients.is_nobody();
    let kept = match &settings.archive.policy {
        Some(policy) if !is_encrypted => format!("kept for {}", Millis(policy.window_ms)),
        Some(_) => "encrypted, and pruned where its identity is (cairn archive prune)".to_owned(),
        None if is_encrypted => "encrypted, and nothing is removed from it".to_owned(),
        None => "nothing is removed from it".to_owned(),
    };
    match &settings.archive.at {
        Where::Nowhere => "none: what is lost on this disk is lost".to_owned(),
        Where::Beside => {
            format!("{}, {kept} on this disk; it dies with the disk", dir.archive().display())
        }
        Where::At(urls) => format!("{}, {kept}", urls.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use engine::Env;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_made_token_is_shown_once_and_a_given_one_never() -> TestResult {
        let temp = tempfile::tempdir()?;
        let dir = DataDir::open(Env::real(), temp.path())?;
        let given = "a-secret-from-outside";
        let flags = Flags { access_token: Some(given.to_owned()), ..Flags::default() };
        let settings = Settings::resolve(flags)?;
        let shown = text(&settings, &dir, &Token::of(&dir, &settings)?, settings.addr);
        assert!(!shown.contains(given));
        let settings = Settings::resolve(Flags::default())?;
        let made = Token::of(&dir, &settings)?;
        assert!(text(&settings, &dir, &made, settings.addr).contains(made.text()));
        let kept = Token::of(&dir, &settings)?;
        assert_eq!(kept.text(), made.text());
        assert!(!text(&settings, &dir, &kept, settings.addr).contains(kept.text()));
        Ok(())
    }

    #[test]
    fn the_url_shown_can_be_used() -> TestResult {
        assert_eq!(reachable("0.0.0.0:1".parse()?), "127.0.0.1:1".parse()?);
        assert_eq!(reachable("[::]:1".parse()?), "[::1]:1".parse()?);
        assert_eq!(reachable("10.0.0.7:1".parse()?), "10.0.0.7:1".parse()?);
        Ok(())
    }
}
