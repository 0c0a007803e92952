//! The network as programs see it: what passes between two sites, how late, and what does not.

use cairn_wan::{Error, Link, Wan};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network, or `None` and a loud word where none can be.
fn start(sites: usize) -> Result<Option<Wan>, Error> {
    match Wan::start(sites) {
        Ok(wan) => Ok(Some(wan)),
        Err(Error::NotHere(why)) => {
            eprintln!("SKIPPED: {why}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Echoes one connection at a site; returns where it listens.
fn echo(wan: &Wan, site: usize) -> Result<SocketAddr, Box<dyn std::error::Error>> {
    let listener = wan.at(site, || TcpListener::bind((wan.address(site), 0)))??;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = [0; 1024];
        loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Ok::<_, std::io::Error>(());
            }
            stream.write_all(&buffer[..length])?;
        }
    });
    Ok(address)
}

/// The time of one echo, or the error when there is none within `bound`.
fn round_trip(stream: &mut TcpStream, bound: Duration) -> std::io::Result<Duration> {
    stream.set_read_timeout(Some(bound))?;
    stream.set_nodelay(true)?;
    let (start, mut answer) = (Instant::now(), [0; 4]);
    stream.write_all(b"ping")?;
    stream.read_exact(&mut answer)?;
    Ok(start.elapsed())
}

#[test]
fn a_round_trip_takes_both_delays_and_a_cut_ends_it() -> Result<(), Box<dyn std::error::Error>> {
    let Some(wan) = start(2)? else { return Ok(()) };
    let address = echo(&wan, 2)?;
    let mut stream = wan.at(1, || TcpStream::connect_timeout(&address, PATIENCE))??;
    wan.set(1, 2, Link { delay: Duration::from_millis(30), ..Link::default() });
    wan.set(2, 1, Link { delay: Duration::from_millis(10), ..Link::default() });
    let took = round_trip(&mut stream, PATIENCE)?;
    assert!(took >= Duration::from_millis(40), "{took:?}");

    // One direction is enough.
    wan.cut(2, 1, true);
    assert!(round_trip(&mut stream, Duration::from_millis(300)).is_err());
    // TCP sends again what was lost, so the answer to the first one comes once the link is mended.
    wan.cut(2, 1, false);
    let mut answer = [0; 4];
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"ping");
    assert!(wan.delivered() > 0);
    Ok(())
}

#[test]
fn this_namespace_is_a_site_and_an_isolated_one_is_reached_by_nobody()
-> Result<(), Box<dyn std::error::Error>> {
    let Some(wan) = start(1)? else { return Ok(()) };
    let address = echo(&wan, 1)?;
    wan.isolate(1, true);
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err());
    wan.isolate(1, false);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    round_trip(&mut stream, PATIENCE)?;
    Ok(())
}

#[test]
fn a_program_runs_at_its_site_and_nothing_is_left_behind() -> Result<(), Box<dyn std::error::Error>> {
    let Some(wan) = start(1)? else { return Ok(()) };
    let name = wan.namespace(1).unwrap_or_default().to_owned();
    let output = wan.command(1, "ip").args(["-4", "-o", "addr"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains(&wan.address(1).to_string()) && !text.contains(&wan.address(0).to_string()),
        "{text}"
    );
    assert!(std::path::Path::new("/run/netns").join(&name).exists());
    drop(wan);
    assert!(!std::path::Path::new("/run/netns").join(&name).exists());
    Ok(())
}
