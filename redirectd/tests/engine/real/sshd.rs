//! sshd with a session at a terminal.

use std::{fs, io::Write as _, process::ChildStdin};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Process, soon};

use super::tour::{Pace, Tour};
use crate::scene::Scene;

/// So many lines are typed at a time.
const BATCH: u32 = 10;
/// Neither the profile nor the line editor of whoever runs this.
const BASH: &str = "bash --norc --noprofile --noediting";

/// Starts it; it lets the lab's own key in as root.
fn start(scene: &Scene) -> Result<Tour<'_>> {
    let dir = scene.lan.home.dir();
    let (dir, home) = (dir.display(), &scene.home.machine);
    for key in ["host", "user"] {
        let file = format!("{dir}/{key}");
        home.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &file])?.success()?;
    }
    let configuration = format!(
        "Port 7000\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/user.pub\nStrictModes no\n\
         UsePAM no\nPidFile none\nPermitRootLogin prohibit-password\nPermitUserRC no\n\
         PrintMotd no\nPrintLastLog no\n"
    );
    let file = format!("{dir}/sshd_config");
    fs::write(&file, configuration)?;
    // Where sshd keeps the half of itself that has no rights.
    for place in [&scene.home, &scene.c, &scene.d] {
        place.machine.run(&["mkdir", "/run/sshd"])?.success()?;
    }
    let public = fs::read_to_string(format!("{dir}/host.pub"))?;
    fs::write(format!("{dir}/known"), format!("[10.0.0.2]:7000 {public}"))?;
    let (tour, _) = Tour::of_server(scene, &["/usr/sbin/sshd", "-D", "-e", "-f", &file])?;
    Ok(tour)
}

/// Logs in on a terminal, to `shell`; the first line is 0.
fn login(scene: &Scene, shell: &str) -> Result<Process> {
    let dir = scene.lan.home.dir();
    let dir = dir.display();
    let (known, key) = (format!("-oUserKnownHostsFile={dir}/known"), format!("{dir}/user"));
    let ssh = ["ssh", "-F", "none", "-tt", "-q", "-p", "7000", &known, "-i", &key];
    let options = ["-oStrictHostKeyChecking=yes", "-oIdentitiesOnly=yes", "root@10.0.0.2"];
    // At a terminal that shows nothing but what the shell says.
    let shell = format!("stty -echo -onlcr; echo 0; PS1= exec {shell}");
    let mut session = scene.lan.peer.start(&[&ssh[..], &options, &[&shell]].concat())?;
    session.wait_for_log("0\n")?;
    Ok(session)
}

/// Types until the tour is over. Tells how many lines.
fn type_in(keyboard: &mut ChildStdin, session: &Process, pace: &Pace) -> Result<u32> {
    let mut count = 0;
    while !pace.is_over() {
        for _ in 0..BATCH {
            count += 1;
            // The shell counts, which only one and the same shell does.
            writeln!(keyboard, "n=$((n + 1)); echo $n; test -t 0 || echo no terminal")?;
        }
        let expected = numbers(count - BATCH / 2);
        soon("the shell answers", || session.log().starts_with(&expected).then_some(()))
            .with_context(|| session.log())?;
        pace.add(u64::from(BATCH));
    }
    Ok(count)
}

/// The lines from 0 on.
fn numbers(last: u32) -> String {
    (0..=last).map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_session_at_a_terminal() -> Result<()> {
    let scene = Scene::new()?;
    let mut tour = start(&scene)?;
    let mut session = login(&scene, BASH)?;
    let mut keyboard = session.stdin();
    let mut count = 0;
    let type_in = |pace: &Pace| type_in(&mut keyboard, &session, pace).map(|all| count = all);
    tour.go(5 * u64::from(BATCH), vec![Box::new(type_in)])?;
    let all = numbers(count);
    soon("all is answered", || (session.log() == all).then_some(())).context(session.log())?;
    // A second session begins beside the first; then the first goes, as it should.
    let mut second = login(&scene, BASH)?;
    writeln!(second.stdin(), "echo second $((6 * 7))")?;
    second.wait_for_log("second 42")?;
    writeln!(keyboard, "exit 7")?;
    let status = session.wait(std::time::Duration::from_secs(10))?;
    ensure!(status.code() == Some(7), "{status}");
    Ok(())
}

/// A shell that opens `/dev/tty`, while the other end of its terminal is sshd's:
/// CRIU 4.2 cannot tell whose it is.
#[test]
fn a_shell_with_the_terminal_open_by_its_other_name_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    let mut tour = start(&scene)?;
    let mut session = login(&scene, "dash")?;
    let mut keyboard = session.stdin();
    writeln!(keyboard, "echo at $((20 + 1))")?;
    session.wait_for_log("at 21")?;
    let told = tour.move_to(&scene.c).unwrap_err().to_string();
    ensure!(told.contains("ctty inheritance"), "{told}");
    writeln!(keyboard, "echo still at $((21 + 1))")?;
    session.wait_for_log("still at 22")
}
