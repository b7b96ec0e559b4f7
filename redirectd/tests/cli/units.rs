//! The systemd units in `configs/`, read by systemd's own checker.

use std::{fs, path::Path, process::Command};

use clap::Parser;
use redirectd::run::Options;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/systemd");

fn unit(name: &str) -> String {
    fs::read_to_string(Path::new(UNITS).join(name)).unwrap()
}

/// The value of `key` in `unit`.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn systemd_finds_nothing_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for name in ["redirectd.service", "redirectd.socket"] {
        // The programs are installed nowhere while this runs.
        let there = unit(name)
            .replace("/usr/bin/redirectd", env!("CARGO_BIN_EXE_redirectd"))
            .replace("/usr/bin/redirect ", concat!(env!("CARGO_BIN_EXE_redirect"), " "));
        fs::write(folder.path().join(name), there).unwrap();
        names.push(folder.path().join(name));
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(names)
        .output()
        .expect("systemd-analyze, of Debian's package systemd");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn they_and_the_programs_agree() {
    let (service, socket) = (unit("redirectd.service"), unit("redirectd.socket"));
    let start = value(&service, "ExecStart").split_whitespace();
    let options = Options::try_parse_from(start).unwrap();
    let state = format!("/var/lib/{}", value(&service, "StateDirectory"));
    assert_eq!(options.state_dir, Path::new(&state));
    assert_eq!(value(&socket, "ListenStream"), redirectd::api::socket::DEFAULT_PATH);
    let group = value(&socket, "SocketGroup");
    assert!(unit("redirectd.sysusers.conf").contains(&format!("\ng {group} -")));
}
