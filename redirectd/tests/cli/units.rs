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

/// What `migrate.conf` makes of the service: systemd's own word on how exposed it
/// is, which takes the drop-in into account.
#[test]
fn the_drop_in_for_migration_binds_the_service_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let drop_ins = folder.path().join("etc/systemd/system/redirectd.service.d");
    fs::create_dir_all(&drop_ins).unwrap();
    let service = drop_ins.parent().unwrap().join("redirectd.service");
    fs::write(service, unit("redirectd.service")).unwrap();
    let exposure = || {
        let root = format!("--root={}", folder.path().display());
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager", "--json=short", &root])
            .arg("redirectd.service")
            .output()
            .expect("systemd-analyze, of Debian's package systemd");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_str::<Vec<serde_json::Value>>(&said).unwrap()
    };
    let bound = |all: &[serde_json::Value]| -> Vec<String> {
        let set = all.iter().filter(|one| one["set"] == true);
        set.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
    };
    let before = bound(&exposure());
    assert!(before.iter().any(|name| name.contains("NoNewPrivileges")), "{before:?}");
    fs::write(drop_ins.join("migrate.conf"), unit("migrate.conf")).unwrap();
    let after = bound(&exposure());
    let of_ours = ["CapabilityBoundingSet", "SystemCall", "Restrict", "Protect", "NoNew", "Memory"];
    let left: Vec<_> =
        after.iter().filter(|name| of_ours.iter().any(|ours| name.contains(ours))).collect();
    assert!(left.is_empty(), "{left:?}");
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
