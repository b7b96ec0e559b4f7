//! `cargo xtask demo`: a server moves to another machine, and its clients go on
//! talking to the address they know; then a live process moves, and its
//! connections stay open.
//!
//! Everything that is shown is run as it is shown, with real programs, in
//! network namespaces that go when the demonstration ends or is interrupted.

mod journey;
mod narrator;
mod stream;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Binaries, Daemon, Finished, Host, Lab, Lan, Nginx};

use self::{
    journey::Journey,
    narrator::Narrator,
    stream::{Sink, Stream},
};
use crate::{
    setup::{self, Purpose},
    workspace,
};

const HOME: &str = "10.0.0.2";
const CONFIGURATION: &str = "home: [10.0.0.2, 'fd00::2']
hosts:
  c: [10.0.0.3, 'fd00::3']
  d: [10.0.0.4, 'fd00::4']
interfaces: { eth0: { attach: auto } }
";
/// How long each bulk stream lasts, in seconds.
const STREAM: u32 = 4;
/// How often the counters are read.
const LOOK: Duration = Duration::from_millis(200);

/// What `cargo xtask demo` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Use the programs in this folder; set up and build nothing.
    #[arg(long, hide = true, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Sets up, builds, and shows.
///
/// # Errors
/// When setup or the build fails, or when something shown does not come out as
/// it was announced.
pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => {
            setup::ensure(Purpose::Running)?;
            build()?
        }
    };
    if !nix::unistd::geteuid().is_root() {
        return as_root(&programs);
    }
    let binaries =
        Binaries { redirectd: programs.join("redirectd"), redirect: programs.join("redirect") };
    let mut narrator = Narrator::new();
    Demonstration::prepare(&mut narrator, &binaries)?.show()?;
    Journey::prepare(&mut narrator, &binaries)?.show()
}

/// Builds the programs and gives their folder. Not optimised, as the tests have
/// them: the packet path, which is in the kernel, always is.
fn build() -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--package", "redirectd", "--bins"]);
    let log = workspace::target_dir().join("demo-build.log");
    crate::progress::run_logged("building redirectd", &mut cargo, &log)?;
    Ok(workspace::target_dir().join("debug"))
}

/// Network namespaces are root's; the rest was done without.
fn as_root(programs: &Path) -> Result<()> {
    eprintln!("The demonstration makes network namespaces, which needs root's rights: using sudo.");
    let itself = std::env::current_exe()?;
    let status = Command::new("sudo")
        .arg("--preserve-env")
        .arg(itself)
        .args(["demo", "--programs"])
        .arg(programs)
        .status()
        .context("cannot run sudo; run this as root")?;
    ensure!(status.success(), "the demonstration failed");
    Ok(())
}

/// The stage with its actors, in the order in which they must leave.
struct Demonstration<'a> {
    narrator: &'a mut Narrator,
    daemon: Daemon,
    sinks: [Sink; 2],
    _webs: [Nginx; 2],
    lan: Lan,
    _lab: Lab,
}

impl<'a> Demonstration<'a> {
    fn prepare(narrator: &'a mut Narrator, binaries: &Binaries) -> Result<Self> {
        narrator.chapter("Four machines behind one switch, in network namespaces");
        let lab = Lab::new()?;
        let lan = Lan::new(&lab)?;
        let webs = [web(&lan.c, "10.0.0.3:8080")?, web(&lan.d, "10.0.0.4:8080")?];
        let sinks = [Sink::start(&lan.c)?, Sink::start(&lan.d)?];
        for (host, address, what) in [
            (&lan.peer, "10.0.0.1", "a client; knows only home's address"),
            (&lan.home, HOME, "the home node: redirectd; no server listens here"),
            (&lan.c, "10.0.0.3", "the new host: nginx at port 8080, iperf3 at 5201"),
            (&lan.d, "10.0.0.4", "a third host: the same again"),
        ] {
            narrator.host(host.name(), address, what);
        }
        narrator.say(&format!(
            "To look inside meanwhile:  nsenter --net=/run/netns/{} bash",
            lan.home.netns()
        ));
        narrator.command("home", "cat redirectd.yaml");
        narrator.output(CONFIGURATION);
        narrator.command("home", "redirectd --config redirectd.yaml");
        let daemon = Daemon::start(&lan.home, binaries, CONFIGURATION)?;
        let socket = daemon.socket().display();
        narrator.command("home", &format!("export REDIRECTD_SOCKET={socket}"));
        Ok(Self { narrator, daemon, sinks, _webs: webs, lan, _lab: lab })
    }

    fn show(mut self) -> Result<()> {
        self.narrator.chapter("Before: the server has moved, and home's address answers nobody");
        self.refused("before the redirect")?;

        self.narrator.chapter("redirect add: home sends its peers on to c");
        self.redirect("add web 10.0.0.2:80 --to c:8080")?;
        self.redirect("add bulk 10.0.0.2:5201 --to c:5201")?;
        self.served_by("c", "after redirect add")?;
        let bulk = self.start_stream("c")?;
        self.watch(bulk, "iperf3 through home to c", "c")?;

        self.narrator.chapter("A second move, to d, while a stream to c is open");
        let mut bulk = self.start_stream("c")?;
        self.look(&mut bulk, Duration::from_secs(STREAM.into()) / 3)?;
        ensure!(!bulk.has_ended()?, "the stream to c ended before anything moved");
        self.redirect("add web 10.0.0.2:80 --to d:8080 --replace")?;
        self.redirect("add bulk 10.0.0.2:5201 --to d:5201 --replace")?;
        self.served_by("d", "after the second redirect")?;
        self.watch(bulk, "iperf3 to c, open across the change", "c")?;
        let bulk = self.start_stream("d")?;
        self.watch(bulk, "iperf3, a new stream", "d")?;

        self.narrator.chapter("redirect remove: the endpoint is home's own again");
        self.redirect("remove web bulk")?;
        self.refused("after redirect remove")?;

        self.narrator.chapter("What was seen");
        self.narrator.table();
        Ok(())
    }

    /// curl on the peer, which is to be refused.
    fn refused(&mut self, when: &str) -> Result<()> {
        let done = self.curl()?;
        ensure!(done.code == 7, "the connection was not refused: {done}");
        self.narrator.record(when, "curl http://10.0.0.2/", "refused");
        Ok(())
    }

    /// curl on the peer, which is to be answered by `host`.
    fn served_by(&mut self, host: &str, when: &str) -> Result<()> {
        let done = self.curl()?;
        let page = done.success()?;
        ensure!(page == greeting(host), "not the page of {host}: {page}");
        self.narrator.record(when, "curl http://10.0.0.2/", &format!("answered by {host}"));
        Ok(())
    }

    fn curl(&self) -> Result<Finished> {
        let line = ["curl", "--silent", "--show-error", "--max-time", "5", "http://10.0.0.2/"];
        self.narrator.command("peer", &line.join(" "));
        let done = self.lan.peer.try_run(&line)?;
        self.narrator.output(&format!("{}{}", done.stdout, done.stderr));
        Ok(done)
    }

    /// `redirect WORDS` on home.
    fn redirect(&self, words: &str) -> Result<()> {
        self.narrator.command("home", &format!("redirect {words}"));
        let said = self.daemon.redirect(&words.split(' ').collect::<Vec<_>>())?;
        self.narrator.output(&said);
        Ok(())
    }

    /// A stream to home, which `host` is to receive.
    fn start_stream(&mut self, host: &str) -> Result<Stream> {
        for sink in self.sinks.iter_mut().filter(|sink| sink.host() == host) {
            sink.expect()?;
        }
        let time = STREAM.to_string();
        let line = ["iperf3", "--client", HOME, "--time", &time, "--json"];
        self.narrator.command("peer", &line.join(" "));
        Stream::start(&self.lan.peer, &line)
    }

    /// Shows counters while a stream lasts, at most for `time`.
    fn look(&mut self, stream: &mut Stream, time: Duration) -> Result<()> {
        while !stream.has_ended()? && stream.elapsed() < time {
            stream.ways.note(&self.daemon.json(&["flows"])?);
            self.narrator.counters(&self.daemon.json(&["stats"])?);
            std::thread::sleep(LOOK);
        }
        self.narrator.end_counters();
        Ok(())
    }

    /// Shows counters until a stream comes to its end, as it must; it must have passed by
    /// `host` throughout.
    fn watch(&mut self, mut stream: Stream, what: &str, host: &str) -> Result<()> {
        self.look(&mut stream, Duration::MAX)?;
        let (summary, ways) = stream.summary()?;
        let hosts = ways.hosts(summary.port);
        ensure!(hosts == [host], "the stream was not with {host} alone: {hosts:?}");
        let outcome = format!("{:.1} Gbit/s, all of it with {host}", summary.gigabits());
        self.narrator.say(&format!("iperf3 came to its end: {outcome}"));
        self.narrator.record(what, "iperf3 --client 10.0.0.2", &outcome);
        Ok(())
    }
}

fn web(host: &Host, endpoint: &str) -> Result<Nginx> {
    let nginx = Nginx::start(host, &[endpoint])?;
    nginx.page("index.html", &greeting(host.name()))?;
    Ok(nginx)
}

fn greeting(host: &str) -> String {
    format!("This page was served by {host}.\n")
}
