//! Whoever drives CRIU dies, so that its conversation with CRIU ends in the middle;
//! or CRIU does.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use anyhow::{Result, ensure};
use redirectd::migrate::criu::{
    Dump, DumpStage, Restore, RestoreStage, gone,
    images::{TREE, tree},
};
use xtask::lab::{Finished, soon};

use crate::{
    home::Move,
    programs::{self, SELECT, Talk},
    scene::Scene,
};

const HOME: &str = "10.0.0.2:7000";

/// Ends all that `act` is in the middle of, as far as CRIU can see.
fn dies_in<T>(act: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(act)).is_err(), "it did not come to that");
}

fn die() -> ! {
    // Unlike a panic, it is not reported.
    resume_unwind(Box::new(()))
}

/// At any stage of a dump, the process goes on at home.
fn while_dumping(last: DumpStage) -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, HOME)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let images = scene.folder("images")?;
    let dump = Dump { pid, images: images.path().to_owned(), shell_job: false };
    dies_in(|| {
        scene.home.criu().dump(&dump, &mut |stage| if stage == last { die() } else { Ok(()) })
    });
    for _ in 0..20 {
        assert_eq!(talk.line()?, "10.0.0.2");
    }
    scene.migrate(pid, &scene.home, &scene.c)?;
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

#[test]
fn before_the_freeze() -> Result<()> {
    while_dumping(DumpStage::Running)
}

#[test]
fn in_the_freeze() -> Result<()> {
    while_dumping(DumpStage::Frozen)
}

#[test]
fn before_the_commit() -> Result<()> {
    while_dumping(DumpStage::Written)
}

/// On the host, what was revived ends without a word; the images are as good as
/// before, and the connection goes on from them.
#[test]
fn while_reviving() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, HOME)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let images = scene.folder("images")?;
    let images = images.path().to_owned();
    let moved = Move::begin(&scene.daemon, &["four", "six"], &scene.home, &scene.c)?;
    let dump = Dump { pid, images: images.clone(), shell_job: false };
    scene.home.criu().dump(&dump, &mut |stage| match stage {
        DumpStage::Frozen => moved.park().map_err(crate::scene::as_error),
        _ => Ok(()),
    })?;
    talk.say()?;
    let open_files = images.join(redirectd::migrate::criu::images::FILES);
    fs::write(&open_files, moved.readdress(&fs::read(&open_files)?, Vec::new())?.0)?;

    let restore = Restore { images: images.clone(), shell_job: false };
    let revived = |stage: &RestoreStage| matches!(stage, RestoreStage::Revived { .. });
    dies_in(|| {
        scene.c.criu().restore(&restore, &mut |stage| if revived(&stage) { die() } else { Ok(()) })
    });
    let tree = tree::processes(&fs::read(images.join(TREE))?)?;
    let pids: Vec<i32> = tree.iter().map(|process| process.pid).collect();
    gone::wait(&scene.c.machine.proc(), &pids, Duration::from_secs(5))?;

    let again = scene.c.criu().restore(&restore, &mut |stage| match stage {
        stage if revived(&stage) => moved.commit().map_err(crate::scene::as_error),
        _ => Ok(()),
    })?;
    ensure!(again == pid, "{pid} became {again}");
    assert_eq!(talk.hear()?, "10.0.0.3");
    soon("it runs on c alone", || {
        (scene.c.machine.has(pid) && !scene.home.machine.has(pid)).then_some(())
    })?;
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

/// CRIU itself is killed before it has touched the process.
fn of_criu(last: DumpStage) -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, HOME)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let images = scene.folder("images")?;
    let dump = Dump { pid, images: images.path().to_owned(), shell_job: false };
    let dumped = scene.home.criu().dump(&dump, &mut |stage| {
        if stage == last {
            // The one that setup brings goes by the name of its loader.
            let kill = ["pkill", "-KILL", "--exact", "criu|ld-linux.*"];
            let killed = scene.home.machine.run(&kill).and_then(Finished::success);
            killed.map_err(crate::scene::as_error)?;
        }
        Ok(())
    });
    let told = dumped.unwrap_err().to_string();
    assert!(told.contains("did not answer") && told.contains("SIGKILL"), "{told}");
    for _ in 0..20 {
        assert_eq!(talk.line()?, "10.0.0.2");
    }
    scene.migrate(pid, &scene.home, &scene.c)?;
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

#[test]
fn of_criu_before_the_freeze() -> Result<()> {
    of_criu(DumpStage::Running)
}

#[test]
fn of_criu_in_the_freeze() -> Result<()> {
    of_criu(DumpStage::Frozen)
}
