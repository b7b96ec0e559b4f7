//! Large processes run on the host before their memory is there.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use redirectd::migrate::criu::{Dump, DumpStage, pages::give};
use xtask::lab::soon;

use crate::{
    lazily::How,
    memory::{self, Memory},
    programs::{self, Talk},
    scene::{Place, Scene},
};

const HOME: &str = "10.0.0.2:7000";
/// What a large process has, in MiB.
const LARGE: &str = "200";
const LARGE_BYTES: u64 = 200 << 20;
const ALL_RIGHT: &str = "51200 of 51200";

/// A large server.
fn large(scene: &Scene) -> Result<i32> {
    programs::start_with(&scene.home.machine, &memory::alone(), &["0.0.0.0", LARGE])
}

/// The same, which would answer even if it had other memory than its own.
fn steady(scene: &Scene) -> Result<i32> {
    let arguments = ["0.0.0.0", LARGE, "alone"];
    programs::start_with(&scene.home.machine, &memory::alone(), &arguments)
}

/// Talks to the server while `act` is at it; gives the addresses it had, in turn.
fn talking(scene: &Scene, act: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
    let mut talk = Talk::open(&scene.lan.peer, HOME)?;
    let mut addresses = vec![talk.line()?];
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let talking = scope.spawn(|| {
            loop {
                // Once more after all is over.
                let last = end.load(Ordering::Relaxed);
                let address = talk.line()?;
                if addresses.last() != Some(&address) {
                    addresses.push(address);
                }
                if last {
                    return Ok(addresses);
                }
            }
        });
        let acted = act();
        end.store(true, Ordering::Relaxed);
        let addresses = talking.join().expect("it does not panic");
        acted.and(addresses)
    })
}

#[test]
fn memory_follows_a_process_with_a_busy_connection() -> Result<()> {
    let scene = Scene::new()?;
    let pid = large(&scene)?;
    let mut memory = Memory::open(&scene.lan.peer, HOME)?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    let mut frozen = Duration::ZERO;
    let addresses = talking(&scene, || {
        let ends =
            scene.migrate_lazily(pid, &scene.home, &scene.c, How::default(), |following| {
                frozen = following.frozen;
                ensure!(scene.c.machine.has(pid), "it runs on c");
                following.wait_for(LARGE_BYTES)
            })?;
        ends.home?;
        ends.host?;
        assert_eq!(memory.all()?, ALL_RIGHT);
        Ok(())
    })?;
    println!("frozen for {frozen:?}");
    assert_eq!(addresses, ["10.0.0.2", "10.0.0.3"]);
    ensure!(!scene.home.machine.has(pid), "nothing of it is left at home");
    // It can move on, and home again.
    scene.migrate(pid, &scene.c, &scene.d)?;
    let ends = scene.migrate_lazily(pid, &scene.d, &scene.home, How::default(), |_| Ok(()))?;
    ends.home?;
    ends.host?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    Ok(())
}

/// The link holds most of it back until the process has been seen to run without.
#[test]
fn a_process_runs_while_its_memory_is_at_home() -> Result<()> {
    let scene = Scene::new()?;
    let pid = large(&scene)?;
    let mut talk = Talk::open(&scene.lan.peer, HOME)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let how = How { held_after: Some(LARGE_BYTES / 10), ..How::default() };
    let ends = scene.migrate_lazily(pid, &scene.home, &scene.c, how, |following| {
        ensure!(scene.c.machine.has(pid), "it runs on c");
        let [home, host] = following.progress();
        ensure!(!home.done && !host.done && host.at_home() > LARGE_BYTES / 2, "{host:?}");
        // Answered when the page that it takes has come.
        talk.say()?;
        following.release();
        assert_eq!(talk.hear()?, "10.0.0.3");
        Ok(())
    })?;
    ends.home?;
    ends.host?;
    assert_eq!(Memory::open(&scene.lan.peer, HOME)?.all()?, ALL_RIGHT);
    Ok(())
}

#[test]
fn a_move_that_is_given_up_harms_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let pid = large(&scene)?;
    let addresses = talking(&scene, || {
        let how = How { given_up: true, ..How::default() };
        let outcome = scene.migrate_lazily(pid, &scene.home, &scene.c, how, |_| Ok(()));
        let told = outcome.map(drop).unwrap_err().to_string();
        ensure!(told.contains("it is given up"), "{told}");
        ensure!(!scene.c.machine.has(pid), "nothing of it is on c");
        Ok(())
    })?;
    assert_eq!(addresses, ["10.0.0.2"]);
    let mut memory = Memory::open(&scene.lan.peer, HOME)?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    // And it can move after that.
    let ends = scene.migrate_lazily(pid, &scene.home, &scene.c, How::default(), |_| Ok(()))?;
    ends.home?;
    ends.host?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    Ok(())
}

/// Whoever drives CRIU dies when all but the memory is written.
#[test]
fn a_driver_that_dies_before_the_commit_harms_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let pid = large(&scene)?;
    let addresses = talking(&scene, || {
        let images = scene.folder("images")?;
        let dump = Dump { pid, images: images.path().to_owned(), shell_job: false };
        let (source, stages, giver) = give::leave()?;
        let died = catch_unwind(AssertUnwindSafe(|| {
            let _alive = (stages, giver);
            scene.home.criu().dump_lazily(&dump, source, &mut |stage| match stage {
                // Unlike a panic, it is not reported.
                DumpStage::Written => resume_unwind(Box::new(())),
                _ => Ok(()),
            })
        }));
        ensure!(died.is_err(), "it came to {died:?}");
        Ok(())
    })?;
    assert_eq!(addresses, ["10.0.0.2"]);
    let mut memory = Memory::open(&scene.lan.peer, HOME)?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    moves(&scene, pid)?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    Ok(())
}

/// Moves it lazily and well.
fn moves(scene: &Scene, pid: i32) -> Result<()> {
    let ends = scene.migrate_lazily(pid, &scene.home, &scene.c, How::default(), |_| Ok(()))?;
    Ok(ends.home.and(ends.host)?)
}

#[test]
fn threads_with_memory_of_their_own() -> Result<()> {
    let scene = Scene::new()?;
    let arguments = ["0.0.0.0", "32"];
    let pid = programs::start_with(&scene.home.machine, &memory::threads(), &arguments)?;
    let open = || {
        let mut memory = Memory::open(&scene.lan.peer, HOME)?;
        assert_eq!(memory.hear()?, "ready");
        Ok::<_, anyhow::Error>(memory)
    };
    let mut all = [open()?, open()?, open()?];
    moves(&scene, pid)?;
    // All at once, so that all wait for pages.
    all.iter_mut().try_for_each(Memory::ask)?;
    for memory in &mut all {
        assert_eq!(memory.hear()?, "8192 of 8192");
    }
    assert_eq!(open()?.all()?, "8192 of 8192");
    Ok(())
}

/// A tree of processes, of which one more is made while memory is at home.
#[test]
fn a_tree_that_forks_before_its_memory_is_there() -> Result<()> {
    let scene = Scene::new()?;
    let arguments = ["0.0.0.0", "32"];
    let pid = programs::start_with(&scene.home.machine, &memory::forks(), &arguments)?;
    let open = || Memory::open(&scene.lan.peer, HOME);
    let mut all = [open()?, open()?];
    for memory in &mut all {
        assert_eq!(memory.all()?, "8192 of 8192");
    }
    let how = How { held_after: Some(10 << 20), ..How::default() };
    let ends = scene.migrate_lazily(pid, &scene.home, &scene.c, how, |following| {
        let mut new = open()?;
        new.ask()?;
        following.release();
        assert_eq!(new.hear()?, "8192 of 8192");
        Ok(())
    })?;
    ends.home?;
    ends.host?;
    for memory in &mut all {
        assert_eq!(memory.all()?, "8192 of 8192");
    }
    Ok(())
}

/// CRIU dies on either side while memory is at home.
fn criu_dies(at: impl Fn(&Scene) -> &Place, sides: [&str; 2]) -> Result<()> {
    let scene = Scene::new()?;
    let pid = steady(&scene)?;
    let mut memory = Memory::open(&scene.lan.peer, HOME)?;
    let how = How { held_after: Some(LARGE_BYTES / 10), ..How::default() };
    let ends = scene.migrate_lazily(pid, &scene.home, &scene.c, how, |following| {
        following.wait_for(LARGE_BYTES / 20)?;
        // The one that setup brings goes by the name of its loader.
        at(&scene).machine.run(&["pkill", "-KILL", "--exact", "criu|ld-linux.*"])?.success()?;
        following.release();
        // It never sees memory that is not its own.
        let answer = memory.all().unwrap_or_default();
        ensure!(answer.is_empty(), "it has counted {answer}");
        Ok(())
    })?;
    for (end, expected) in [ends.home, ends.host].into_iter().zip(sides) {
        let told = end.unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
    soon("the process has ended", || (!scene.c.machine.has(pid)).then_some(()))?;
    ensure!(!scene.home.machine.has(pid), "nothing of it is left at home");
    Ok(())
}

#[test]
fn a_process_ends_when_criu_dies_at_home() -> Result<()> {
    let cut = "the stream of pages was cut";
    criu_dies(|scene| &scene.home, ["CRIU has ended while it had memory", cut])
}

#[test]
fn a_process_ends_when_criu_dies_on_the_host() -> Result<()> {
    let cut = "the stream of pages was cut";
    criu_dies(|scene| &scene.c, [cut, "CRIU has ended before all memory was where it belongs"])
}

#[test]
fn a_link_that_is_cut_ends_the_process_and_both_sides_are_told() -> Result<()> {
    let scene = Scene::new()?;
    let pid = steady(&scene)?;
    let mut memory = Memory::open(&scene.lan.peer, HOME)?;
    let how = How { held_after: Some(LARGE_BYTES / 10), ..How::default() };
    let ends = scene.migrate_lazily(pid, &scene.home, &scene.c, how, |following| {
        following.wait_for(LARGE_BYTES / 20)?;
        following.cut();
        // It never sees memory that is not its own; its connections end.
        let answer = memory.all().unwrap_or_default();
        ensure!(answer.is_empty(), "it has counted {answer}");
        Ok(())
    })?;
    for end in [ends.home, ends.host] {
        let told = end.unwrap_err().to_string();
        assert!(told.contains("the stream of pages was cut"), "{told}");
    }
    soon("the process has ended", || (!scene.c.machine.has(pid)).then_some(()))?;
    ensure!(!scene.home.machine.has(pid), "nothing of it is left at home");
    Ok(())
}
