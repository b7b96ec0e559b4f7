//! The way that the programs go, and what is done meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, Error, Result, ensure};
use xtask::lab::soon;

use crate::scene::{Place, Scene};

/// So often a move is tried at most.
const TRIES: u32 = 5;

/// A running program, and where it is.
pub(super) struct Tour<'a> {
    scene: &'a Scene,
    redirects: &'a [&'a str],
    pid: i32,
    at: &'a Place,
}

/// How far it is with what is done meanwhile.
#[derive(Default)]
pub(super) struct Pace {
    /// Grows with all that has come and been compared.
    pub(super) count: AtomicU64,
    /// So many moves are done.
    pub(super) moves: AtomicU32,
    /// The tour is over, and so may this be.
    pub(super) over: AtomicBool,
}

/// What is done meanwhile, until the tour is over.
pub(super) type Task<'t> = Box<dyn FnOnce(&Pace) -> Result<()> + Send + 't>;

impl Pace {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, some: u64) {
        self.count.fetch_add(some, Ordering::Relaxed);
    }
}

impl<'a> Tour<'a> {
    /// Starts a server at home, which is to listen at port 7000; gives its log too.
    pub(super) fn of_server(scene: &'a Scene, line: &[&str]) -> Result<(Self, PathBuf)> {
        let (pid, log) = scene.home.machine.start(line)?;
        let listens = || {
            let listeners = scene.lan.home.run(&["ss", "-Hltn", "sport = :7000"]).ok()?;
            (!listeners.is_empty()).then_some(())
        };
        soon("a server listens", listens).with_context(|| said(&log))?;
        Ok((Self::of(scene, &["four", "six"], pid), log))
    }

    /// Of a program at home that `redirects` lead to.
    pub(super) fn of(scene: &'a Scene, redirects: &'a [&'a str], pid: i32) -> Self {
        Self { scene, redirects, pid, at: &scene.home }
    }

    /// Moves it, with all below it.
    pub(super) fn move_to(&mut self, to: &'a Place) -> Result<()> {
        let mut tries = 0;
        let processes = loop {
            tries += 1;
            match self.scene.migrate_with(self.redirects, self.pid, self.at, to) {
                // A peer was connecting in that very moment; this is the cure.
                Err(error) if tries < TRIES && error.to_string().contains("try again") => {}
                moved => break moved?,
            }
        };
        for process in &processes {
            let there = to.machine.has(process.pid) && !self.at.machine.has(process.pid);
            ensure!(there, "{process:?} is not on {} alone", to.name());
        }
        self.at = to;
        Ok(())
    }

    /// Home → c → d → home, with `tasks` meanwhile. On each machine, all of them
    /// must come on by `more`.
    pub(super) fn go(&mut self, more: u64, tasks: Vec<Task<'_>>) -> Result<()> {
        let paces: Vec<Pace> = tasks.iter().map(|_| Pace::default()).collect();
        let scene = self.scene;
        let (toured, done) = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (task, pace) in tasks.into_iter().zip(&paces) {
                threads.push(scope.spawn(move || task(pace)));
            }
            let mut tour = || {
                come_on(&paces, &scene.home, more)?;
                for place in [&scene.c, &scene.d, &scene.home] {
                    self.move_to(place)?;
                    paces.iter().for_each(|pace| _ = pace.moves.fetch_add(1, Ordering::Relaxed));
                    come_on(&paces, place, more)?;
                }
                Ok::<_, Error>(())
            };
            let toured = tour();
            paces.iter().for_each(|pace| pace.over.store(true, Ordering::Relaxed));
            let joined = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            (toured, joined.collect::<Result<()>>())
        });
        match (toured, done) {
            // Why nothing came on.
            (Err(tour), Err(task)) => Err(tour.context(format!("{task:#}"))),
            (toured, done) => toured.and(done),
        }
    }
}

/// Waits until all have come on.
fn come_on(paces: &[Pace], place: &Place, more: u64) -> Result<()> {
    let count = |pace: &Pace| pace.count.load(Ordering::Relaxed);
    for pace in paces {
        let before = count(pace);
        let what = format!("more comes from {}", place.name());
        soon(&what, || (count(pace) >= before + more).then_some(()))?;
    }
    Ok(())
}

/// What a program has written to its log.
pub(super) fn said(log: &Path) -> String {
    format!("its log: {}", std::fs::read_to_string(log).unwrap_or_default())
}
