//! What may happen to a move that was stopped.

use anyhow::{Context as _, Result, bail, ensure};
use xtask::lab::{Process, until};

use super::field::{Field, LONGEST};
use crate::nodes::refused;

/// A move to be hit, as it is where it was stopped.
pub(super) struct Hit<'a> {
    pub(super) field: &'a mut Field,
    pub(super) on: &'a str,
    /// CRIU's number on its machine.
    pub(super) criu: String,
    pub(super) command: Process,
}

impl Hit<'_> {
    /// CRIU goes on from where it stopped.
    pub(super) fn go(&self) -> Result<()> {
        self.field.halts(self.on).go()
    }

    /// The daemon on `name` dies, and is started again.
    pub(super) fn daemon_dies(&mut self, name: &str) -> Result<()> {
        self.field.daemon_dies(name)
    }

    /// CRIU dies where it stopped.
    pub(super) fn criu_dies(&self) -> Result<()> {
        let machine = self.field.machine(self.on);
        machine.run(&["kill", "-KILL", self.criu.trim()])?.success()?;
        self.go()
    }

    /// CRIU and the daemon of its machine die, as when all of a service is killed; the
    /// daemon is started again.
    pub(super) fn both_die(&mut self) -> Result<()> {
        self.field.daemon(self.on).sigkill()?;
        self.criu_dies()?;
        self.field.daemon(self.on).start_again()
    }

    /// `redirect migrate` dies.
    pub(super) fn command_dies(&self) -> Result<()> {
        let home = self.field.machine("home");
        home.run(&["pkill", "-KILL", "--exact", "redirect"])?.success().map(drop)
    }

    /// Waits until `redirect migrate` has ended.
    pub(super) fn command_ends(&mut self) -> Result<()> {
        let command = &mut self.command;
        until(LONGEST, "the command ends", || command.has_ended().ok().filter(|ended| *ended))
            .map(drop)
    }

    /// Packets are held for the move.
    pub(super) fn holds(&self) -> Result<()> {
        let moves = self.field.three.two.moves()?;
        let parked = moves.iter().any(|moved| moved["state"] == "parked");
        ensure!(parked, "nothing is held: {moves:?}");
        Ok(())
    }

    /// Waits until the last move is in this state.
    pub(super) fn move_is(&self, state: &str) -> Result<()> {
        let there = || {
            let moves = self.field.three.two.moves().ok()?;
            moves.iter().all(|moved| moved["state"] == state).then_some(())
        };
        until(LONGEST, &format!("the move is {state}"), there)
    }

    /// Another `redirect migrate` of the process is refused with these words.
    pub(super) fn another_is_refused(&self, words: &str) -> Result<()> {
        let done = self.field.three.two.migrate(&[])?;
        println!("another one: {done}");
        refused(&done, 1, words)
    }

    /// Waits until `redirect migrate` has said `text`.
    pub(super) fn command_says(&mut self, text: &str) -> Result<()> {
        let said = until(LONGEST, &format!("the command says {text:?}"), || {
            self.command.log().contains(text).then_some(())
        });
        said.with_context(|| self.command.log())
    }

    /// Waits until the daemon on `name` has logged `text`.
    pub(super) fn daemon_says(&mut self, name: &str, text: &str) -> Result<()> {
        let daemon = self.field.daemon(name);
        let said = || daemon.log().contains(text).then_some(());
        match until(LONGEST, &format!("{name} says {text:?}"), said) {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}: {}", daemon.log()),
        }
    }
}
