//! `sftp://user@host:port/absolute/path?...`

use super::{Host, Location, Result, decode, directory, parameters, wrong};

/// The variable that names the program which connects.
const PROGRAM_VARIABLE: &str = "CAIRN_SSH";

pub(super) fn parse(url: &str, rest: &str) -> Result<Location> {
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let Some((authority, path)) = place.split_once('/') else {
        return wrong(format!(
            "archive URL {url}: give a directory, as in sftp://user@host/var/backups/cairn"
        ));
    };
    let root = directory(url, &format!("/{path}"))?;
    let (user, place) =
        authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
    let user = user.map(|user| decode(url, user)).transpose()?;
    if user.as_ref().is_some_and(|user| user.contains(':')) {
        return wrong(format!(
            "archive URL {}: no password stands in a URL; use a key or an agent",
            masked(url)
        ));
    }
    let (name, port) = split_port(url, place)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%');
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(plain) {
        return wrong(format!("archive URL {url}: {name} is not the name of a host"));
    }
    if user.as_ref().is_some_and(|user| user.is_empty() || user.starts_with('-')) {
        return wrong(format!("archive URL {url}: the user before @ is not a user name"));
    }
    let program = std::env::var(PROGRAM_VARIABLE).ok().filter(|program| !program.is_empty());
    let program = program.unwrap_or_else(|| "ssh".to_owned());
    let mut host = Host { program, name: name.to_owned(), user, port, key: None, known_hosts: None };
    for (key, value) in parameters(url, query)? {
        let once = match key.as_str() {
            "key" => &mut host.key,
            "known_hosts" => &mut host.known_hosts,
            _ => {
                return wrong(format!(
                    "archive URL {url}: parameter {key} is unknown; key and known_hosts are known"
                ));
            }
        };
        if !value.starts_with('/') || value.contains('"') || once.replace(value).is_some() {
            return wrong(format!("archive URL {url}: {key} is the absolute path of a file, given once"));
        }
    }
    Ok(Location::Sftp { host, root })
}

/// Host and port; an address of IPv6 stands in brackets.
fn split_port<'a>(url: &str, place: &'a str) -> Result<(&'a str, Option<u16>)> {
    let (name, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => place.rsplit_once(':').map_or((place, None), |(name, port)| (name, Some(port))),
    };
    match port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0)) {
        None => Ok((name, None)),
        Some(Some(port)) => Ok((name, Some(port))),
        Some(None) => wrong(format!("archive URL {url}: the port is not a number from 1 to 65535")),
    }
}

/// The URL without what stands before the host.
fn masked(url: &str) -> String {
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, place)| format!("sftp://...@{place}"))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn urls_name_hosts_and_directories() -> Result<()> {
        let Location::Sftp { host, root } =
            parse("sftp://kv@backup.example:2222/srv/a%20b?key=/etc/key&known_hosts=/etc/known")?
        else {
            return wrong("it is SFTP");
        };
        assert_eq!(
            (host.name.as_str(), host.user.as_deref(), host.port),
            ("backup.example", Some("kv"), Some(2222))
        );
        assert_eq!(
            (host.key.as_deref(), host.known_hosts.as_deref()),
            (Some("/etc/key"), Some("/etc/known"))
        );
        assert_eq!(root, "/srv/a b");
        let Location::Sftp { host, .. } = parse("sftp://[::1]:22/x")? else { return wrong("it is SFTP") };
        assert_eq!((host.name.as_str(), host.port), ("::1", Some(22)));
        Ok(())
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        let cases = [
            ("sftp://host", "directory"),
            ("sftp://host/", "below the root"),
            ("sftp://host/../x", ".."),
            ("sftp:///x", "host"),
            ("sftp://-oProxyCommand=x/x", "host"),
            ("sftp://-l@h/x", "user"),
            ("sftp://@h/x", "user"),
            ("sftp://h:0/x", "port"),
            ("sftp://h:ssh/x", "port"),
            ("sftp://h/x?password=1", "unknown"),
            ("sftp://h/x?key=id", "absolute"),
            ("sftp://h/x?key=/a&key=/b", "once"),
        ];
        for (url, word) in cases {
            let said = parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(word) && !said.contains('\n'), "{url}: {said}");
        }
        let said = parse("sftp://me:hush@h/x").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("password") && !said.contains("hush"), "{said}");
    }
}
