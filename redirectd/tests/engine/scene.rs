//! Where a test begins: home with redirectd, and two machines that processes
//! move between.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use redirectd::{
    error::Error,
    migrate::criu::{
        Criu, Dump, DumpStage, gone,
        images::{
            TREE,
            readdress::{Relocation, readdress},
            sockets::sockets,
            tree::{self, Process},
        },
        workdir::WorkDir,
    },
};
use xtask::lab::{Binaries, Daemon, Lab, Lan, Machine, criu};

use crate::{arrival::Arrival, transfer::Transfer};

const CONFIGURATION: &str = "home: [10.0.0.2, 'fd00::2']
tables: { redirects: 64, flows: 8192, half_open: 2048 }
interfaces: { eth0: { attach: tc } }
";
/// How long a killed process may take to go.
const GOING: Duration = Duration::from_secs(5);
/// A tmpfs that all machines see.
const SHM: &str = "/dev/shm";

/// A peer, home with redirectd, and the machines c and d. The fields are in the
/// order in which they must go.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) c: Place,
    pub(crate) d: Place,
    pub(crate) lan: Lan,
    /// Unlike all other scenes'.
    name: String,
    _lab: Lab,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir(Path::new(SHM).join(&self.name));
    }
}

/// A machine that processes move to.
pub(crate) struct Place {
    pub(crate) machine: Machine,
    pub(crate) v4: &'static str,
    pub(crate) v6: &'static str,
}

impl Place {
    /// Its CRIU.
    pub(crate) fn criu(&self) -> Criu {
        let enter = self.machine.enter().into_iter().map(Into::into);
        Criu::run_by(enter.chain([criu().into_os_string()]).collect())
    }

    /// What gives sockets in an image the addresses they have at `to`.
    fn readdress(
        &self,
        to: &Self,
    ) -> Result<impl FnOnce(&[u8]) -> Result<Vec<u8>, Error> + Send + 'static> {
        let addresses: BTreeMap<IpAddr, IpAddr> =
            [(self.v4.parse()?, to.v4.parse()?), (self.v6.parse()?, to.v6.parse()?)].into();
        Ok(move |image: &[u8]| {
            let sockets = sockets(image).map_err(|error| as_error(error.into()))?;
            let relocation = Relocation::between_hosts(addresses, &sockets);
            readdress(image, &relocation).map_err(|error| as_error(error.into()))
        })
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
        let name = name.to_string_lossy().into_owned();
        let c = Place { machine: Machine::new(&lan.c)?, v4: "10.0.0.3", v6: "fd00::3" };
        let d = Place { machine: Machine::new(&lan.d)?, v4: "10.0.0.4", v6: "fd00::4" };
        Ok(Self { daemon, c, d, lan, name, _lab: lab })
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
    pub(crate) fn folder(&self, name: &str) -> Result<WorkDir> {
        Ok(WorkDir::create(&[Path::new(SHM).join(&self.name)], name)?)
    }

    /// Moves a process, with all below it, from one machine to another: it is
    /// ended on the first when it is revived on the second, and before it runs
    /// there. Gives what has moved.
    pub(crate) fn migrate(&self, pid: i32, from: &Place, to: &Place) -> Result<Vec<Process>> {
        let (there, here) = (self.folder("there")?, self.folder("here")?);
        let (images, arrived) = (there.path().to_owned(), here.path().to_owned());
        let readdress = from.readdress(to)?;
        let mut transfer = Some(Transfer::begin(images.clone(), arrived.clone(), readdress)?);
        let mut arrival = None;
        let dump = Dump { pid, images: images.clone(), shell_job: false };
        let dumped = from.criu().dump(&dump, &mut |stage| match stage {
            DumpStage::Running => Ok(()),
            DumpStage::Frozen => from.deafen().map_err(as_error),
            DumpStage::Written => {
                transfer.take().expect("all is written once").complete()?;
                arrival = Some(Arrival::begin(to.criu(), arrived.clone())?);
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

/// What a test's own steps fail with, for the engine.
pub(crate) fn as_error(error: anyhow::Error) -> Error {
    Error::new(redirectd::error::Kind::Failed, format!("{error:#}"))
}
