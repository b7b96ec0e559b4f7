//! `redirect migrate` from host to host and home again, in one connection.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    nodes::{PID, Three},
    programs::{SELECT, Talk},
};

/// Home → c → d → c → home. The peer talks to `at`; the server listens at `listen`
/// and sees itself at `addresses` of home, c and d.
fn round_trip(at: &str, listen: &str, addresses: [&str; 3]) -> Result<()> {
    let three = Three::joined()?;
    let two = &three.two;
    two.serve_at(SELECT, listen)?;
    let [home, c, d] = addresses;
    let mut talks = vec![Talk::open(two.peer(), at)?];
    assert_eq!(talks[0].line()?, home);
    for (to, address) in [("c", c), ("d", d), ("c", c), ("home", home)] {
        let plan = two.run(&[], to, &["--dry-run", "--json"])?.success()?;
        let plan: Value = serde_json::from_str(&plan)?;
        ensure!(plan["movable"] == true && plan["processes"][0]["pid"] == PID, "{plan:#}");
        let report = two.run(&[], to, &["--json"])?.success()?;
        let report: Value = serde_json::from_str(&report)?;
        ensure!(report["move"]["state"] == "committed" && report["pids"][0] == PID, "{report:#}");
        ensure!(report["lost"] == Value::Array(Vec::new()), "{report:#}");
        let kept = two.daemon.json(&["move", "show", &report["move"]["id"].to_string()])?;
        let carried = &kept["carried"];
        ensure!(
            carried["pids"] == report["pids"] && carried["bytes"] == report["bytes"],
            "{kept:#}"
        );
        ensure!(carried["stages"]["dump_us"].as_u64() > Some(0), "{kept:#}");
        three.must_be_on(to)?;
        // Those that began on other machines, and one that begins here.
        talks.push(Talk::open(two.peer(), at)?);
        for talk in &mut talks {
            for _ in 0..5 {
                assert_eq!(talk.line()?, address);
            }
        }
    }
    Ok(())
}

/// Within seconds, so that the ways back of the last stay are there still: one
/// connection counts as one flow, and there is room for others.
#[test]
fn to_and_fro() -> Result<()> {
    let three = Three::joined()?;
    let two = &three.two;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), "10.0.0.2:7000")?;
    for (to, address) in [("c", "10.0.0.3"), ("home", "10.0.0.2")].repeat(2) {
        two.run(&[], to, &[])?.success()?;
        assert_eq!(talk.line()?, address);
    }
    two.run(&[], "c", &[])?.success()?;
    assert_eq!(Talk::open(two.peer(), "10.0.0.2:7000")?.line()?, "10.0.0.3");
    Ok(())
}

#[test]
fn with_ipv4() -> Result<()> {
    round_trip("10.0.0.2:7000", "0.0.0.0", ["10.0.0.2", "10.0.0.3", "10.0.0.4"])
}

#[test]
fn with_ipv6() -> Result<()> {
    round_trip("[fd00::2]:7000", "::", ["fd00::2", "fd00::3", "fd00::4"])
}

#[test]
fn with_ipv4_on_a_socket_of_both() -> Result<()> {
    let addresses = ["::ffff:10.0.0.2", "::ffff:10.0.0.3", "::ffff:10.0.0.4"];
    round_trip("10.0.0.2:7000", "::", addresses)
}

#[test]
fn of_a_listener_at_one_address() -> Result<()> {
    round_trip("10.0.0.2:7000", "10.0.0.2", ["10.0.0.2", "10.0.0.3", "10.0.0.4"])
}
