//! What becomes of a process whose memory follows, and of all that knows of it.

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Process, until};

use super::{
    field::{Field, LONGEST, NOWHERE},
    gate::Gate,
};
use crate::{
    following::{Slow, follows, serve_large},
    memory::Memory,
    programs::Talk,
};

const SERVER: &str = "10.0.0.2:7000";
const ALL_RIGHT: &str = "51200 of 51200";

/// A move that is hit when it is committed.
#[derive(Clone, Copy)]
pub(super) struct Loss<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) when: Moment,
}

/// When it is hit.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Moment {
    /// The move is committed, and the process not ended at the source.
    Committed,
    /// It runs at the destination, and some of its memory is still at the source.
    Following,
}

impl Field {
    /// With a large process on the machine `from`, whose memory follows it.
    pub(super) fn large(from: &str) -> Result<Self> {
        let field = Self::serving(&["--memory", "lazy"], serve_large)?;
        if from != "home" {
            field.three.two.run(&[], from, &["--memory", "lazy"])?.success()?;
        }
        Ok(field)
    }

    /// The process ends by what `hit` does: all know, nothing stays, and another one can
    /// be moved.
    pub(super) fn loses(
        &mut self,
        loss: Loss<'_>,
        hit: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut waiting = Talk::open(self.three.two.peer(), SERVER)?;
        waiting.line()?;
        self.hit(loss, hit, |field, command| {
            let runs =
                |field: &Self| ["home", "c", "d"].into_iter().any(|name| field.runs_on(name));
            let ended = || (!runs(field)).then_some(());
            // One that runs on where it was hears whose it is only over the link.
            let cut = until(LONGEST, "the command ends", || {
                command.has_ended().ok().filter(|ended| *ended).map(drop)
            });
            field.link(true)?;
            cut?;
            until(LONGEST, "the process has ended", ended)?;
            let code = command.wait(LONGEST)?.code();
            let told = code == Some(1) && command.log().contains("the process has ended");
            ensure!(code.is_none() || told, "the move ended with {code:?}");
            field.peer_hears_of_it()?;
            field.nothing_stays(NOWHERE, 1)?;
            waiting.ends().context("a peer that only waits")
        })?;
        self.begin_anew()?;
        self.three.two.run(&[], loss.to, &["--memory", "lazy"])?.success()?;
        assert_eq!(Memory::open(self.three.two.peer(), SERVER)?.all()?, ALL_RIGHT);
        Ok(())
    }

    /// The process goes on, whatever `hit` does.
    pub(super) fn outlives(
        &mut self,
        loss: Loss<'_>,
        hit: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.hit(loss, hit, |field, command| {
            ensure!(command.wait(LONGEST)?.success(), "the move failed");
            field.talk.line()?;
            field.nothing_stays(loss.to, 1)
        })?;
        assert_eq!(Memory::open(self.three.two.peer(), SERVER)?.all()?, ALL_RIGHT);
        Ok(())
    }

    /// Moves the process, its memory by a slow link, hits the move, and has `see` look how it ends.
    fn hit(
        &mut self,
        loss: Loss<'_>,
        hit: impl FnOnce(&mut Self) -> Result<()>,
        see: impl FnOnce(&mut Self, &mut Process) -> Result<()>,
    ) -> Result<()> {
        let (home, c) = (self.three.two.lan.home.clone(), self.three.two.lan.c.clone());
        let gate = Gate::closing(self)?;
        let mut command = self.start_by(loss.to, &gate.socket())?;
        gate.closed().with_context(|| command.log())?;
        // The images are over, and no page is but those that were asked for.
        let slow = Slow::link(if loss.from == "home" { &home } else { &c })?;
        if loss.when == Moment::Following {
            gate.open()?;
            follows(&self.three.two).with_context(|| command.log())?;
            hit(self)?;
        } else {
            hit(self)?;
            gate.open()?;
        }
        if !self.command_runs()? {
            // It is whom home takes for the leader.
            let line = ["pkill", "-KILL", "--full", "A way to redirectd that a test can close"];
            self.machine("home").run(&line)?.success()?;
        }
        drop(slow);
        see(self, &mut command).with_context(|| format!("{}\n{}", command.log(), self.logs()))
    }

    /// `redirect migrate` dies.
    pub(super) fn command_dies(&mut self) -> Result<()> {
        let home = self.machine("home");
        home.run(&["pkill", "-KILL", "--exact", "redirect"])?.success()?;
        let gone = || self.command_runs().ok().filter(|runs| !runs).map(drop);
        until(LONGEST, "the command has gone", gone)
    }

    fn command_runs(&self) -> Result<bool> {
        Ok(self.machine("home").run(&["pgrep", "--exact", "redirect"])?.code == 0)
    }

    /// Whatever CRIU does on `name` dies.
    pub(super) fn all_criu_dies(&mut self, name: &str) -> Result<()> {
        // The one that setup brings goes by the name of its loader.
        let line = ["pkill", "-KILL", "--exact", "criu|ld-linux.*"];
        self.machine(name).run(&line)?.success().map(drop)
    }

    /// The daemon on `name` and whatever CRIU does there die at once; the daemon is started again.
    pub(super) fn daemon_and_criu_die(&mut self, name: &str) -> Result<()> {
        let line = ["pkill", "-KILL", "--exact", "redirectd|criu|ld-linux.*"];
        self.machine(name).run(&line)?.success()?;
        self.daemon_dies(name)
    }

    /// Its connection has come to an end for the peer.
    fn peer_hears_of_it(&mut self) -> Result<()> {
        loop {
            let Err(error) = self.talk.line() else { continue };
            let silent = error.downcast_ref::<std::io::Error>().is_some_and(|error| {
                use std::io::ErrorKind::{TimedOut, WouldBlock};
                matches!(error.kind(), TimedOut | WouldBlock)
            });
            ensure!(!silent, "the peer hears nothing: {error:#}");
            return Ok(());
        }
    }

    /// A new process takes the place of the one that has ended.
    fn begin_anew(&mut self) -> Result<()> {
        let two = &self.three.two;
        let redirects = two.redirects()?;
        for redirect in redirects.as_array().context("redirects")? {
            two.daemon.redirect(&["remove", redirect["name"].as_str().context("a name")?])?;
        }
        serve_large(two)?;
        self.talk = Talk::open(two.peer(), SERVER)?;
        Ok(())
    }
}
