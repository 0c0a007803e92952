//! One site: a namespace with a TUN device, whose other end this process holds.

use crate::Error;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tun_tap::{Iface, Mode};

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";
/// What the names of ours begin with; the process that made one follows.
const PREFIX: &str = "cairn-";
/// Networks of one process get neighbouring addresses; processes are this many apart.
const NETWORKS_PER_PROCESS: u32 = 16;
/// Networks 10.64.0.0/24 to 10.191.255.0/24.
const NETWORKS_MAX: u32 = 128 << 8;

/// One site.
#[derive(Debug)]
pub(crate) struct Site {
    namespace: Option<String>,
    interface: String,
    address: Ipv4Addr,
    device: Arc<Device>,
}

/// The router's end of a site.
pub(crate) struct Device(Iface);

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.0.name()).finish()
    }
}

impl Device {
    /// Waits for the next packet that leaves the site; an error when the site is gone.
    pub(crate) fn receive(&self, packet: &mut [u8]) -> std::io::Result<usize> {
        self.0.recv(packet)
    }

    /// Hands a packet to the site.
    pub(crate) fn send(&self, packet: &[u8]) -> std::io::Result<usize> {
        self.0.send(packet)
    }
}

/// Whether this process may make sites at all.
pub(crate) fn possible() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotHere("this user is not root".to_owned()));
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err(Error::NotHere("there is no /dev/net/tun".to_owned()));
    }
    ip(&["netns", "list"]).map_err(|error| Error::NotHere(error.to_string()))
}

/// Removes namespaces whose process is gone. One that cannot be removed does no harm but to the eye.
pub(crate) fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            ip(&["netns", "del", &name]).ok();
        }
    }
}

impl Site {
    /// Makes site `number` of a network; number 0 is in this namespace.
    pub(crate) fn make(network: u32, number: usize) -> Result<Site, Error> {
        let process = std::process::id();
        let namespace = (number > 0).then(|| format!("{PREFIX}{process}-{network}-{number}"));
        let interface = format!("w{process}-{network}-{number}");
        let device = Iface::without_packet_info(&interface, Mode::Tun)
            .map_err(|error| Error::NotHere(format!("a TUN device: {error}")))?;
        let address = address(process, network, number);
        let site = Site { namespace, interface, address, device: Arc::new(Device(device)) };
        site.connect().inspect_err(|_| site.remove())?;
        Ok(site)
    }

    fn connect(&self) -> Result<(), Error> {
        let (interface, address) = (self.interface.as_str(), format!("{}/24", self.address));
        if let Some(namespace) = &self.namespace {
            ip(&["netns", "add", namespace])?;
            ip(&["link", "set", interface, "netns", namespace])?;
            self.ip_inside(&["link", "set", "lo", "up"])?;
        }
        self.ip_inside(&["addr", "add", &address, "dev", interface])?;
        self.ip_inside(&["link", "set", interface, "up"])
    }

    /// Runs `ip` with this site's namespace as its own.
    fn ip_inside(&self, arguments: &[&str]) -> Result<(), Error> {
        match &self.namespace {
            None => ip(arguments),
            Some(namespace) => ip(&[&["-n", namespace], arguments].concat()),
        }
    }

    /// Its address.
    pub(crate) const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its namespace; `None` for this process's.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The router's end.
    pub(crate) fn device(&self) -> Arc<Device> {
        self.device.clone()
    }

    /// Moves the calling thread to this site.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        let Some(namespace) = &self.namespace else { return Ok(()) };
        let failed = |reason: String| Error::Step { what: format!("enter {namespace}"), reason };
        let file =
            File::open(Path::new(NAMESPACES).join(namespace)).map_err(|error| failed(error.to_string()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| failed(error.to_string()))
    }

    /// Removes device and namespace; whoever receives from it is told. What is gone already is no error.
    pub(crate) fn remove(&self) {
        self.ip_inside(&["link", "del", &self.interface]).ok();
        if let Some(namespace) = &self.namespace {
            ip(&["netns", "del", namespace]).ok();
        }
    }
}

/// The address of a site: the last byte is its number plus 1.
fn address(process: u32, network: u32, number: usize) -> Ipv4Addr {
    let network = process.wrapping_mul(NETWORKS_PER_PROCESS).wrapping_add(network) % NETWORKS_MAX;
    let last = u32::try_from(number).expect("a site's number is below 250") + 1;
    Ipv4Addr::from_bits((10 << 24) + (64 << 16) + (network << 8) + last)
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    let failed = |reason: String| Error::Step { what: format!("run ip {}", arguments.join(" ")), reason };
    let output = Command::new("ip").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_neighbouring_networks_differ() {
        assert_eq!(address(1, 0, 0), Ipv4Addr::new(10, 64, 16, 1));
        assert_eq!(address(1, 1, 2), Ipv4Addr::new(10, 64, 17, 3));
        assert_eq!(address(u32::MAX, 0, 249).octets()[3], 250);
        let range = address(2047, 15, 0).octets();
        assert_eq!(range[..3], [10, 191, 255], "the last network");
    }
}
