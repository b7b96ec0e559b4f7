//! Other programs on home's interface: redirectd works beside them, names them,
//! and pushes none out unless it is told to.

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Daemon, Lab, Lan, Program, ProgramType};

use crate::{
    echo::{self, Echo},
    scene,
};

/// The name of the lab's program, as the kernel shows it.
const OTHER: &str = "lab_pass";

/// The stage without redirectd.
fn stage() -> Result<(Lab, Lan)> {
    let lab = Lab::new()?;
    let lan = Lan::for_xdp(&lab)?;
    Ok((lab, lan))
}

fn configuration(attach: &str) -> String {
    format!("{}interfaces: {{ eth0: {{ attach: {attach} }} }}\n", scene::HOME)
}

/// A redirect on this home works.
fn assert_works(daemon: &Daemon, lan: &Lan) -> Result<()> {
    let _echo = Echo::udp(&lan.c, "10.0.0.3:7000", b'c')?;
    daemon.redirect(&[
        "add",
        "echo",
        "10.0.0.2:7",
        "--to",
        "10.0.0.3:7000",
        "--protocol",
        "udp",
    ])?;
    let socket = echo::udp(&lan.peer, "10.0.0.1:0")?;
    socket.connect("10.0.0.2:7")?;
    echo::there_and_back(&socket, b"beside others")?;
    echo::there_and_back(&socket, b"and again")
}

/// What `redirect status --json` says of eth0: what runs, and its neighbours.
fn status(daemon: &Daemon) -> Result<(String, String)> {
    let status = daemon.json(&["status"])?;
    let interfaces = status["interfaces"].as_array().context("there are interfaces")?;
    let eth0 = interfaces.iter().find(|interface| interface["interface"] == "eth0");
    let eth0 = eth0.with_context(|| format!("no eth0: {status:#}"))?;
    let running = eth0["running"].as_str().context("something runs")?;
    Ok((running.to_owned(), eth0["neighbours"].to_string()))
}

#[test]
fn beside_a_program_at_tcx() -> Result<()> {
    let (_lab, lan) = stage()?;
    let _link = lan.home.attach_tcx("eth0", &Program::pass(ProgramType::Tc)?)?;
    let daemon = Daemon::start(&lan.home, &scene::binaries(), &configuration("tc"))?;
    let (running, neighbours) = status(&daemon)?;
    ensure!(running == "tcx" && neighbours.contains(OTHER), "{running}, {neighbours}");
    assert_works(&daemon, &lan)
}

#[test]
fn beside_a_program_at_clsact() -> Result<()> {
    let (_lab, lan) = stage()?;
    lan.home.attach_tc("eth0", "ingress", &[Program::pass(ProgramType::Tc)?])?;
    let daemon = Daemon::start(&lan.home, &scene::binaries(), &configuration("tc"))?;
    let (running, neighbours) = status(&daemon)?;
    ensure!(running == "tcx" && neighbours.contains(OTHER), "{running}, {neighbours}");
    assert_works(&daemon, &lan)?;
    let filters = lan.home.run(&["tc", "filter", "show", "dev", "eth0", "ingress"])?;
    ensure!(filters.contains("direct-action"), "it is still there: {filters}");
    Ok(())
}

#[test]
fn a_program_at_xdp_is_named_and_stays() -> Result<()> {
    let (_lab, lan) = stage()?;
    lan.home.attach_xdp("eth0", &Program::pass(ProgramType::Xdp)?)?;
    let daemon = Daemon::prepare(&lan.home, &scene::binaries(), &configuration("xdp"))?;
    let refused = daemon.run_with(&[])?;
    ensure!(refused.code == 1, "{refused}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    for part in ["eth0", OTHER, "--replace", "attach: tc"] {
        ensure!(said.contains(part), "no word of {part}: {said}");
    }
    let link = lan.home.run(&["ip", "-details", "link", "show", "dev", "eth0"])?;
    ensure!(link.contains(OTHER), "it is still there: {link}");
    Ok(())
}

#[test]
fn a_program_at_xdp_goes_when_told_to() -> Result<()> {
    let (_lab, lan) = stage()?;
    lan.home.attach_xdp("eth0", &Program::pass(ProgramType::Xdp)?)?;
    let mut daemon = Daemon::prepare(&lan.home, &scene::binaries(), &configuration("xdp"))?;
    daemon.start_with(&["--replace"])?;
    let (running, _) = status(&daemon)?;
    ensure!(running == "xdp+tcx", "{running}");
    let link = lan.home.run(&["ip", "-details", "link", "show", "dev", "eth0"])?;
    ensure!(!link.contains(OTHER), "it is gone: {link}");
    assert_works(&daemon, &lan)
}

#[test]
fn auto_leaves_a_virtual_links_xdp_program_alone() -> Result<()> {
    let (_lab, lan) = stage()?;
    lan.home.attach_xdp("eth0", &Program::pass(ProgramType::Xdp)?)?;
    let daemon = Daemon::start(&lan.home, &scene::binaries(), &configuration("auto"))?;
    let (running, _) = status(&daemon)?;
    ensure!(running == "tcx", "{running}");
    assert_works(&daemon, &lan)?;
    let link = lan.home.run(&["ip", "-details", "link", "show", "dev", "eth0"])?;
    ensure!(link.contains(OTHER), "it is still there: {link}");
    Ok(())
}

#[test]
fn nothing_is_left_after_uninstall() -> Result<()> {
    let (_lab, lan) = stage()?;
    let mut daemon = Daemon::start(&lan.home, &scene::binaries(), &configuration("xdp"))?;
    assert_works(&daemon, &lan)?;
    daemon.sigkill()?;
    daemon.run_with(&["--uninstall"])?.success()?;
    let link = lan.home.run(&["ip", "-details", "link", "show", "dev", "eth0"])?;
    ensure!(!link.contains("xdp"), "a program is left: {link}");
    ensure!(!daemon.pins().exists(), "pins are left");
    let net = lan.home.run(&["bpftool", "net", "show"])?;
    ensure!(!net.contains("redirectd"), "a program is left: {net}");
    Ok(())
}

/// As on kernels without TCX: the next daemon takes the filter over, a connection
/// goes on through it all, and `--uninstall` finds the filter.
#[test]
fn by_clsact() -> Result<()> {
    let (_lab, lan) = stage()?;
    let mut daemon = Daemon::prepare(&lan.home, &scene::binaries(), &configuration("tc"))?;
    daemon.start_with(&["--clsact"])?;
    ensure!(status(&daemon)?.0 == "clsact", "{:?}", status(&daemon)?);
    assert_works(&daemon, &lan)?;
    let _echo = Echo::tcp(&lan.c, "10.0.0.3:7001", b'c')?;
    daemon.redirect(&["add", "talk", "10.0.0.2:8", "--to", "10.0.0.3:7001"])?;
    let mut open = echo::connect(&lan.peer, "10.0.0.2:8")?;
    for _ in 0..2 {
        assert_eq!(echo::ask(&mut open, b"before")?, 'c');
        daemon.sigkill()?;
        assert_eq!(echo::ask(&mut open, b"without a daemon")?, 'c');
        daemon.start_with(&["--clsact"])?;
        ensure!(status(&daemon)?.0 == "clsact", "{:?}", status(&daemon)?);
        assert_eq!(echo::ask(&mut open, b"with the next one")?, 'c');
    }
    let filters = || lan.home.run(&["tc", "filter", "show", "dev", "eth0", "ingress"]);
    ensure!(filters()?.matches("direct-action").count() == 1, "{}", filters()?);
    daemon.sigkill()?;
    daemon.run_with(&["--uninstall"])?.success()?;
    ensure!(!filters()?.contains("direct-action"), "it is left: {}", filters()?);
    Ok(())
}
