//! An interactive ssh session that does not notice when the daemon dies.

use std::{fs, io::Write as _};

use anyhow::{Context as _, Result};
use xtask::lab::Process;

use crate::scene::Scene;

/// A real sshd on c that lets the lab's own key in as root.
fn sshd(scene: &Scene) -> Result<Process> {
    let dir = scene.lab.dir().display();
    for key in ["host", "user"] {
        let file = format!("{dir}/{key}");
        scene.lan.c.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &file])?;
    }
    let config = format!(
        "ListenAddress 10.0.0.3:22\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/user.pub\n\
         StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\n\
         PermitUserRC no\nPrintMotd no\n"
    );
    fs::write(scene.lab.dir().join("sshd_config"), config)?;
    // Where sshd keeps the half of itself that has no rights; Debian's service
    // makes this folder, and we do not start that service.
    fs::create_dir_all("/run/sshd")?;
    let public = fs::read_to_string(scene.lab.dir().join("host.pub"))?;
    fs::write(scene.lab.dir().join("known"), format!("10.0.0.2 {public}"))?;
    let mut server =
        scene.lan.c.start(&["/usr/sbin/sshd", "-D", "-e", "-f", &format!("{dir}/sshd_config")])?;
    server.wait_for_log("Server listening")?;
    Ok(server)
}

/// A shell on a terminal of its own, by way of home.
fn login(scene: &Scene) -> Result<Process> {
    let dir = scene.lab.dir().display();
    let known = format!("UserKnownHostsFile={dir}/known");
    let strict = "StrictHostKeyChecking=yes";
    let identity = format!("{dir}/user");
    let ssh = [
        "ssh",
        "-F",
        "none",
        "-tt",
        "-o",
        &known,
        "-o",
        strict,
        "-o",
        "IdentitiesOnly=yes",
        "-i",
        &identity,
    ];
    // A plain shell: neither profile nor prompt of whoever runs this.
    let shell = "PS1= exec sh";
    scene.lan.peer.start(&[&ssh[..], &["root@10.0.0.2", shell]].concat())
}

#[test]
fn outlives_the_daemon() -> Result<()> {
    let mut scene = Scene::tc()?;
    let _sshd = sshd(&scene)?;
    scene.add(&["ssh", "10.0.0.2:22", "--to", "10.0.0.3:22"])?;
    let mut session = login(&scene)?;
    let mut keyboard = session.stdin();
    // The shell works each answer out, so that no echo of ours is taken for it;
    // and it counts, which only one and the same shell does.
    let mut type_in = |session: &mut Process, said: u32| -> Result<()> {
        writeln!(keyboard, "n=$((n + 1)); echo answer $((n * 111))")?;
        session.wait_for_log(&format!("answer {}", said * 111)).context("the session is stuck")
    };
    type_in(&mut session, 1)?;
    scene.daemon.sigkill()?;
    type_in(&mut session, 2)?;
    type_in(&mut session, 3)?;
    scene.daemon.start_again()?;
    type_in(&mut session, 4)?;
    // A second session begins after the restart, beside the first.
    let mut second = login(&scene)?;
    writeln!(second.stdin(), "echo second $((6 * 7))")?;
    second.wait_for_log("second 42")?;
    type_in(&mut session, 5)
}
