//! A laboratory of hosts in network namespaces, for tests and demonstrations
//! with real programs.
//!
//! A [`Lab`] hands out [`Switch`]es and [`Host`]s; each is a network namespace
//! of its own, and a host is plugged into as many switches as it needs. Real
//! programs run in a host as [`Process`]es, our own test code by
//! [`Host::enter`], and [`Daemon`] is redirectd itself on a host.
//!
//! Everything carries the run's process id in its name and goes when its guard
//! is dropped, when the run panics, and on SIGINT, SIGTERM and SIGHUP. What a
//! run that was killed outright left behind, the next run removes.
//!
//! ```text
//! let lab = Lab::new()?;
//! let lan = lab.switch("lan")?;
//! let peer = lab.host("peer")?;
//! peer.plug(&lan, Plug::new("eth0").addr("10.0.0.1/24").addr("fd00::1/64"))?;
//! let page = peer.run(&["curl", "-s", "http://10.0.0.2/"])?;
//! ```

mod bpf;
mod cleanup;
mod daemon;
mod host;
mod lan;
mod machine;
mod process;
mod servers;
mod switch;
mod vlan;
mod wait;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};

pub use self::{
    bpf::{Program, ProgramType},
    daemon::{Binaries, Daemon},
    host::{Host, Plug},
    lan::Lan,
    machine::{Machine, criu, with_criu},
    process::{Finished, Process},
    servers::{Nginx, iperf3_server},
    switch::Switch,
    vlan::Tag,
    wait::{SLOWER, soon, until},
};

/// Everything a lab makes begins with this, the process id and a counter; no
/// dots, which the BPF file system does not take.
const PREFIX: &str = "redirectd-test-";

/// Labs of one process share the two cores, except those that ask for quiet.
static CORES: RwLock<()> = RwLock::new(());
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// One laboratory: hosts, switches, and a folder for their files.
pub struct Lab {
    inner: Arc<Inner>,
    _cores: Share,
}

/// How a lab shares the machine with the other labs of its process.
enum Share {
    With(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>),
}

/// What hosts, switches and daemons keep of their lab.
#[derive(Debug)]
struct Inner {
    id: String,
    dir: PathBuf,
    _removal: [cleanup::Token; 2],
}

/// A folder of BPF pins; it goes with its contents when this is dropped.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    _removal: cleanup::Token,
}

impl Pins {
    /// Where it is, on the BPF file system.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Lab {
    /// A new, empty lab that runs beside others of this process.
    ///
    /// # Errors
    /// Without root's rights, or when its folder cannot be made.
    pub fn new() -> Result<Self> {
        // A test that panicked with the lock held has already been reported.
        Self::sharing(Share::With(CORES.read().unwrap_or_else(|poison| poison.into_inner())))
    }

    /// A lab that runs while no other lab of this process does: for what
    /// measures time, or counts on no packet being lost in a full backlog.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn alone() -> Result<Self> {
        Self::sharing(Share::Alone(CORES.write().unwrap_or_else(|poison| poison.into_inner())))
    }

    fn sharing(cores: Share) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "network namespaces need root's rights; run this as root"
        );
        cleanup::prepare();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{PREFIX}{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        std::fs::create_dir(&dir)
            .with_context(|| format!("cannot make the lab's folder {}", dir.display()))?;
        // Servers that give up root's rights must reach their files.
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let removal = [cleanup::Token::cgroups(&id), cleanup::Token::folder(&dir)];
        Ok(Self { inner: Arc::new(Inner { id, dir, _removal: removal }), _cores: cores })
    }

    /// A new host, with nothing but `lo`, which is up.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub fn host(&self, name: &str) -> Result<Host> {
        Host::new(&self.inner, name)
    }

    /// A new switch whose links carry packets of up to 1,500 bytes.
    ///
    /// # Errors
    /// When the namespace or its bridge cannot be made.
    pub fn switch(&self, name: &str) -> Result<Switch> {
        Switch::new(&self.inner, name, 1500)
    }

    /// A new switch whose links carry IP packets of up to `mtu` bytes.
    ///
    /// # Errors
    /// When the namespace or its bridge cannot be made.
    pub fn narrow_switch(&self, name: &str, mtu: u32) -> Result<Switch> {
        Switch::new(&self.inner, name, mtu)
    }

    /// A name for a folder of BPF pins, which this lab's user makes.
    #[must_use]
    pub fn pins(&self) -> Pins {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(cleanup::PINS).join(format!("{}-pins{number}", self.inner.id));
        Pins { _removal: cleanup::Token::folder(&path), path }
    }

    /// Its name, unlike all others' on this machine. Containers with this name are
    /// the lab's: their cgroups go when it goes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.id
    }

    /// The folder for the files of this lab; it goes when the lab goes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }
}
