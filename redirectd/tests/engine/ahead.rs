//! `redirect migrate --memory precopy`: memory goes ahead of a process while it runs.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Machine, Process, soon, until};

use crate::{
    following::{Slow, start},
    memory::{self, Memory},
    nodes::{PID, Three, Two, refused},
    programs::Talk,
    restless,
    tracked::memory_is_tracked,
};

const SERVER: &str = "10.0.0.2:7000";
const PRECOPY: &[&str] = &["--memory", "precopy", "--json"];
/// What a process has, in MiB, bytes and pages.
const MIB: &str = "48";
const BYTES: u64 = 48 << 20;
const PAGES: u64 = 48 << 8;
/// How long the rest of a move that was hit may take to go.
const GOING: Duration = Duration::from_secs(60);

/// Starts `program` with much memory at home, with the number [`PID`].
fn serve(two: &Two, program: &str) -> Result<()> {
    let log = two.home.start_as(PID, &["python3", "-c", program, "0.0.0.0", MIB])?;
    let said = || fs::read_to_string(&log).ok().filter(|log| log.contains("listening"));
    until(GOING, "a server listens", said).map(drop)
}

/// Where the kernel does not tell what a process changes, the process stays.
fn is_refused(two: &Two) -> Result<()> {
    refused(&two.migrate(PRECOPY)?, 1, "CONFIG_MEM_SOFT_DIRTY")?;
    ensure!(two.home.has(PID) && !two.c.has(PID), "{PID} is not at home alone");
    Ok(())
}

/// How often the process has changed its memory, all of which is right.
fn changes(memory: &mut Memory) -> Result<u64> {
    let answer = memory.all()?;
    let (right, changes) = answer.split_once(' ').context("two numbers")?;
    ensure!(right.parse::<u64>()? == PAGES, "{right} of {PAGES} pages are right");
    Ok(changes.parse()?)
}

/// Home → c → d → home, with an open connection, while the process changes its memory.
/// The first time that it is to go from c to d, whoever moves it changes their mind.
#[test]
fn memory_goes_ahead_to_hosts_and_home() -> Result<()> {
    let three = Three::joined()?;
    let two = &three.two;
    serve(two, restless::PROGRAM)?;
    if !memory_is_tracked()? {
        return is_refused(two);
    }
    let mut memory = Memory::open(two.peer(), SERVER)?;
    let mut before = changes(&mut memory)?;
    for to in ["c", "d", "home"] {
        if to == "d" {
            is_interrupted(&three)?;
        }
        let said = two.run(&[], to, PRECOPY)?.success()?;
        let report: Value = serde_json::from_str(&said).context(said.clone())?;
        three.must_be_on(to)?;
        let after = changes(&mut memory)?;
        ensure!(after > before, "it went on from {before} to {after}");
        before = after;
        went_ahead(two, &report)?;
    }
    Ok(())
}

/// `redirect migrate` to d ends by what people type, and all that it has begun: c, where
/// the process is, notices by itself.
fn is_interrupted(three: &Three) -> Result<()> {
    let two = &three.two;
    let slow = Slow::link(&two.lan.c)?;
    let mut command = start(two, "d", PRECOPY)?;
    comes_to(&three.d).with_context(|| command.log())?;
    two.home.run(&["pkill", "-INT", "--exact", "redirect"])?.success()?;
    let status = command.wait(GOING)?;
    ensure!(!status.success(), "{status}: {}", command.log());
    is_given_up(two)?;
    for machine in [&two.c, &three.d] {
        nothing_stays(machine)?;
    }
    drop(slow);
    three.must_be_on("c")
}

/// The report, and what home keeps, tell the rounds.
fn went_ahead(two: &Two, report: &Value) -> Result<()> {
    ensure!(report["memory"]["way"] == "precopy", "{report:#}");
    let ahead = &report["memory"]["ahead"];
    let rounds = ahead["rounds"].as_array().context("rounds")?;
    let bytes = |copied: &Value| copied["bytes"].as_u64().context("bytes");
    let all = rounds.iter().map(bytes).sum::<Result<u64>>()?;
    println!("ahead: {ahead}; all in: {}", report["seconds"]);
    ensure!(rounds.len() > 1 && bytes(&rounds[0])? >= BYTES, "{report:#}");
    let left = bytes(&ahead["left"])?;
    // What it changes, and what Python itself does.
    ensure!(left < BYTES / 2 && ahead["left"]["pages"] == left / 4096, "{report:#}");
    ensure!(ahead["why"].as_str().is_some_and(|why| !why.is_empty()), "{report:#}");
    ensure!(report["bytes"].as_u64() >= Some(all + left), "{report:#}");
    let id = report["move"]["id"].to_string();
    let kept = two.daemon.json(&["move", "show", &id])?;
    ensure!(kept["carried"]["ahead"] == *ahead && kept["memory"]["way"] == "precopy", "{kept:#}");
    let told = two.daemon.redirect(&["move", "show", &id])?;
    for part in ["ahead of the process: it was asked for", "round 1", "round 2", "left"] {
        ensure!(told.contains(part), "{part:?} is not in {told}");
    }
    Ok(())
}

/// Where a machine has images.
fn images(machine: &Machine) -> std::path::PathBuf {
    machine.proc().join("../run/redirectd")
}

/// Waits until memory has come to `machine`, in the first round.
fn comes_to(machine: &Machine) -> Result<()> {
    let come = images(machine).join(format!("arriving-{PID}/1/pages-1.img"));
    let comes = || fs::metadata(&come).ok().filter(|file| file.len() > 0);
    until(GOING, "memory comes", comes).map(drop)
}

/// The last move comes to nothing.
fn is_given_up(two: &Two) -> Result<()> {
    until(GOING, "the move is aborted", || {
        let moves = two.moves().ok()?;
        let last = moves.last()?;
        (last["state"] == "aborted" && !last["delivered"].is_null()).then_some(())
    })
}

/// No images are left on `machine`.
fn nothing_stays(machine: &Machine) -> Result<()> {
    until(GOING, "no images stay", || {
        let left = fs::read_dir(images(machine)).into_iter().flatten().count();
        (left == 0).then_some(())
    })
}

/// What happens in the first round of a move to c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// c's redirectd dies.
    Destination,
    /// Home's does.
    Home,
    /// Nothing comes through between home and c.
    Link,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Destination, Self::Home, Self::Link];

    /// It happens, and the command ends; `slow` is gone then.
    fn hits(self, two: &mut Two, slow: Slow<'_>, command: &mut Process) -> Result<()> {
        match self {
            Self::Destination => {
                two.c_daemon.sigkill()?;
                two.c_daemon.start_again()?;
            }
            Self::Home => {
                two.daemon.sigkill()?;
                two.daemon.start_again()?;
            }
            Self::Link => two.link(false)?,
        }
        // It has to hear of home's end though the round takes long.
        let slow = Some(slow).filter(|_| self == Self::Home);
        let status = command.wait(GOING)?;
        drop(slow);
        ensure!(status.code() == Some(1), "{status}");
        if self == Self::Home {
            let why = "home has given the move up: redirectd ended while the move was under way";
            ensure!(command.log().contains(why), "it does not say why");
        }
        is_given_up(two)?;
        if self == Self::Link {
            two.link(true)?;
        }
        Ok(())
    }
}

/// Each time the process runs on at home, with its connection, nothing stays, and the next
/// move begins.
#[test]
fn a_process_goes_on_if_the_rounds_come_to_nothing() -> Result<()> {
    let mut two = Two::joined()?;
    serve(&two, &memory::alone())?;
    if !memory_is_tracked()? {
        return is_refused(&two);
    }
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let lan = two.lan.home.clone();
    for fault in Fault::ALL {
        let slow = Slow::link(&lan)?;
        let mut command = start(&two, "c", PRECOPY)?;
        comes_to(&two.c).with_context(|| command.log())?;
        assert_eq!(two.moves()?.last().context("a move")?["state"], "prepared");
        // It runs all the while.
        assert_eq!(talk.line()?, "10.0.0.2");
        let hit = fault.hits(&mut two, slow, &mut command);
        let whole = hit.and_then(|()| {
            for machine in [&two.home, &two.c] {
                nothing_stays(machine)?;
            }
            two.goes_on_at_home(&mut talk)
        });
        whole.with_context(|| format!("{fault:?}: {}", command.log()))?;
    }
    two.migrate(PRECOPY)?.success()?;
    assert_eq!(talk.line()?, "10.0.0.3");
    let answer = Memory::open(two.peer(), SERVER)?.all()?;
    assert_eq!(answer, format!("{PAGES} of {PAGES}"));
    soon("it is on c alone", || (two.c.has(PID) && !two.home.has(PID)).then_some(()))
}
