//! Exit codes, and who may do what.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::Uid;

use crate::server::{CONFIG, Ended, Server, command, redirect};

/// A group that every Debian has, and a user that none has.
const GROUP: (&str, u32) = ("nogroup", 65_534);
const STRANGER: u32 = 4_242;

/// `redirect`, run by [`STRANGER`].
pub(crate) struct Stranger {
    program: PathBuf,
    socket: PathBuf,
}

impl Stranger {
    /// Somebody who can reach the socket of `server` as far as folders go, and run
    /// the program, wherever it was built.
    pub(crate) fn beside(server: &Server) -> Self {
        assert!(Uid::effective().is_root(), "only root can try what others may do");
        let program = server.path("redirect");
        // Copied by another process: had this one the file open for writing while
        // another test starts a program, that would inherit it, and until it is
        // gone the kernel would refuse to run the file ("text file busy").
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_redirect")).arg(&program).status();
        assert!(copied.unwrap().success());
        let folder = program.parent().unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, socket: server.socket() }
    }

    pub(crate) fn redirect(&self, groups: &str, arguments: &[&str]) -> Ended {
        let output = Command::new("setpriv")
            .args([&format!("--reuid={STRANGER}"), &format!("--regid={STRANGER}")])
            .args([groups, "--"])
            .arg(&self.program)
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

const ADD: [&str; 6] = ["add", "web", "192.0.2.1:80", "--to", "c", "--no-check"];
pub(crate) const NO_GROUPS: &str = "--clear-groups";

#[test]
fn without_a_group_only_root_may_open_the_socket() {
    let server = Server::start();
    let mode = fs::metadata(server.socket()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ended = Stranger::beside(&server).redirect(NO_GROUPS, &["list"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("cure:"), "{ended:?}");
}

#[test]
fn members_of_the_group_may_change_things_and_others_may_not_even_look() {
    let server = Server::start_with(&format!("{CONFIG}api: {{ group: {} }}\n", GROUP.0));
    let socket = fs::metadata(server.socket()).unwrap();
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, GROUP.1));

    let stranger = Stranger::beside(&server);
    assert_eq!(stranger.redirect(NO_GROUPS, &["list"]).code, 4);
    let member = format!("--groups={}", GROUP.1);
    assert_eq!(stranger.redirect(&member, &ADD).code, 0);
    assert_eq!(server.listed(), ["web active"]);
}

#[test]
fn who_can_open_the_socket_may_read_but_not_change() {
    let server = Server::start_with(&format!("{CONFIG}api: {{ group: {} }}\n", GROUP.0));
    fs::set_permissions(server.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let stranger = Stranger::beside(&server);
    for reading in [
        &["list"][..],
        &["status"],
        &["stats"],
        &["flows"],
        &["log"],
        &["move", "list"],
        &["node", "list"],
    ] {
        assert_eq!(stranger.redirect(NO_GROUPS, reading).code, 0, "{reading:?}");
    }
    for changing in [
        &ADD[..],
        &["remove", "web"],
        &["apply"],
        &["apply", "--dry-run"],
        &["log", "debug"],
        &["move", "begin", "web", "--to", "c"],
        &["move", "park", "1"],
        &["move", "return", "1"],
        &["move", "commit", "1"],
        &["move", "abort", "1"],
        &["node", "init"],
        &["node", "invite"],
        &["node", "join", "token"],
        &["node", "remove", "b"],
    ] {
        let ended = stranger.redirect(NO_GROUPS, changing);
        assert_eq!(ended.code, 4, "{changing:?}: {ended:?}");
        assert!(ended.err.contains(GROUP.0), "names the group: {ended:?}");
    }
    assert_eq!(server.listed(), [""; 0]);
}

#[test]
fn check_needs_no_rights_but_to_read_the_file() {
    let server = Server::start();
    let file = server.path("redirectd.yaml");
    let ended = Stranger::beside(&server).redirect(NO_GROUPS, &["check", file.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_group_that_is_not_there_is_an_error_with_its_cure() {
    let mut server = Server::start();
    server.stop();
    let config = format!("{CONFIG}api: {{ group: no-such-group }}\n");
    fs::write(server.path("redirectd.yaml"), config).unwrap();
    let error = server.run().unwrap_err();
    assert!(error.what.contains("no-such-group"), "{error}");
    assert!(error.cure.unwrap().contains("groupadd"));
}

#[test]
fn no_daemon_is_exit_code_3() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.sock");
    for arguments in [&["list"][..], &ADD, &["monitor"], &["stats"], &["apply"]] {
        let ended = redirect(&none, arguments);
        assert_eq!(ended.code, 3, "{arguments:?}: {ended:?}");
        assert!(ended.err.contains("systemctl start redirectd"), "{ended:?}");
    }
    // A socket that nobody listens on any more.
    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert_eq!(redirect(&dead, &["list"]).code, 3);
}

#[test]
fn a_dead_socket_does_not_keep_a_daemon_from_starting() {
    let mut server = Server::start();
    server.stop();
    drop(std::os::unix::net::UnixListener::bind(server.socket()).unwrap());
    server.run().unwrap();
    assert_eq!(server.listed(), [""; 0]);
}

#[test]
fn errors_are_json_too_when_json_is_asked_for() {
    let ended = redirect(Path::new("/no/such/socket"), &["list", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&ended.err).unwrap();
    assert_eq!(error["version"], 1);
    assert_eq!(error["error"]["kind"], "unreachable");
    assert!(error["error"]["cure"].is_string());
    assert_eq!(ended.out, "");
}

/// What it did is done all the same.
#[test]
fn output_that_goes_nowhere_is_an_error_and_no_panic() {
    let server = Server::start();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [&ADD[..], &["list"], &["--json", "ps"]] {
        let output = command(&server.socket()).args(arguments).stdout(full()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("error: cannot print to stdout: No space left"), "{told}");
        assert!(told.contains("cure:") && !told.contains("panicked"), "{told}");
    }
    assert_eq!(server.listed(), ["web active"]);
    // Nor is there room for that.
    let status = command(&server.socket()).arg("list").stdout(full()).stderr(full()).status();
    assert_eq!(status.unwrap().code(), Some(1));
}
