//! A wide-area network on one machine, for tests: network namespaces, and a router in user space between them.
//!
//! - Site 0 is the namespace of the caller; sites 1, 2, ... have one each, in which processes are started with
//!   [`Wan::command`]. Every packet between two sites passes through the router, which delays it, loses it or cuts it
//!   off as told, for each direction on its own and at any moment.
//! - Packets of one direction stay in order, as on one path.
//! - It needs root and `/dev/net/tun`, and no `netem`. Where it cannot be, [`Error::NotHere`] says why.
//! - Dropping it removes everything; what a killed process left behind is removed by the next start.

mod router;
mod site;

pub use router::Link;

use router::Router;
use site::Site;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// Sites of one network, site 0 among them: each is one number in the last byte of an address.
pub const SITES_MAX: usize = 250;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine or this user cannot have one. Skip what needs it, and say so.
    #[error("no namespaces with TUN devices here: {0}")]
    NotHere(String),
    /// A step failed that should not have. Look at the machine.
    #[error("cannot {what}: {reason}")]
    Step {
        /// What was tried.
        what: String,
        /// What the system said.
        reason: String,
    },
}

/// A running network.
#[derive(Debug)]
pub struct Wan {
    router: Arc<Router>,
    sites: Vec<Site>,
    threads: Vec<JoinHandle<()>>,
}

/// Networks of this process so far; each has addresses and names of its own.
static NETWORKS: AtomicU32 = AtomicU32::new(0);

impl Wan {
    /// Makes a network of `sites` namespaces besides the caller's own. Links have no delay, no loss and no cut.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    ///
    /// # Panics
    ///
    /// If there are more than [`SITES_MAX`].
    pub fn start(sites: usize) -> Result<Wan, Error> {
        assert!(sites < SITES_MAX, "a network has up to {SITES_MAX} sites");
        site::possible()?;
        site::remove_stale();
        let network = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let sites = (0..=sites).map(|site| Site::make(network, site)).collect::<Result<Vec<_>, _>>()?;
        let devices = sites.iter().map(Site::device).collect();
        let router = Arc::new(Router::new(devices));
        let mut threads = Vec::new();
        for from in 0..sites.len() {
            let router = router.clone();
            threads.push(spawn(move || router.forward(from))?);
        }
        let deliverer = router.clone();
        threads.push(spawn(move || deliverer.deliver())?);
        Ok(Wan { router, sites, threads })
    }

    /// The address of a site.
    ///
    /// # Panics
    ///
    /// If there is no such site.
    pub fn address(&self, site: usize) -> Ipv4Addr {
        self.sites[site].address()
    }

    /// The namespace of a site, as `ip netns` calls it; `None` for site 0.
    ///
    /// # Panics
    ///
    /// If there is no such site.
    pub fn namespace(&self, site: usize) -> Option<&str> {
        self.sites[site].namespace()
    }

    /// A command that runs `program` at a site. Its process is the program itself, not a parent of it.
    ///
    /// # Panics
    ///
    /// If there is no such site.
    pub fn command(&self, site: usize, program: impl AsRef<OsStr>) -> Command {
        let Some(namespace) = self.namespace(site) else { return Command::new(program) };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }

    /// Runs `work` on a thread of its own at a site, and waits for it.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started or cannot enter the namespace.
    ///
    /// # Panics
    ///
    /// If `work` does, or there is no such site.
    pub fn at<T: Send>(&self, site: usize, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.sites[site].enter()?;
                Ok(work())
            });
            inside.join().expect("the work does not panic")
        })
    }

    /// Changes the link from one site to another, in this direction alone.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.router.set(from, to, link);
    }

    /// Changes the links between two sites, in both directions.
    pub fn set_both(&self, a: usize, b: usize, link: Link) {
        self.set(a, b, link);
        self.set(b, a, link);
    }

    /// Cuts or mends one direction, and leaves delay and loss as they are.
    pub fn cut(&self, from: usize, to: usize, cut: bool) {
        self.router.cut(from, to, cut);
    }

    /// Cuts or mends every link between a site and all others, in both directions.
    pub fn isolate(&self, site: usize, cut: bool) {
        for other in (0..self.sites.len()).filter(|other| *other != site) {
            self.cut(site, other, cut);
            self.cut(other, site, cut);
        }
    }

    /// Packets that were delivered so far.
    pub fn delivered(&self) -> u64 {
        self.router.delivered()
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.router.stop();
        for site in &self.sites {
            site.remove();
        }
        for thread in self.threads.drain(..) {
            // A thread of the router that panicked has said so already.
            thread.join().ok();
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let step =
        |error: std::io::Error| Error::Step { what: "start a thread".to_owned(), reason: error.to_string() };
    std::thread::Builder::new().name("wan".to_owned()).spawn(work).map_err(step)
}
