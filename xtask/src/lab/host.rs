//! A host: a network namespace with interfaces, in which programs run.

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};

use serde_json::Value;

use super::{Finished, Inner, Process, Program, Switch, cleanup, process::run, soon};

/// An interface's name has room for 16 bytes, one of them zero.
const NAME_MAX: usize = 15;

/// A host of a lab. Clones are the same host; it goes with the last of them.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    netns: Arc<Netns>,
    lab: Arc<Inner>,
}

/// A host's network namespace.
#[derive(Debug)]
struct Netns {
    name: String,
    started: AtomicU32,
    _removal: cleanup::Token,
}

/// How a host is plugged into a switch.
#[derive(Debug, Clone)]
pub struct Plug {
    interface: String,
    addresses: Vec<String>,
    offloads: bool,
}

impl Plug {
    /// By the interface `interface`, without an address.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned(), addresses: Vec::new(), offloads: true }
    }

    /// With an address and its prefix length, of either family.
    #[must_use]
    pub fn addr(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// With checksums complete and every packet within the MTU when it leaves:
    /// what an XDP program on a physical interface sees.
    #[must_use]
    pub fn without_offloads(mut self) -> Self {
        self.offloads = false;
        self
    }
}

impl Host {
    pub(super) fn new(lab: &Arc<Inner>, name: &str) -> Result<Self> {
        let netns = format!("{}-{name}", lab.id);
        let removal = cleanup::Token::namespace(&netns);
        ip(&["netns", "add", &netns])?;
        let netns = Netns { name: netns, started: AtomicU32::new(0), _removal: removal };
        let host = Self { name: name.to_owned(), netns: Arc::new(netns), lab: Arc::clone(lab) };
        // Addresses are usable at once: duplicate address detection takes a
        // second or two, and tells nothing here.
        for scope in ["all", "default"] {
            host.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
            host.sysctl(&format!("net/ipv6/conf/{scope}/router_solicitations"), "0")?;
        }
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Its name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its network namespace, as `ip netns` shows it.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns.name
    }

    /// Makes an interface that is plugged into `switch`, up and ready.
    ///
    /// # Errors
    /// When the name is too long or the kernel refuses.
    pub fn plug(&self, switch: &Switch, plug: Plug) -> Result<()> {
        let Plug { interface, addresses, offloads } = plug;
        ensure!(interface.len() <= NAME_MAX, "interface name {interface:?} has over 15 bytes");
        let port = switch.new_port(self, &interface)?;
        if !offloads {
            let all = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];
            self.run(&[&["ethtool", "-K", &interface], &all[..]].concat())?;
        }
        for address in &addresses {
            self.address(&interface, address)?;
        }
        self.ip(&["link", "set", &interface, "up"])?;
        switch.port_up(&port)?;
        self.wait_until_up(&interface)
    }

    /// Waits until an interface really passes packets: the kernel may take a
    /// second to notice that the other end of its cable is up as well, and until
    /// then it loses what it is given.
    pub(super) fn wait_until_up(&self, interface: &str) -> Result<()> {
        soon(&format!("{interface} of {} is up", self.name), || {
            let shown = self.link(interface).ok()?;
            let port = &shown["linkinfo"]["info_slave_data"]["state"];
            let up = shown["operstate"] == "UP" && (port.is_null() || port == "forwarding");
            up.then_some(())
        })
    }

    /// What `ip` says of one of its interfaces.
    fn link(&self, interface: &str) -> Result<Value> {
        let said = ip(&["-n", self.netns(), "-json", "-details", "link", "show", "dev", interface]);
        Ok(serde_json::from_str::<Value>(&said?)?[0].take())
    }

    /// Gives an interface one more address, usable at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn address(&self, interface: &str, address: &str) -> Result<()> {
        let add = ["addr", "add", address, "dev", interface];
        if address.contains(':') {
            self.ip(&[&add[..], &["nodad"]].concat())
        } else {
            self.ip(&add)
        }
    }

    /// Runs `ip ARGS` here.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", self.netns()], args].concat()).map(drop)
    }

    /// The MAC address of one of its interfaces.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let link = self.link(interface)?;
        link["address"].as_str().map(str::to_owned).context("an interface has a MAC address")
    }

    /// Adds a route to `prefix` by way of `gateway`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn route(&self, prefix: &str, gateway: &str) -> Result<()> {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        self.ip(&[family, "route", "add", prefix, "via", gateway])
    }

    /// Makes it forward packets, as a router does.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net/ipv4/ip_forward", "1")?;
        self.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    /// Writes one of its settings below `/proc/sys`; `net/…` are its own.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.enter(|| std::fs::write(format!("/proc/sys/{key}"), value))
            .with_context(|| format!("{}: cannot set {key} to {value}", self.name))
    }

    /// Runs a program here to its end and gives what it wrote.
    ///
    /// # Errors
    /// When it does not succeed, with everything it wrote.
    pub fn run(&self, line: &[&str]) -> Result<String> {
        self.try_run(line)?.success().with_context(|| format!("on {}", self.name))
    }

    /// Runs a program here to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started, or takes longer than a minute.
    pub fn try_run(&self, line: &[&str]) -> Result<Finished> {
        run(self.command(line))
    }

    /// Starts a program here.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, line: &[&str]) -> Result<Process> {
        let program = line.first().copied().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        let number = self.netns.started.fetch_add(1, Ordering::Relaxed);
        let log = self.lab.dir.join(format!("{}-{number}-{program}.log", self.name));
        Process::start(self.command(line), &log)
    }

    /// A command that runs here. Not `ip netns exec`, which would hide the BPF
    /// file system behind a new mount namespace.
    pub(super) fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").args(line);
        command
    }

    /// Calls `code` on a thread that is in this host's network. Sockets made
    /// there stay on this host wherever they are used later.
    ///
    /// # Panics
    /// When `code` does, or when the namespace cannot be entered.
    pub fn enter<T: Send>(&self, code: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let netns = std::fs::File::open(self.path()).expect("the host has a namespace");
            setns(netns, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            code()
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Puts an XDP program on an interface; it goes with the interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_xdp(&self, interface: &str, program: &Program) -> Result<()> {
        let pin = program.pin(&self.lab)?;
        // Not `ip -n`, which hides the BPF file system as `ip netns exec` does.
        self.run(&["ip", "link", "set", "dev", interface, "xdp", "pinned", pin.path()]).map(drop)
    }

    /// Puts tc programs on an interface's `ingress` or `egress`, to run in this
    /// order; they go with the interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_tc(&self, interface: &str, direction: &str, programs: &[Program]) -> Result<()> {
        // Both directions share one qdisc, which may be there already.
        self.try_run(&["tc", "qdisc", "add", "dev", interface, "clsact"])?;
        for (program, preference) in programs.iter().zip(1..) {
            let pin = program.pin(&self.lab)?;
            let preference: u32 = preference;
            let filter = ["tc", "filter", "add", "dev", interface, direction, "pref"];
            let program = [&preference.to_string(), "bpf", "da", "object-pinned", pin.path()];
            self.run(&[&filter[..], &program[..]].concat())?;
        }
        Ok(())
    }

    /// Puts a program on an interface's tcx ingress hook; it goes with what this
    /// gives.
    ///
    /// # Errors
    /// When the kernel refuses, or knows no tcx (before Linux 6.6).
    pub fn attach_tcx(&self, interface: &str, program: &Program) -> Result<OwnedFd> {
        let index = self.index(interface)?;
        self.enter(|| program.link_tcx(index))
    }

    /// The index of one of its interfaces.
    pub(super) fn index(&self, interface: &str) -> Result<u32> {
        Ok(self.enter(|| nix::net::if_::if_nametoindex(interface))?)
    }

    /// The folder for files of this host's lab.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.lab.dir.clone()
    }

    pub(super) fn lab(&self) -> &Arc<Inner> {
        &self.lab
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.netns())
    }
}

/// Runs `ip` outside all hosts.
pub(super) fn ip(args: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(args);
    run(command)?.success()
}
