//! Programs at home that take a connection and make another one to the host:
//! HAProxy in TCP mode, and socat.

use std::{
    any::Any,
    fmt::Write as _,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tempfile::TempDir;

use super::Route;
use crate::{
    command::not_installed,
    interrupt,
    lan::{HOME, HOST, Lan},
};

/// How long a program may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// HAProxy, one thread, as home's work is one processor's.
pub(super) struct Haproxy;

impl Route for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn unavailable(&self) -> Option<String> {
        not_installed("haproxy")
    }

    fn set_up(&self, lan: &Lan, ports: &[u16]) -> Result<Box<dyn Any>> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, configuration(ports))?;
        let mut command = lan.home.command("haproxy");
        command.arg("-db").arg("-f").arg(file);
        let mut relays = Relays::new(folder);
        relays.start(command)?;
        relays.wait_until_listening(ports)?;
        Ok(Box::new(relays))
    }
}

fn configuration(ports: &[u16]) -> String {
    let mut text = "global\n  nbthread 1\n  maxconn 4000\n\
                    defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  \
                    timeout server 1h\n"
        .to_owned();
    for port in ports {
        let _ = writeln!(
            text,
            "listen server-{port}\n  bind {HOME}:{port}\n  server host {HOST}:{port}"
        );
    }
    text
}

/// socat, a process for each port and one more for each connection.
pub(super) struct Socat;

impl Route for Socat {
    fn name(&self) -> &'static str {
        "socat"
    }

    fn unavailable(&self) -> Option<String> {
        not_installed("socat")
    }

    fn set_up(&self, lan: &Lan, ports: &[u16]) -> Result<Box<dyn Any>> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut relays = Relays::new(folder);
        for port in ports {
            let mut command = lan.home.command("socat");
            command
                // It takes half a second for what is still under way when one
                // side has ended to be nothing; a busy home needs longer.
                .args(["-t", "30"])
                .arg(format!("TCP-LISTEN:{port},bind={HOME},nodelay,reuseaddr,fork,backlog=1024"))
                .arg(format!("TCP:{HOST}:{port},nodelay"));
            relays.start(command)?;
        }
        relays.wait_until_listening(ports)?;
        Ok(Box::new(relays))
    }
}

/// Programs at work; ended, with all their children, when dropped.
struct Relays {
    children: Vec<Child>,
    folder: TempDir,
}

impl Relays {
    fn new(folder: TempDir) -> Self {
        Self { children: Vec::new(), folder }
    }

    /// Starts `command`.
    fn start(&mut self, mut command: Command) -> Result<()> {
        let log = File::create(self.log(self.children.len()))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own, with which its children go.
            .process_group(0);
        self.children.push(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        Ok(())
    }

    /// Waits until somebody listens on each of `ports` at home.
    fn wait_until_listening(&mut self, ports: &[u16]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            for n in 0..self.children.len() {
                if let Some(status) = self.children[n].try_wait()? {
                    let said = fs::read_to_string(self.log(n)).unwrap_or_default();
                    bail!("it ended ({status}): {}", said.trim());
                }
            }
            let sockets = self.children.first().map_or(0, Child::id);
            let table = fs::read_to_string(format!("/proc/{sockets}/net/tcp"))?;
            let listening = listening(&table);
            if ports.iter().all(|port| listening.contains(port)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "nobody listens at home after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self, n: usize) -> impl AsRef<Path> + use<> {
        self.folder.path().join(format!("log-{n}"))
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Ok(id) = child.id().try_into() {
                let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
    }
}

/// The ports on which somebody listens, by the text of /proc/net/tcp.
fn listening(table: &str) -> Vec<u16> {
    /// TCP_LISTEN of net/tcp_states.h.
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (_, port) = words.next()?.split_once(':')?;
            let state = words.nth(1)?;
            (state == LISTEN).then(|| u16::from_str_radix(port, 16).ok()).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_listen_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 010012C6:1388 00000000:0000 0A 00000000:00000000\n   \
                     1: 010012C6:1389 020012C6:9C40 01 00000000:00000000\n";
        assert_eq!(listening(table), [5000]);
    }

    #[test]
    fn haproxy_has_a_listener_for_each_port() {
        let text = configuration(&[5000, 5001]);
        assert_eq!(text.matches("\nlisten ").count(), 2);
        assert!(text.contains("bind 198.18.0.1:5001\n  server host 198.18.0.3:5001"));
    }
}
