//! What left home, who is a guest, who is to stay, and who is sent home.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xtask::lab::{Daemon, soon};

use crate::{
    nodes::{PID, Three, Two, refused},
    programs::{SELECT, Talk},
};

const SERVER: &str = "10.0.0.2:7000";

/// `redirect ps --json`, without when.
fn ps(daemon: &Daemon) -> Result<Value> {
    let mut list = daemon.json(&["ps"])?;
    for kind in ["away", "guests"] {
        for one in list[kind].as_array_mut().context("a list")? {
            let since = one.as_object_mut().context("an object")?.remove("since");
            ensure!(since.and_then(|since| since.as_u64()).is_some(), "{one:#}");
        }
    }
    list.as_object_mut().context("an object")?.remove("version");
    Ok(list)
}

#[test]
fn what_left_is_known_at_home_and_where_it_is() -> Result<()> {
    let three = Three::joined()?;
    let two = &three.two;
    two.serve(SELECT)?;
    let nothing = json!({ "away": [], "guests": [], "locked": [] });
    assert_eq!(ps(&two.daemon)?, nothing);
    for (to, daemon, other) in
        [("c", &two.c_daemon, &three.d_daemon), ("d", &three.d_daemon, &two.c_daemon)]
    {
        two.run(&[], to, &[])?.success()?;
        let list = ps(&two.daemon)?;
        let away = &list["away"][0];
        ensure!(away["pid"] == PID && away["place"] == to && away["running"] == true, "{list:#}");
        ensure!(away["redirects"] == json!(["python3-3000-7000"]), "{list:#}");
        let guest = json!({ "pid": PID, "name": "python3", "home": "home-node" });
        assert_eq!(ps(daemon)?["guests"], json!([guest]));
        assert_eq!(ps(other)?, nothing);
        let said = two.daemon.redirect(&["where", &PID.to_string()])?;
        ensure!(said.contains(&format!("is on {to}")), "{said}");
    }
    two.run(&[], "home", &[])?.success()?;
    for daemon in [&two.daemon, &two.c_daemon, &three.d_daemon] {
        assert_eq!(ps(daemon)?, nothing);
    }
    Ok(())
}

/// Home's records outlive its daemon.
#[test]
fn home_finds_it_again_after_a_restart() -> Result<()> {
    let mut two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    two.migrate(&[])?.success()?;
    two.daemon.sigkill()?;
    two.daemon.start_again()?;
    assert_eq!(ps(&two.daemon)?["away"][0]["place"], "c");
    two.run(&[], "home", &[])?.success()?;
    for _ in 0..5 {
        assert_eq!(talk.line()?, "10.0.0.2");
    }
    Ok(())
}

#[test]
fn one_that_is_locked_stays() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    let pid = PID.to_string();
    // The daemon's own tools see the machine's processes.
    let lock = two.redirect_on_home(&["lock", &pid])?.success()?;
    ensure!(lock.contains("process 3000 (python3) stays where it is"), "{lock}");
    assert_eq!(ps(&two.daemon)?["locked"], json!([{ "pid": PID, "name": "python3" }]));
    let done = two.migrate(&[])?;
    refused(&done, 1, "process 3000 (python3) is locked")?;
    refused(&done, 1, "`redirect unlock 3000`")?;
    two.goes_on_at_home(&mut talk)?;
    two.daemon.redirect(&["unlock", &pid])?;
    two.migrate(&[])?.success()?;
    // Where it is, too.
    two.daemon.redirect(&["lock", &pid])?;
    refused(&two.run(&[], "home", &[])?, 1, "is locked")?;
    assert_eq!(talk.line()?, "10.0.0.3");
    let again = two.daemon.try_redirect(&["unlock", "1"])?;
    refused(&again, 1, "process 1 is not locked")
}

/// By the word of the machine it is on, even if it is locked.
#[test]
fn a_guest_that_is_evicted_goes_on_at_home() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    two.migrate(&[])?.success()?;
    assert_eq!(talk.line()?, "10.0.0.3");
    let pid = PID.to_string();
    two.daemon.redirect(&["lock", &pid])?;
    refused(&two.c_daemon.try_redirect(&["evict", "1"])?, 1, "there is no guest 1 here")?;
    let said = two.c_daemon.redirect(&["evict", "--all"])?;
    ensure!(said.contains("process 3000 (python3) is at home, on home-node"), "{said}");
    for _ in 0..20 {
        assert_eq!(talk.line()?, "10.0.0.2");
    }
    ensure!(two.home.has(PID) && !two.c.has(PID), "{PID} is not at home alone");
    assert_eq!(ps(&two.c_daemon)?["guests"], json!([]));
    let none = two.c_daemon.redirect(&["evict", "--all"])?;
    ensure!(none.contains("there are no guests here"), "{none}");
    Ok(())
}

/// Its number is another process's at home meanwhile.
#[test]
fn a_guest_that_cannot_go_home_stays_and_goes_on() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    two.migrate(&[])?.success()?;
    two.home.start_as(PID, &["sleep", "60"])?;
    let done = two.c_daemon.try_redirect(&["evict", &PID.to_string()])?;
    refused(&done, 1, "process 3000 stays here")?;
    refused(&done, 1, "other processes have the ids")?;
    for _ in 0..5 {
        assert_eq!(talk.line()?, "10.0.0.3");
    }
    // And at home it has to be said which one is meant.
    let done = two.run(&[], "home", &[])?;
    refused(&done, 1, "there is a process 3000 here, and another one is on c")?;
    Ok(())
}

#[test]
fn one_that_has_ended_is_told_once_and_forgotten() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    two.migrate(&[])?.success()?;
    two.c.run(&["kill", &PID.to_string()])?.success()?;
    soon("it has gone", || (!two.c.has(PID)).then_some(()))?;
    assert_eq!(ps(&two.c_daemon)?["guests"], json!([]));
    // It has come so recently that the host is not believed at once.
    let ended = || ps(&two.daemon).ok().filter(|list| list["away"][0]["running"] == false);
    soon("it is told", ended)?;
    assert_eq!(ps(&two.daemon)?["away"], json!([]));
    let done = two.run(&[], "home", &[])?;
    refused(&done, 1, "there is no process 3000")
}

/// Its redirectd runs as the shipped unit has it, without root's rights.
#[test]
fn a_home_without_the_rights_takes_no_guest_back() -> Result<()> {
    let mut two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    two.migrate(&[])?.success()?;
    two.daemon.sigkill()?;
    let bounded = "setpriv --bounding-set -sys_admin,-sys_ptrace";
    two.daemon.start_again_by(&bounded.split(' ').collect::<Vec<_>>())?;
    let done = two.c_daemon.try_redirect(&["evict", &PID.to_string()])?;
    refused(&done, 1, "home refuses: redirectd on this machine may not revive processes")?;
    refused(&done, 1, "CAP_SYS_ADMIN")?;
    assert_eq!(talk.line()?, "10.0.0.3");
    // Who is root at home leads it all the same.
    two.run(&[], "home", &[])?.success()?;
    assert_eq!(talk.line()?, "10.0.0.2");
    Ok(())
}
