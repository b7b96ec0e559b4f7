//! The pair as processes in the namespaces of a suite.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    client::Extent,
    figures::Figures,
    server::{Behaviour, READY},
};
use crate::{
    interrupt,
    lan::Lan,
    netns::Netns,
    route::{Route, Server, deputy_of},
};

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

/// Starts a server on each of `ports` on the host, as `route` wants them to
/// run; they can be connected to.
///
/// # Errors
/// One does not start.
pub(crate) fn servers(
    lan: &Lan,
    route: &dyn Route,
    ports: &[u16],
    behaviour: Behaviour,
    buffer: usize,
) -> Result<Vec<Process>> {
    let spawn = |port: &u16| {
        let mut command = pair(&lan.host)?;
        command.args(["server", "--port", &port.to_string(), "--buffer", &buffer.to_string()]);
        match behaviour {
            Behaviour::Receive => command.arg("--receive"),
            Behaviour::Answer(exchange) => command.args(["--answer", &exchange.to_string()]),
        };
        if route.server() == Server::Deputy {
            command.args(["--deputy", &deputy_of(*port).to_string()]);
        }
        Process::spawn(command)
    };
    let mut servers = ports.iter().map(spawn).collect::<Result<Vec<_>>>()?;
    servers.iter_mut().try_for_each(Process::wait_until_ready)?;
    Ok(servers)
}

/// Runs a client at the peer, with a connection to each of `ports`, which
/// follow each other.
///
/// # Errors
/// A connection fails, or not all that was sent has arrived.
pub(crate) fn client(
    lan: &Lan,
    route: &dyn Route,
    ports: &[u16],
    extent: Extent,
    buffer: usize,
) -> Result<Figures> {
    let mut command = pair(&lan.peer)?;
    command.args(["client", "--json", "--to", &route.target().to_string()]);
    command.args(["--port", &ports[0].to_string(), "--pairs", &ports.len().to_string()]);
    command.args(["--buffer", &buffer.to_string()]);
    if let Some(bytes) = extent.amount {
        command.args(["--amount", &bytes.to_string()]);
    }
    if let Some(seconds) = extent.time {
        command.args(["--time", &seconds.to_string()]);
    }
    let printed = Process::spawn(command)?.printed()?;
    serde_json::from_str(&printed).with_context(|| format!("not a client's figures: `{printed}`"))
}

/// A process of ours that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    shown: String,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        let shown = format!("{command:?}").replace('"', "");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for the bench, which ends its processes itself.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run `{shown}`"))?;
        Ok(Self { child, shown })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends instead; what it wrote is in the message.
    pub(crate) fn wait_until_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != READY {
            // Ctrl-C on a terminal ends it too, and is the better reason.
            interrupt::check()?;
            let complaint = self.complaint();
            bail!("`{}` failed: {complaint}", self.shown);
        }
        Ok(())
    }

    /// Waits until it has ended, and returns what it has printed.
    ///
    /// # Errors
    /// It failed, or the run was interrupted.
    fn printed(mut self) -> Result<String> {
        let status = loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(5));
        };
        if !status.success() {
            interrupt::check()?;
            let complaint = self.complaint();
            bail!("`{}` failed: {complaint}", self.shown);
        }
        let mut text = String::new();
        self.child.stdout.take().context("standard output is a pipe")?.read_to_string(&mut text)?;
        Ok(text)
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
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
