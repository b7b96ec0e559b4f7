//! Where a test begins: home with redirectd, and two machines that processes
//! move between.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use redirectd::{
    error::Error,
    migrate::criu::{
        Criu, Dump, DumpStage, gone,
        images::{
            FILES, TREE,
            readdress::{Relocation, readdress},
            sockets::sockets,
            tree::{self, Process},
        },
    },
};
use xtask::lab::{Binaries, Daemon, Lab, Lan, Machine, criu};

use crate::arrival::Arrival;

const CONFIGURATION: &str = "home: [10.0.0.2, 'fd00::2']
tables: { redirects: 64, flows: 8192, half_open: 2048 }
interfaces: { eth0: { attach: tc } }
";
/// How long a killed process may take to go.
const GOING: Duration = Duration::from_secs(5);
/// CRIU writes images here as a rule: on a tmpfs, as the product does.
const SHM: &str = "/dev/shm";

/// A peer, home with redirectd, and the machines c and d. The fields are in the
/// order in which they must go.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) c: Place,
    pub(crate) d: Place,
    pub(crate) lan: Lan,
    images: Folder,
    _lab: Lab,
}

/// A machine that processes move to.
pub(crate) struct Place {
    pub(crate) machine: Machine,
    pub(crate) v4: &'static str,
    pub(crate) v6: &'static str,
}

/// A folder that goes with its guard.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    /// Its CRIU.
    pub(crate) fn criu(&self) -> Criu {
        let enter = self.machine.enter().into_iter().map(Into::into);
        Criu::run_by(enter.chain([criu().into_os_string()]).collect())
    }

    /// Keeps all that comes from outside away from its sockets, silently: what
    /// parking does at home.
    pub(crate) fn deafen(&self) -> Result<()> {
        let rules = "add table inet deaf
            add chain inet deaf in { type filter hook input priority 0; }
            add rule inet deaf in iifname eth0 meta l4proto { tcp, udp } drop";
        self.machine.host().run(&["nft", rules]).map(drop)
    }

    /// Lets it hear again.
    pub(crate) fn hear(&self) -> Result<()> {
        self.machine.host().run(&["nft", "delete table inet deaf"]).map(drop)
    }
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let lan = Lan::new(&lab)?;
        let binaries = Binaries {
            redirectd: env!("CARGO_BIN_EXE_redirectd").into(),
            redirect: env!("CARGO_BIN_EXE_redirect").into(),
        };
        let daemon = Daemon::start(&lan.home, &binaries, CONFIGURATION)?;
        let name = lab.dir().file_name().context("the lab has a folder")?;
        let images = Folder(Path::new(SHM).join(name));
        fs::create_dir(&images.0)?;
        let c = Place { machine: Machine::new(&lan.c)?, v4: "10.0.0.3", v6: "fd00::3" };
        let d = Place { machine: Machine::new(&lan.d)?, v4: "10.0.0.4", v6: "fd00::4" };
        Ok(Self { daemon, c, d, lan, images, _lab: lab })
    }

    /// Redirects port 7 of home to port 7000 of `place`, wherever it led before.
    pub(crate) fn redirect_to(&self, place: &Place) -> Result<()> {
        for (name, at, to) in
            [("four", "10.0.0.2:7", place.v4), ("six", "[fd00::2]:7", &format!("[{}]", place.v6))]
        {
            let target = format!("{to}:7000");
            let add = ["add", name, at, "--to", &target, "--protocol", "tcp,udp"];
            let options = ["--flows", "follow", "--replace", "--no-check"];
            self.daemon.redirect(&[&add[..], &options].concat())?;
        }
        Ok(())
    }

    /// An empty folder for images.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.images.0.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Moves a process, with all below it, from one machine to another: it is
    /// ended on the first when it is revived on the second, and before it runs
    /// there. Gives what has moved.
    pub(crate) fn migrate(&self, pid: i32, from: &Place, to: &Place) -> Result<Vec<Process>> {
        let images = self.folder("images")?;
        let mut arrival = None;
        let dump = Dump { pid, images: images.clone(), shell_job: false };
        let dumped = from.criu().dump(&dump, &mut |stage| match stage {
            DumpStage::Running => Ok(()),
            DumpStage::Frozen => from.deafen().map_err(as_error),
            DumpStage::Written => {
                relocate(&images, from, to).map_err(as_error)?;
                arrival = Some(Arrival::begin(to.criu(), images.clone())?);
                Ok(())
            }
        });
        if let Err(error) = dumped {
            from.hear()?;
            return Err(error.into());
        }
        let processes = tree::processes(&fs::read(images.join(TREE))?)?;
        let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
        gone::wait(&from.machine.proc(), &pids, GOING)?;
        self.redirect_to(to)?;
        arrival.context("it has arrived")?.complete()?;
        from.hear()?;
        Ok(processes)
    }
}

/// Gives the sockets in `images` the addresses they have at `to`.
fn relocate(images: &Path, from: &Place, to: &Place) -> Result<()> {
    let file = images.join(FILES);
    let image = fs::read(&file)?;
    let address = |address: &str| -> Result<IpAddr> { Ok(address.parse()?) };
    let addresses = BTreeMap::from([
        (address(from.v4)?, address(to.v4)?),
        (address(from.v6)?, address(to.v6)?),
    ]);
    let relocation = Relocation::between_hosts(addresses, &sockets(&image)?);
    Ok(fs::write(file, readdress(&image, &relocation)?)?)
}

/// What a test's own steps fail with, for the engine.
pub(crate) fn as_error(error: anyhow::Error) -> Error {
    Error::new(redirectd::error::Kind::Failed, format!("{error:#}"))
}
