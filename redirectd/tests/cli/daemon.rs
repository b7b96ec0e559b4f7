//! The daemon's program as systemd runs it, with the kernel's packet path, in a
//! network of its own.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use aya::programs::links::PinnedLink;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    apart::{apart, ip},
    server::{Ended, eventually, redirect},
};

const CONFIG: &str = "\
version: 1
home: 192.0.2.1
hosts: { c: 192.0.2.3 }
interfaces: { outside: { attach: xdp } }
tables: { redirects: 64, flows: 1024, half_open: 64 }
";

const PINS: &str = "/sys/fs/bpf/redirectd";
const ADD: [&str; 6] = ["add", "web", "80", "--to", "c:8080", "--no-check"];

/// A home node: an interface called `outside`, and a folder for files.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        ip("link add outside type veth peer name inside");
        ip("address add 192.0.2.1/24 dev outside");
        ip("link set outside up");
        ip("link set inside up");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("redirectd.yaml"), CONFIG).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("run/redirectd.sock")
    }

    /// `redirectd`, run by the words of `wrapper` if there are any.
    fn daemon(&self, wrapper: &[&str]) -> Command {
        let words: Vec<&str> =
            wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_redirectd")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.arg("--config").arg(self.path("redirectd.yaml"));
        command.arg("--state-dir").arg(self.path("state"));
        command.arg("--socket").arg(self.socket());
        command
    }

    /// A daemon that has come to listen.
    fn start(&self, wrapper: &[&str]) -> Daemon {
        let log = File::create(self.path("log")).unwrap();
        let daemon = Daemon(self.daemon(wrapper).stderr(log).spawn().unwrap());
        eventually("the daemon answers", || {
            self.socket().exists() && self.redirect(&["status"]).code == 0
        });
        daemon
    }

    /// A daemon that does not start; how it ended.
    fn refused(&self, command: &mut Command) -> Ended {
        let output = command.output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn redirect(&self, arguments: &[&str]) -> Ended {
        redirect(&self.socket(), arguments)
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.redirect(arguments);
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        assert_eq!(ended.code, 0, "redirect {arguments:?}: {ended:?}\n{log}");
        ended.out
    }
}

/// A running daemon; killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    fn ends(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sysctl(name: &str) -> String {
    fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap().trim().to_owned()
}

/// Whether there is an XDP program on `outside`.
fn attached() -> bool {
    let output = Command::new("ip").args(["-details", "link", "show", "outside"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().contains("prog/xdp")
}

#[test]
fn killed_and_started_again_it_adopts_what_the_kernel_has() {
    apart(|| {
        let home = Home::new();
        let daemon = home.start(&[]);
        home.ok(&ADD);
        daemon.signal(Signal::SIGKILL);
        assert_eq!(daemon.ends(), None);
        assert!(Path::new(PINS).join("SLOTS").exists(), "what is in the kernel stays");

        let _daemon = home.start(&[]);
        assert!(home.ok(&["list"]).contains("192.0.2.1:80"));
        let log = fs::read_to_string(home.path("log")).unwrap();
        assert!(log.contains("redirects=1 changes=0"), "nothing had to be changed: {log}");
    });
}

#[test]
fn uninstall_leaves_nothing_in_the_kernel_and_the_settings_as_they_were() {
    apart(|| {
        let home = Home::new();
        let names = [
            "net/ipv4/conf/lo/forwarding",
            "net/ipv6/conf/lo/forwarding",
            "net/ipv4/conf/lo/accept_local",
            "net/ipv4/ip_local_reserved_ports",
        ];
        let before = names.map(sysctl);
        let daemon = home.start(&[]);
        home.ok(&ADD);
        assert!(attached());
        assert_eq!(names.map(sysctl), ["1", "1", "1", "61000-65535"]);

        let ended = home.refused(home.daemon(&[]).arg("--uninstall"));
        assert_eq!(ended.code, 1, "not under a daemon that runs: {ended:?}");
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.ends(), Some(0));

        // As somebody who looks at it with bpftool does.
        let looked_at = PinnedLink::from_pin(Path::new(PINS).join("link-xdp-outside")).unwrap();
        let ended = home.refused(home.daemon(&[]).arg("--uninstall"));
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(names.map(sysctl), before);
        assert!(!Path::new(PINS).exists());
        assert!(!attached());
        drop(looked_at);

        // What was added is still desired: the next start brings it back.
        let _daemon = home.start(&[]);
        assert!(home.ok(&["list"]).contains("192.0.2.1:80"));
    });
}

#[test]
fn the_service_manager_is_told_of_every_stage() {
    apart(|| {
        let home = Home::new();
        let path = home.path("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let told = || {
            let mut buffer = [0; 512];
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let untold = |boring: &str| loop {
            let said = told();
            if !said.contains(boring) {
                return said;
            }
        };
        let mut command = home.daemon(&[]);
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000000");
        let daemon = Daemon(command.stderr(Stdio::null()).spawn().unwrap());
        assert!(told().contains("READY=1"));
        assert!(told().contains("WATCHDOG=1"));
        daemon.signal(Signal::SIGHUP);
        let reloading = untold("WATCHDOG=1");
        assert!(reloading.contains("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert!(untold("WATCHDOG=1").contains("READY=1"));
        daemon.signal(Signal::SIGTERM);
        assert!(untold("WATCHDOG=1").contains("STOPPING=1"));
        assert_eq!(daemon.ends(), Some(0));
    });
}

#[test]
fn it_serves_the_socket_that_systemd_made_and_leaves_it_there() {
    apart(|| {
        let home = Home::new();
        fs::create_dir(home.path("run")).unwrap();
        let socket = home.socket();
        let path = socket.to_str().unwrap();
        let daemon = home.start(&["systemd-socket-activate", "--listen", path]);
        home.ok(&ADD);
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.ends(), Some(0));
        assert!(home.socket().exists(), "it is not the daemon's to remove");
    });
}

#[test]
fn the_units_capabilities_are_enough() {
    apart(|| {
        let home = Home::new();
        let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/systemd/redirectd.service");
        let unit = fs::read_to_string(unit).unwrap();
        let set =
            unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        let bounds: String =
            set.split(' ').map(|name| name.replace("CAP_", ",+").to_lowercase()).collect();
        let bounds = format!("--bounding-set=-all{bounds}");
        let wrapper = ["setpriv", "--no-new-privs", &bounds];
        let daemon = home.start(&wrapper);
        home.ok(&ADD);
        assert!(home.ok(&["status"]).contains("outside: xdp+"));
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.ends(), Some(0));
        let ended = home.refused(home.daemon(&wrapper).arg("--uninstall"));
        assert_eq!(ended.code, 0, "{ended:?}");
    });
}

#[test]
fn what_is_missing_is_one_error_with_its_cure() {
    apart(|| {
        let home = Home::new();
        let cases: [(&str, i32, Command, &[&str]); 5] = [
            (
                "no configuration",
                1,
                with(home.daemon(&[]), &["--config", "/none.yaml"]),
                &["/none.yaml"],
            ),
            (
                "no privileges",
                4,
                home.daemon(&["setpriv", "--bounding-set=-all"]),
                &["CAP_BPF", "CAP_NET_ADMIN", "as root"],
            ),
            (
                "no BPF file system",
                1,
                with(home.daemon(&[]), &["--pin-dir", "/tmp/pins"]),
                &["/tmp/pins", "mount -t bpf"],
            ),
            (
                "a filter that makes no sense",
                2,
                with(home.daemon(&[]), &["--log", "loud=very"]),
                &["loud=very"],
            ),
            (
                "an option that is not there",
                2,
                with(home.daemon(&[]), &["--frobnicate"]),
                &["--frobnicate"],
            ),
        ];
        for (what, code, mut command, parts) in cases {
            let ended = home.refused(&mut command);
            assert_eq!(ended.code, code, "{what}: {ended:?}");
            for part in parts {
                assert!(ended.err.contains(part), "{what}: {part} in {}", ended.err);
            }
        }
        ip("link delete outside");
        let ended = home.refused(&mut home.daemon(&[]));
        assert!(ended.err.contains("no interface outside"), "{ended:?}");
        assert!(!Path::new(PINS).exists(), "nothing was begun");
    });
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    // The last of an option counts only if it is the only one.
    let program = command.get_program().to_owned();
    let mut all: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    if let Some(place) = all.iter().position(|word| word == arguments[0]) {
        all.drain(place..place + 2);
    }
    command = Command::new(program);
    command.args(all).args(arguments);
    command
}

#[test]
fn an_interface_that_goes_and_comes_back_is_attached_again() {
    apart(|| {
        let home = Home::new();
        let _daemon = home.start(&[]);
        let log = File::open(home.path("log")).unwrap();
        ip("link delete outside");
        let mut lines = BufReader::new(log).lines();
        let mut said = |part: &str| {
            eventually(part, || fs::read_to_string(home.path("log")).unwrap().contains(part));
            lines.by_ref().map_while(Result::ok).any(|line| line.contains(part))
        };
        assert!(said("outside") && said("is gone"));
        ip("link add outside type veth peer name inside");
        assert!(said("is back, attached again"));
        assert!(attached());
    });
}
