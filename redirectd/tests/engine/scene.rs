//! Where a test begins: machines that processes move between, one of them home
//! with redirectd.

use std::{
    fs, mem,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use redirectd::{
    error::Error,
    migrate::criu::{
        Criu, Dump, DumpStage, datagrams, gone,
        images::{
            TREE,
            tree::{self, Process},
        },
        names, sockopts,
        workdir::WorkDir,
    },
};
use xtask::lab::{Binaries, Daemon, Host, Lab, Lan, Machine, criu};

use crate::{arrival::Arrival, home::Move, transfer::Transfer};

const CONFIGURATION: &str = "home: [10.0.0.2, 'fd00::2']
hosts: { c: [10.0.0.3, 'fd00::3'], d: [10.0.0.4, 'fd00::4'] }
tables: { redirects: 64, flows: 8192, half_open: 2048 }
interfaces: { eth0: { attach: tc } }
";
/// The redirects for port 7000 of home.
const SERVER: [&str; 2] = ["four", "six"];
/// How long a killed process may take to go.
pub(crate) const GOING: Duration = Duration::from_secs(5);
/// A tmpfs that all machines see.
const SHM: &str = "/dev/shm";

/// A peer, and the machines home, c and d. The fields are in the order in which
/// they must go.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) home: Place,
    pub(crate) c: Place,
    pub(crate) d: Place,
    pub(crate) lan: Lan,
    /// Unlike all other scenes'; the lab's.
    pub(crate) name: String,
    _lab: Lab,
}

/// A machine that processes move to.
pub(crate) struct Place {
    pub(crate) machine: Arc<Machine>,
    pub(crate) v4: &'static str,
    pub(crate) v6: &'static str,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir(Path::new(SHM).join(&self.name));
    }
}

impl Place {
    /// Its processes have the numbers from `first` on: what begins on one machine
    /// finds its number free on the others.
    fn new(host: &Host, v4: &'static str, v6: &'static str, first: u32) -> Result<Self> {
        let machine = Arc::new(Machine::new(host)?);
        let last = format!("echo {first} >/proc/sys/kernel/ns_last_pid");
        machine.run(&["sh", "-c", &last])?.success()?;
        Ok(Self { machine, v4, v6 })
    }

    /// What the configuration calls it.
    pub(crate) fn name(&self) -> &str {
        self.machine.host().name()
    }

    /// Its CRIU.
    pub(crate) fn criu(&self) -> Criu {
        let enter = self.machine.enter().into_iter().map(Into::into);
        Criu::run_by(enter.chain([criu().into_os_string()]).collect())
    }

    /// Its addresses.
    pub(crate) fn addresses(&self) -> [IpAddr; 2] {
        [self.v4, self.v6].map(|address| address.parse().expect("it is an address"))
    }

    /// What it is to redirectd.
    pub(crate) fn as_place(&self) -> names::Place {
        let addresses = self.addresses().to_vec();
        match self.name() {
            "home" => names::Place::Home(addresses),
            _ => names::Place::Host(addresses),
        }
    }
}

impl Scene {
    /// With redirects for a server at port 7000 of home, which is at home.
    pub(crate) fn new() -> Result<Self> {
        Self::in_lab(Lab::new()?)
    }

    /// The same in a lab of whoever calls this.
    pub(crate) fn in_lab(lab: Lab) -> Result<Self> {
        let lan = Lan::new(&lab)?;
        let binaries = Binaries {
            redirectd: env!("CARGO_BIN_EXE_redirectd").into(),
            redirect: env!("CARGO_BIN_EXE_redirect").into(),
        };
        let daemon = Daemon::start(&lan.home, &binaries, CONFIGURATION)?;
        let home = Place::new(&lan.home, "10.0.0.2", "fd00::2", 3000)?;
        let c = Place::new(&lan.c, "10.0.0.3", "fd00::3", 5000)?;
        let d = Place::new(&lan.d, "10.0.0.4", "fd00::4", 7000)?;
        let name = lab.name().to_owned();
        let scene = Self { daemon, home, c, d, lan, name, _lab: lab };
        for (name, endpoint) in SERVER.into_iter().zip(["10.0.0.2:7000", "[fd00::2]:7000"]) {
            scene.redirect(name, endpoint)?;
        }
        Ok(scene)
    }

    /// Adds a redirect for a home endpoint whose process is at home.
    pub(crate) fn redirect(&self, name: &str, endpoint: &str) -> Result<()> {
        let add = ["add", name, endpoint, "--to", "home", "--protocol", "tcp,udp"];
        self.daemon.redirect(&[&add[..], &["--flows", "follow", "--no-check"]].concat())?;
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
        self.migrate_with(&SERVER, pid, from, to)
    }

    /// The same for a process that these redirects lead to.
    pub(crate) fn migrate_with(
        &self,
        redirects: &[&str],
        pid: i32,
        from: &Place,
        to: &Place,
    ) -> Result<Vec<Process>> {
        let folder = |what| self.folder(&format!("{what}-{pid}"));
        let (there, here) = (folder("there")?, folder("here")?);
        let (images, arrived) = (there.path().to_owned(), here.path().to_owned());
        let moved = Move::begin(&self.daemon, redirects, from, to)?;
        let mut arrival = None;
        let waiting = Mutex::new(Vec::new());
        let dumped = std::thread::scope(|scope| {
            let readdress = |image: &[u8]| {
                let mut waiting = waiting.lock().expect("nobody panics with it");
                let (image, renamed) =
                    moved.readdress(image, mem::take(&mut waiting)).map_err(as_error)?;
                *waiting = renamed;
                Ok(image)
            };
            let mut transfer = Some(Transfer::begin(scope, &images, &arrived, readdress)?);
            let dump = Dump { pid, images: images.clone(), shell_job: false };
            from.criu().dump(&dump, &mut |stage| match stage {
                DumpStage::Running => Ok(()),
                DumpStage::Frozen => moved.park().map_err(as_error),
                DumpStage::Written => {
                    let frozen = frozen(&images, from).map_err(as_error)?;
                    let pids: Vec<i32> = frozen.iter().map(|(_, outside)| *outside).collect();
                    *waiting.lock().expect("nobody panics with it") = datagrams::waiting(&pids)?;
                    transfer.take().expect("all is written once").complete()?;
                    let mend = mending(&frozen, to)?;
                    arrival = Some(Arrival::begin(to.criu(), arrived.clone(), mend)?);
                    let waiting = waiting.lock().expect("nobody panics with it");
                    to.machine.host().enter(|| datagrams::deliver(&waiting))
                }
            })
        });
        if let Err(error) = dumped {
            moved.abort(&error.what)?;
            return Err(error.into());
        }
        let processes = tree::processes(&fs::read(images.join(TREE))?)?;
        let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
        gone::wait(&from.machine.proc(), &pids, GOING)?;
        moved.commit()?;
        arrival.context("it has arrived")?.complete()?;
        Ok(processes)
    }
}

/// The processes in `images`, which are frozen at `from`: their own numbers, and
/// those that they have outside.
pub(crate) fn frozen(images: &Path, from: &Place) -> Result<Vec<(i32, i32)>> {
    let processes = tree::processes(&fs::read(images.join(TREE))?)?.into_iter();
    let numbers = processes.map(|Process { pid, .. }| {
        Ok((pid, from.machine.outside(pid).context("it is frozen there")?))
    });
    numbers.collect()
}

/// What sets the options of the sockets of `frozen` again on `to` that CRIU will
/// forget; all can be.
pub(crate) fn mending(
    frozen: &[(i32, i32)],
    to: &Place,
) -> Result<impl FnMut() -> Result<(), Error> + Send + 'static, Error> {
    let mut kept = Vec::new();
    for (pid, outside) in frozen {
        kept.push((*pid, sockopts::keep(*outside)?));
    }
    let machine = Arc::clone(&to.machine);
    Ok(move || {
        for (pid, kept) in &kept {
            let outside = machine.outside(*pid).expect("it is revived there");
            let lost = sockopts::mend(outside, kept)?;
            assert!(lost.is_empty(), "{lost:?}");
        }
        Ok(())
    })
}

/// What a test's own steps fail with, for the engine.
pub(crate) fn as_error(error: anyhow::Error) -> Error {
    Error::new(redirectd::error::Kind::Failed, format!("{error:#}"))
}
