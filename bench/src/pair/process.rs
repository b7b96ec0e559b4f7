//! The pair as processes in the namespaces of a suite.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{figures::Figures, server::READY};
use crate::netns::Netns;

/// The bench's own binary as `pair …`, to be run in `netns`.
///
/// # Errors
/// The binary is not to be found.
pub(crate) fn pair(netns: &Netns) -> Result<Command> {
    let own = env::current_exe().context("cannot find the bench's own binary")?;
    let mut command = netns.command(&own.to_string_lossy());
    command.arg("pair");
    Ok(command)
}

/// A process of ours that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` and waits until it says that it is ready.
    ///
    /// # Errors
    /// It cannot be started, or ends instead; what it wrote is in the message.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let shown = format!("{command:?}").replace('"', "");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{shown}`"))?;
        let mut process = Self { child };
        let mut line = String::new();
        let stdout = process.child.stdout.as_mut().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.trim() == READY, "`{shown}` failed: {}", process.complaint());
        Ok(process)
    }

    /// Ends it, and returns what it has written to standard error.
    fn complaint(&mut self) -> String {
        let mut text = String::new();
        let _ = self.child.kill();
        if let Some(mut stderr) = self.child.stderr.take() {
            // Whatever can be read is better than nothing.
            let _ = stderr.read_to_string(&mut text);
        }
        text.trim().to_owned()
    }

    /// Its number, for whoever wants to know what it uses.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The figures in what `pair client --json` has printed.
///
/// # Errors
/// It has printed something else.
pub(crate) fn figures(printed: &str) -> Result<Figures> {
    serde_json::from_str(printed).with_context(|| format!("not a client's figures: `{printed}`"))
}
