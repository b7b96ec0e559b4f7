//! The example in `configs/examples/runc`, as it stands there: its files, and the
//! commands of its text in their order, with the real runc and ssh.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Finished, Host, criu, until};

use crate::scene::{Place, Scene};

const AT: &str = "10.0.0.2:8080";
/// What a peer waits for one answer: as long as a move may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is served where, of the same length: the file may be open in the move.
const PAGES: [&str; 2] = ["this is home", "this is on c"];

/// The example's folder.
fn folder() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/examples/runc").to_owned()
}

/// Home and c, prepared as the example asks for. Dropping it removes the container.
struct Example {
    scene: Scene,
    /// The path on which root finds programs.
    path: String,
}

impl Drop for Example {
    fn drop(&mut self) {
        for place in [&self.scene.home, &self.scene.c] {
            let _ = self.sh(place, "runc delete --force web");
        }
    }
}

impl Example {
    fn new() -> Result<Self> {
        let scene = Scene::new()?;
        let bin = scene.lan.home.dir().join("bin");
        fs::create_dir(&bin)?;
        let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
        let example = Self { scene, path };
        let ssh = format!("/usr/bin/ssh -F {}", example.file("ssh_config").display());
        let criu = criu();
        let criu = criu.to_str().context("a plain path")?;
        for (name, line) in
            [("criu", criu), ("redirect", env!("CARGO_BIN_EXE_redirect")), ("ssh", &ssh)]
        {
            let program = bin.join(name);
            fs::write(&program, format!("#!/bin/sh\nexec {line} \"$@\"\n"))?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
        let socket = example.scene.daemon.socket().display().to_string();
        let default = "/run/redirectd";
        let link = format!("mkdir {default}; ln -s {socket} {default}/redirectd.sock");
        example.sh(&example.scene.home, &link)?.success()?;
        for place in [&example.scene.home, &example.scene.c] {
            // Each machine has a `/srv` of its own.
            example.sh(place, "mount -t tmpfs srv /srv; mkdir -p /run/sshd")?.success()?;
        }
        example.let_in()?;
        Ok(example)
    }

    /// Has home get into c by ssh.
    fn let_in(&self) -> Result<()> {
        for key in ["host", "user"] {
            let file = self.file(key).display().to_string();
            let keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &file];
            self.scene.home.machine.run(&keygen)?.success()?;
        }
        let dir = self.scene.lan.home.dir();
        let (dir, address, path) = (dir.display(), self.scene.c.v4, &self.path);
        let public = fs::read_to_string(self.file("host.pub"))?;
        fs::write(self.file("known"), format!("{address} {public}"))?;
        let client = format!(
            "Host c\nHostName {address}\nUser root\nIdentityFile {dir}/user\nIdentitiesOnly yes\n\
             UserKnownHostsFile {dir}/known\nStrictHostKeyChecking yes\n"
        );
        fs::write(self.file("ssh_config"), client)?;
        let server = format!(
            "HostKey {dir}/host\nAuthorizedKeysFile {dir}/user.pub\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin prohibit-password\nSetEnv PATH={path}\n"
        );
        let file = self.file("sshd_config").display().to_string();
        fs::write(&file, server)?;
        self.scene.c.machine.start(&["/usr/sbin/sshd", "-D", "-e", "-f", &file])?;
        listens(&self.scene.lan.c, 22)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scene.lan.home.dir().join(name)
    }

    /// Runs commands of the example on a machine. The container has another name
    /// than there: cgroups of that name are the whole machine's.
    fn sh(&self, place: &Place, commands: &str) -> Result<Finished> {
        let named = format!(" {}", self.scene.name);
        let words = commands.split(" web").collect::<Vec<_>>().join(&named);
        let path = format!("PATH={}", self.path);
        place.machine.run(&["env", "-C", &folder(), &path, "sh", "-ec", &words])
    }

    /// Does what the text says, up to where the container runs at home, and gives
    /// the commands that are left: there and back.
    fn start(&self) -> Result<[String; 2]> {
        let text = fs::read_to_string(format!("{}/README.md", folder()))?;
        let mut blocks = text
            .split("```sh\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
        let mut block = || blocks.next().context("the text has five blocks of commands");
        for _ in 0..3 {
            self.sh(&self.scene.home, &block()?)?.success()?;
        }
        for (place, page) in [&self.scene.home, &self.scene.c].into_iter().zip(PAGES) {
            let put = format!("printf '{page}' >/srv/web/rootfs/srv/index.html");
            self.sh(place, &put)?.success()?;
        }
        listens(&self.scene.lan.home, 8080)?;
        Ok([block()?, block()?])
    }
}

/// Waits until somebody listens on `host`.
fn listens(host: &Host, port: u16) -> Result<()> {
    let filter = format!("sport = :{port}");
    until(PATIENCE, &format!("{} listens at {port}", host.name()), || {
        let listeners = host.run(&["ss", "-Hltn", &filter]).ok()?;
        (!listeners.is_empty()).then_some(())
    })
}

/// A peer with one connection, by which it asks for the page again and again.
struct Browser(BufReader<TcpStream>);

impl Browser {
    fn open(host: &Host) -> Result<Self> {
        let endpoint: SocketAddr = AT.parse()?;
        let connection = host.enter(|| TcpStream::connect_timeout(&endpoint, PATIENCE))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(connection)))
    }

    fn page(&mut self) -> Result<String> {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: home\r\n\r\n")?;
        let (mut line, mut length) = (String::new(), None);
        while line != "\r\n" {
            line.clear();
            ensure!(self.0.read_line(&mut line)? > 0, "the connection has ended");
            if let Some(number) = line.strip_prefix("Content-Length: ") {
                length = Some(number.trim().parse()?);
            }
        }
        let mut page = vec![0; length.context("the answer has a length")?];
        self.0.read_exact(&mut page)?;
        Ok(String::from_utf8(page)?)
    }

    /// Asks on while `commands` run, and gives what these did.
    fn asks_during(&mut self, commands: impl FnOnce() -> Result<Finished>) -> Result<Finished> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let page = self.page()?;
                    ensure!(PAGES.contains(&page.as_str()), "not a page: {page}");
                }
                Ok(())
            });
            let done = commands();
            over.store(true, Ordering::Relaxed);
            let asked = asking.join().expect("asking does not panic");
            let done = done?;
            asked.with_context(|| done.to_string())?;
            Ok(done)
        })
    }
}

#[test]
fn the_containers_connections_go_on_there_and_back() -> Result<()> {
    let example = Example::new()?;
    let ways = example.start()?;
    let peer = &example.scene.lan.peer;
    let mut browser = Browser::open(peer)?;
    assert_eq!(browser.page()?, PAGES[0]);
    for (way, page) in ways.iter().zip([PAGES[1], PAGES[0]]) {
        let moved = browser.asks_during(|| example.sh(&example.scene.home, way))?.success()?;
        ensure!(moved.contains("committed"), "{moved}");
        assert_eq!(browser.page()?, page);
        assert_eq!(Browser::open(peer)?.page()?, page);
    }
    Ok(())
}

/// Runs the example's way to c where it cannot succeed, and sees that all goes on
/// at home; and that it can when `cured` has been run on the machine.
fn stays_until(example: &Example, way: &str, place: &Place, cured: &str) -> Result<()> {
    let home = &example.scene.home;
    let mut browser = Browser::open(&example.scene.lan.peer)?;
    assert_eq!(browser.page()?, PAGES[0]);
    let failed = browser.asks_during(|| example.sh(home, way))?;
    ensure!(failed.code == 1, "{failed}");
    assert_eq!(browser.page()?, PAGES[0]);
    assert_eq!(Browser::open(&example.scene.lan.peer)?.page()?, PAGES[0]);
    example.sh(place, cured)?.success()?;
    browser.asks_during(|| example.sh(home, way))?.success()?;
    assert_eq!(browser.page()?, PAGES[1]);
    Ok(())
}

#[test]
fn a_container_that_cannot_be_written_down_goes_on() -> Result<()> {
    let example = Example::new()?;
    let [way, _] = example.start()?;
    let home = &example.scene.home;
    example.sh(home, "chmod -x /srv/web/hook")?.success()?;
    stays_until(&example, &way, home, "chmod +x /srv/web/hook")
}

#[test]
fn a_container_that_cannot_be_restored_there_is_restored_at_home() -> Result<()> {
    let example = Example::new()?;
    let [way, _] = example.start()?;
    let c = &example.scene.c;
    example.sh(c, "mv /srv/web/rootfs/srv /srv/web/rootfs/gone")?.success()?;
    stays_until(&example, &way, c, "mv /srv/web/rootfs/gone /srv/web/rootfs/srv")
}
