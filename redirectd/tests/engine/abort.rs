//! A move that is given up before the commit harms nobody.

use anyhow::Result;
use redirectd::{
    error::{Error, Kind},
    migrate::criu::{Criu, Dump, DumpStage},
};
use xtask::lab::{criu, soon};

use crate::{
    programs::{self, SELECT, Talk},
    scene::Scene,
};

/// Refuses a stage of a dump; the server must go on where it is.
fn refused_at(refused: DumpStage) -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, "10.0.0.2:7000")?;
    assert_eq!(talk.line()?, "10.0.0.2");

    let images = scene.folder("images")?;
    let dump = Dump { pid, images: images.path().to_owned(), shell_job: false };
    let mut seen = Vec::new();
    let refusal = Error::new(Kind::Failed, "the host has changed its mind");
    let outcome = scene.home.criu().dump(&dump, &mut |stage| {
        seen.push(stage);
        if stage == refused { Err(refusal.clone()) } else { Ok(()) }
    });
    assert_eq!(outcome, Err(refusal));
    let all = [DumpStage::Running, DumpStage::Frozen, DumpStage::Written];
    let until = all.iter().position(|stage| *stage == refused).expect("it is one of them");
    assert_eq!(seen, all[..=until]);
    for _ in 0..20 {
        assert_eq!(talk.line()?, "10.0.0.2");
    }
    assert_eq!(Talk::open(&scene.lan.peer, "10.0.0.2:7000")?.line()?, "10.0.0.2");
    // And it can move after that.
    scene.migrate(pid, &scene.home, &scene.c)?;
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

#[test]
fn at_the_commit() -> Result<()> {
    refused_at(DumpStage::Written)
}

#[test]
fn when_frozen() -> Result<()> {
    refused_at(DumpStage::Frozen)
}

/// The host cannot revive the process: its number is taken there.
#[test]
fn when_the_host_fails() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, "10.0.0.2:7000")?;
    assert_eq!(talk.line()?, "10.0.0.2");

    scene.c.machine.start_as(pid, &["sleep", "60"])?;
    let told = scene.migrate(pid, &scene.home, &scene.c).unwrap_err().to_string();
    assert!(told.contains("a number of its processes is taken on this machine"), "{told}");
    assert!(told.contains("cure: "), "{told}");
    for _ in 0..20 {
        assert_eq!(talk.line()?, "10.0.0.2");
    }
    Ok(())
}

/// Another user's program, and a root without `CAP_SYS_RESOURCE`, as in some
/// containers.
#[test]
fn when_its_limits_may_not_be_read() -> Result<()> {
    let scene = Scene::new()?;
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let server = ["python3", "-c", SELECT, "0.0.0.0"];
    let (pid, _) = scene.home.machine.start(&[&nobody[..], &server].concat())?;
    let open = || Talk::open(&scene.lan.peer, "10.0.0.2:7000").ok();
    let mut talk = soon("a server listens", open)?;
    assert_eq!(talk.line()?, "10.0.0.2");

    let bounded = ["setpriv", "--bounding-set=-sys_resource", "--"].map(str::to_owned);
    let enter = scene.home.machine.enter().into_iter().chain(bounded).map(Into::into);
    let criu = Criu::run_by(enter.chain([criu().into_os_string()]).collect());
    let images = scene.folder("images")?;
    let dump = Dump { pid, images: images.path().to_owned(), shell_job: false };
    let told = criu.dump(&dump, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(told.contains("Can't get rlimit 0: Operation not permitted"), "{told}");
    assert_eq!(talk.line()?, "10.0.0.2");
    Ok(())
}

/// A program that cannot move is told so by name, and goes on.
#[test]
fn when_criu_cannot() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, programs::MULTIPATH, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, "10.0.0.2:7000")?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let told = scene.migrate(pid, &scene.home, &scene.c).unwrap_err().to_string();
    assert!(told.contains("it has an MPTCP socket"), "{told}");
    assert_eq!(talk.line()?, "10.0.0.2");
    Ok(())
}
