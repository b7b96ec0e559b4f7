//! Programs of other kinds than one process with TCP connections.

use anyhow::{Result, ensure};

use crate::{
    programs::{self, Datagrams, FORKS, OPTIONS, THREADS, Talk, UDP},
    scene::Scene,
};

/// How many connections the servers have.
const MANY: usize = 4;

/// Moves a server from home to c with many connections; tells how many processes
/// and threads were moved.
fn moves(program: &str) -> Result<(usize, usize)> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, program, "0.0.0.0")?;
    let talks = (0..MANY).map(|_| Talk::open(&scene.lan.peer, "10.0.0.2:7000"));
    let mut talks = talks.collect::<Result<Vec<_>>>()?;
    for talk in &mut talks {
        assert_eq!(talk.line()?, "10.0.0.2");
    }
    let processes = scene.migrate(pid, &scene.home, &scene.c)?;
    for process in &processes {
        ensure!(scene.c.machine.has(process.pid), "{process:?} is not on c");
    }
    // All at once, so that each has its own thread or process to answer.
    talks.iter_mut().try_for_each(Talk::say)?;
    for talk in &mut talks {
        assert_eq!(talk.hear()?, "10.0.0.3");
    }
    assert_eq!(Talk::open(&scene.lan.peer, "10.0.0.2:7000")?.line()?, "10.0.0.3");
    Ok((processes.len(), processes.iter().map(|process| process.threads.len()).sum()))
}

#[test]
fn threads() -> Result<()> {
    assert_eq!(moves(THREADS)?, (1, MANY + 1));
    Ok(())
}

#[test]
fn a_tree_of_processes() -> Result<()> {
    assert_eq!(moves(FORKS)?, (MANY + 1, MANY + 1));
    Ok(())
}

/// The server goes on counting: it is the same process.
#[test]
fn datagrams() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, UDP, "10.0.0.2")?;
    let peer = Datagrams::open(&scene.lan.peer, "10.0.0.2:7000")?;
    assert_eq!(peer.ask()?, ("10.0.0.2".to_owned(), 1));
    assert_eq!(peer.ask()?, ("10.0.0.2".to_owned(), 2));
    scene.migrate(pid, &scene.home, &scene.c)?;
    assert_eq!(peer.ask()?, ("10.0.0.3".to_owned(), 3));
    Ok(())
}

/// Congestion control, user timeout, unsent bytes, and whether paths' MTUs are
/// found out: CRIU forgets them.
#[test]
fn options_of_sockets() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, OPTIONS, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, "10.0.0.2:7000")?;
    assert_eq!(talk.line()?, "reno,[4321,65432,0]");
    scene.migrate(pid, &scene.home, &scene.c)?;
    assert_eq!(talk.line()?, "reno,[4321,65432,0]");
    Ok(())
}
