//! The way that the programs go, and what is done meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Error, Result, ensure};
use xtask::lab::soon;

use crate::scene::{Place, Scene};

/// How often somebody looks who waits.
const PAUSE: Duration = Duration::from_millis(5);

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

    /// Waits for so many moves; false if the tour is over before.
    pub(super) fn reaches(&self, moves: u32) -> bool {
        while !self.is_over() && self.moves.load(Ordering::Relaxed) < moves {
            thread::sleep(PAUSE);
        }
        !self.is_over()
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
        let processes = self.scene.migrate_with(self.redirects, self.pid, self.at, to)?;
        ensure!(to.machine.has(self.pid), "{} is not on {}", self.pid, to.name());
        for process in &processes {
            let stayed = self.at.machine.has(process.pid);
            ensure!(!stayed, "{process:?} is still on {}", self.at.name());
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
                come_on(&paces, &vec![0; paces.len()], more, &scene.home)?;
                for place in [&scene.c, &scene.d, &scene.home] {
                    self.move_to(place)?;
                    let before = counts(&paces);
                    paces.iter().for_each(|pace| _ = pace.moves.fetch_add(1, Ordering::Relaxed));
                    come_on(&paces, &before, more, place)?;
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

fn counts(paces: &[Pace]) -> Vec<u64> {
    paces.iter().map(|pace| pace.count.load(Ordering::Relaxed)).collect()
}

/// Waits until all have come on since they were at `before`.
fn come_on(paces: &[Pace], before: &[u64], more: u64, place: &Place) -> Result<()> {
    let all = || counts(paces).iter().zip(before).all(|(now, before)| *now >= before + more);
    soon(&format!("more comes from {}", place.name()), || all().then_some(()))
}

/// What a program has written to its log.
pub(super) fn said(log: &Path) -> String {
    format!("its log: {}", std::fs::read_to_string(log).unwrap_or_default())
}
