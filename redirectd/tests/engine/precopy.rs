//! Memory goes ahead of a process, in rounds, while it runs.

use std::{net::Ipv4Addr, path::Path, thread};

use anyhow::{Context as _, Result, ensure};
use redirectd::{
    error::{Error, Kind},
    migrate::criu::{
        Criu, Dump, DumpStage, gone, precopy,
        precopy::{Ahead, PARENT},
        rounds::Next,
        workdir::WorkDir,
    },
};
use xtask::lab::{Lab, Machine, criu, soon};

use crate::{
    arrival::Arrival, memory::Memory, restless, scene::GOING, tracked::memory_is_tracked,
    transfer::Transfer,
};

/// What the process has, in MiB and pages.
const MIB: u32 = 200;
const PAGES: u64 = 200 << 8;

/// Two machines without a way between them, and a process on the first that has much
/// memory and keeps changing some.
struct Field {
    pid: i32,
    c: Machine,
    d: Machine,
    name: String,
    _lab: Lab,
}

impl Drop for Field {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(Path::new("/dev/shm").join(&self.name));
    }
}

impl Field {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let name = lab.dir().file_name().context("the lab has a folder")?;
        let name = name.to_string_lossy().into_owned();
        let (c, d) = (Machine::new(&lab.host("c")?)?, Machine::new(&lab.host("d")?)?);
        // What begins on one finds its number free on the other.
        for (machine, last) in [(&c, 3000), (&d, 5000)] {
            let last = format!("echo {last} >/proc/sys/kernel/ns_last_pid");
            machine.run(&["sh", "-c", &last])?.success()?;
        }
        let pid = restless::start(&c, MIB)?;
        Ok(Self { pid, c, d, name, _lab: lab })
    }

    fn folder(&self, name: &str) -> Result<WorkDir> {
        Ok(WorkDir::create(&[Path::new("/dev/shm").join(&self.name)], name)?)
    }

    fn dump(&self, images: &Path) -> Dump {
        Dump { pid: self.pid, images: images.to_owned(), shell_job: false }
    }

    /// Sees that its memory is right on `machine`; gives how often it has changed it.
    fn is_right(&self, machine: &Machine) -> Result<u64> {
        let local = format!("{}:7000", Ipv4Addr::LOCALHOST);
        let answer = Memory::open(machine.host(), &local)?.all()?;
        let (right, changes) = answer.split_once(' ').context("two numbers")?;
        ensure!(right.parse::<u64>()? == PAGES, "{right} of {PAGES} pages are right");
        Ok(changes.parse()?)
    }

    /// Waits until it has changed more of it there.
    fn goes_on(&self, machine: &Machine) -> Result<()> {
        let before = self.is_right(machine)?;
        let more = || match self.is_right(machine) {
            Ok(changes) if changes <= before => None,
            other => Some(other),
        };
        soon("it goes on", more)?.map(drop)
    }
}

fn criu_on(machine: &Machine) -> Criu {
    let words = machine.enter().into_iter().map(Into::into).chain([criu().into_os_string()]);
    Criu::run_by(words.collect())
}

/// Where the kernel does not tell what a process changes, nothing is done to it.
fn is_refused(field: &Field) -> Result<()> {
    let images = field.folder("images")?;
    let dump = field.dump(images.path());
    let refused = criu_on(&field.c).copy_ahead(&dump, &mut |_| Ok(())).unwrap_err().to_string();
    ensure!(refused.contains("CONFIG_MEM_SOFT_DIRTY") && refused.contains("cure: "), "{refused}");
    assert_eq!(std::fs::read_dir(images.path())?.count(), 0);
    field.is_right(&field.c).map(drop)
}

#[test]
fn little_is_left_when_the_process_is_frozen() -> Result<()> {
    let field = Field::new()?;
    if !memory_is_tracked()? {
        return is_refused(&field);
    }
    let before = field.is_right(&field.c)?;
    let (there, here) = (field.folder("there")?, field.folder("here")?);
    let (images, arrived) = (there.path(), here.path());
    let dump = field.dump(images);
    let criu = criu_on(&field.c);
    let (mut told, mut arrival) = (Vec::new(), None);
    let ahead = thread::scope(|scope| -> Result<Ahead> {
        let mut transfer =
            Some(Transfer::begin(scope, images, arrived, |files| Ok(files.to_vec()))?);
        let ahead = criu.copy_ahead(&dump, &mut |bytes| {
            told.push(bytes);
            Ok(())
        })?;
        criu.dump_rest(&dump, &ahead, &mut |stage| {
            if stage == DumpStage::Written {
                transfer.take().expect("all is written once").complete()?;
                let criu = criu_on(&field.d);
                arrival = Some(Arrival::begin(criu, arrived.to_owned(), || Ok(()))?);
            }
            Ok(())
        })?;
        Ok(ahead)
    })?;
    gone::wait(&field.c.proc(), &[field.pid], GOING)?;
    arrival.context("it has arrived")?.complete()?;
    assert_eq!(ahead.rounds, told);
    assert_ne!(ahead.then, Next::Round);
    ensure!(told.len() > 1 && told[0] >= u64::from(MIB) << 20, "{told:?}");
    let frozen = precopy::memory_in(images)?;
    println!("ahead: {told:?} bytes; while it was frozen: {frozen} bytes");
    // What it changes, and what Python itself does.
    ensure!(frozen < u64::from(MIB) << 20 >> 3, "{frozen} bytes were left");
    let last = arrived.join(PARENT);
    assert_eq!(std::fs::read_link(&last)?, Path::new(&told.len().to_string()));
    let after = field.is_right(&field.d)?;
    ensure!(after > before, "it went on from {before} to {after}");
    field.goes_on(&field.d)
}

#[test]
fn a_process_that_is_not_frozen_in_the_end_runs_on() -> Result<()> {
    let field = Field::new()?;
    if !memory_is_tracked()? {
        return is_refused(&field);
    }
    let criu = criu_on(&field.c);
    let no = |what: &str| Error::new(Kind::Failed, what);
    let first = field.folder("first")?;
    let refused = criu.copy_ahead(&field.dump(first.path()), &mut |_| Err(no("no rounds")));
    assert_eq!(refused.unwrap_err().what, "no rounds");
    let second = field.folder("second")?;
    let dump = field.dump(second.path());
    let ahead = criu.copy_ahead(&dump, &mut |_| Ok(()))?;
    let refused = criu.dump_rest(&dump, &ahead, &mut |stage| match stage {
        DumpStage::Written => Err(no("not now")),
        _ => Ok(()),
    });
    assert_eq!(refused.unwrap_err().what, "not now");
    field.goes_on(&field.c)
}
