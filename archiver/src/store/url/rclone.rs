//! `rclone://host:port/remote:path`, or `rclone:///remote:path` for a remote control that we start.

use super::super::rclone::Server;
use super::{Location, Result, decode, wrong};

/// The variable that names the program which is started.
const PROGRAM_VARIABLE: &str = "CAIRN_RCLONE";
/// The variables that say who asks a remote control that runs already.
const USER_VARIABLE: &str = "CAIRN_RCLONE_USER";
const PASSWORD_VARIABLE: &str = "CAIRN_RCLONE_PASSWORD";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(super) fn parse(url: &str, rest: &str) -> Result<Location> {
    let (address, remote) = rest.split_once('/').unwrap_or((rest, ""));
    let remote = decode(url, remote)?;
    if !remote.contains(':') && !remote.starts_with('/') || remote.ends_with(':') && remote.len() == 1 {
        return wrong(format!(
            "archive URL {url}: give a remote as rclone names it, as in rclone:///remote:bucket/path"
        ));
    }
    if remote.starts_with('-') || remote.contains(['[', ']', '?', '#']) {
        return wrong(format!("archive URL {url}: {remote} is not a remote of rclone"));
    }
    if address.is_empty() {
        let program = variable(PROGRAM_VARIABLE).unwrap_or_else(|| "rclone".to_owned());
        return Ok(Location::Rclone { server: Server::Child(program), remote });
    }
    if address.contains('@') {
        return wrong(format!(
            "archive URL rclone://...: no password stands in a URL; set {USER_VARIABLE} and {PASSWORD_VARIABLE}"
        ));
    }
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port == 0) {
        return wrong(format!(
            "archive URL {url}: give host and port, as in rclone://127.0.0.1:5572/remote:path"
        ));
    }
    let user = variable(USER_VARIABLE).zip(variable(PASSWORD_VARIABLE));
    Ok(Location::Rclone { server: Server::At { address: address.to_owned(), user }, remote })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn urls_name_remotes() -> Result<()> {
        for (url, expected) in [
            ("rclone:///b2:bucket/a%20b", ("", "b2:bucket/a b")),
            ("rclone://127.0.0.1:5572/b2:", ("127.0.0.1:5572", "b2:")),
            ("rclone:////srv/kv", ("", "/srv/kv")),
        ] {
            let Location::Rclone { server, remote } = parse(url)? else { return wrong("it is rclone") };
            let address = if let Server::At { address, .. } = server { address } else { String::new() };
            assert_eq!((address.as_str(), remote.as_str()), expected, "{url}");
        }
        Ok(())
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, word) in [
            ("rclone://", "remote"),
            ("rclone:///bucket", "remote"),
            ("rclone:///:", "remote"),
            ("rclone:///-x:y", "not a remote"),
            ("rclone:///a:b]c", "not a remote"),
            ("rclone://host/a:b", "host and port"),
            ("rclone://host:0/a:b", "host and port"),
            ("rclone://me:hush@host:1/a:b", "CAIRN_RCLONE_PASSWORD"),
        ] {
            let said = parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(word) && !said.contains("hush") && !said.contains('\n'), "{url}: {said}");
        }
    }
}
