//! Where a process goes, its images need room.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;
use xtask::lab::{Machine, until};

use crate::{
    following::{Slow, serve_large, start},
    memory::Memory,
    nodes::{PID, Two, refused},
    programs::Talk,
};

const SERVER: &str = "10.0.0.2:7000";
const ALL_RIGHT: &str = "51200 of 51200";
/// How long a move may take on a busy machine.
const GOING: Duration = Duration::from_secs(60);

/// Makes the tmpfs for images on `machine` so large.
fn resize(machine: &Machine, size: &str) -> Result<()> {
    let size = format!("remount,size={size}");
    machine.run(&["mount", "-o", &size, "/run"])?.success().map(drop)
}

/// 200 MiB do not fit on the tmpfs of home or c. What follows goes past that.
#[test]
fn what_does_not_fit_is_refused_unless_it_follows() -> Result<()> {
    let two = Two::joined()?;
    serve_large(&two)?;
    for (name, machine) in [("home", &two.home), ("c", &two.c)] {
        resize(machine, "50M")?;
        let done = two.migrate(&["--memory", "copy"])?;
        refused(&done, 1, &format!("{name}: there is room for "))?;
        let told = [" are missing", "--memory lazy"];
        ensure!(told.iter().all(|part| done.stderr.contains(part)), "{done}");
        if name == "home" {
            resize(machine, "50%")?;
        }
    }
    let plan = two.migrate(&["--memory", "copy", "--dry-run", "--json"])?.success()?;
    let plan: Value = serde_json::from_str(&plan)?;
    ensure!(plan["movable"] == false, "{plan:#}");
    ensure!(two.home.has(PID) && !two.c.has(PID), "{PID} is not at home alone");
    two.migrate(&["--memory", "lazy"])?.success()?;
    ensure!(two.c.has(PID) && !two.home.has(PID), "{PID} is not on c alone");
    assert_eq!(Memory::open(two.peer(), SERVER)?.all()?, ALL_RIGHT);
    Ok(())
}

/// Others take the room on c while the images come: the process goes on at home.
#[test]
fn what_others_have_taken_meanwhile_is_missed() -> Result<()> {
    let two = Two::joined()?;
    serve_large(&two)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let slow = Slow::link(&two.lan.home)?;
    let mut command = start(&two, "c", &["--memory", "copy"])?;
    let images = two.c.proc().join("../run/redirectd");
    let come = images.join(format!("arriving-{PID}/pages-1.img"));
    let comes = || fs::metadata(&come).ok().filter(|file| file.len() > 0);
    until(GOING, "memory comes to c", comes)?;
    resize(&two.c, "50M")?;
    drop(slow);
    let status = command.wait(GOING)?;
    let log = command.log();
    ensure!(status.code() == Some(1), "{status}: {log}");
    for part in ["No space left on device", "make room on that tmpfs", "--memory lazy"] {
        ensure!(log.contains(part), "{part:?} is not in {log}");
    }
    let none = || (fs::read_dir(&images).into_iter().flatten().count() == 0).then_some(());
    until(GOING, "no images stay", none)?;
    two.goes_on_at_home(&mut talk)?;
    resize(&two.c, "50%")?;
    two.migrate(&["--memory", "copy"])?.success()?;
    assert_eq!(talk.line()?, "10.0.0.3");
    assert_eq!(Memory::open(two.peer(), SERVER)?.all()?, ALL_RIGHT);
    Ok(())
}
