//! Where the processes are that moves tell of, and which are to stay.

use std::process::Command;

use super::*;
use crate::{
    api::processes::{AwayView, LockRequest},
    migrate::{away::Traveller, carried::Carried, living::started},
};

const PID: i32 = 4711;

fn process(name: &str) -> Traveller {
    Traveller { pid: PID, name: name.to_owned() }
}

fn going(to: &str) -> BeginRequest {
    BeginRequest { process: Some(process("nginx")), ..request("web", to) }
}

fn lock(name: Option<&str>) -> LockRequest {
    LockRequest { pid: PID, name: name.map(str::to_owned), locked: name.is_some(), started: None }
}

impl Scene {
    /// The process, called nginx, is parked on its way to `to`.
    fn leaving(&mut self, to: &str) -> Id {
        let id = self.daemon.begin_move(&going(to), None).unwrap().id;
        self.daemon.park_move(id).unwrap();
        id
    }

    /// Where it is, and by which move.
    fn away(&self) -> Option<(String, Id)> {
        let away: Option<AwayView> = self.daemon.away().pop();
        away.map(|away| (away.place, away.r#move))
    }
}

#[test]
fn a_process_is_where_the_last_commit_has_left_it() {
    let mut scene = Scene::new();
    let id = scene.leaving("d");
    assert_eq!(scene.away(), None);
    scene.daemon.commit_move(id, Deliver::AtOnce).unwrap();
    assert!(!scene.is_over(id));
    assert_eq!(scene.away(), Some(("d".to_owned(), id)), "before all is delivered");
    scene.daemon.settle_moves();
    assert!(scene.is_over(id));
    assert_eq!(scene.away(), Some(("d".to_owned(), id)));
    scene.restart(FILE);
    assert_eq!(scene.away(), Some(("d".to_owned(), id)));
    let stays = scene.leaving("home");
    scene.daemon.abort_move(stays, "it stays").unwrap();
    assert_eq!(scene.away(), Some(("d".to_owned(), id)));
    let home = scene.leaving("home");
    scene.commit(home).unwrap();
    assert_eq!(scene.away(), None);
}

#[test]
fn one_that_has_ended_is_forgotten_with_its_lock_unless_it_has_moved_since() {
    let mut scene = Scene::new();
    let first = scene.leaving("d");
    scene.commit(first).unwrap();
    scene.daemon.set_lock(lock(Some("nginx"))).unwrap();
    let seen = scene.daemon.away().pop().unwrap();
    let request = BeginRequest { though_locked: true, ..going("192.0.2.9") };
    let second = scene.daemon.begin_move(&request, None).unwrap().id;
    scene.daemon.park_move(second).unwrap();
    scene.commit(second).unwrap();
    scene.daemon.has_ended(&seen).unwrap();
    assert_eq!(scene.away(), Some(("192.0.2.9".to_owned(), second)));
    let seen = scene.daemon.away().pop().unwrap();
    scene.daemon.has_ended(&seen).unwrap();
    assert_eq!((scene.away(), scene.daemon.locked()), (None, Vec::new()));
}

#[test]
fn one_that_is_locked_stays_whatever_it_calls_itself() {
    let mut scene = Scene::new();
    scene.daemon.set_lock(lock(Some("sh"))).unwrap();
    scene.restart(FILE);
    let error = scene.daemon.begin_move(&going("d"), None).unwrap_err();
    let told = "process 4711 (nginx) is locked, and stays; it was called sh then";
    assert_eq!(error.what, told);
    assert!(error.cure.unwrap().contains("`redirect unlock 4711`"));
    let other = Traveller { pid: PID + 1, ..process("sh") };
    let other = BeginRequest { process: Some(other), ..request("filed", "d") };
    scene.daemon.begin_move(&other, None).unwrap();
    scene.daemon.set_lock(lock(None)).unwrap();
    scene.leaving("d");
    for (pid, name) in [(0, Some("init")), (-5, Some("x")), (7, None), (7, Some(""))] {
        let request = LockRequest { pid, locked: true, ..lock(name) };
        assert_eq!(scene.daemon.set_lock(request).unwrap_err().kind, Kind::Usage);
    }
    let error = scene.daemon.set_lock(lock(None)).unwrap_err();
    assert_eq!((error.kind, error.what.as_str()), (Kind::NotFound, "process 4711 is not locked"));
}

#[test]
fn a_lock_ends_with_its_process_and_not_before() {
    let mut scene = Scene::new();
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = child.id().cast_signed();
    let began = started(pid).unwrap();
    let lock = |started| LockRequest { pid, started, ..lock(Some("sh")) };
    let locked = |scene: &mut Scene| {
        scene.daemon.tick();
        scene.daemon.locked().iter().any(|process| process.pid == pid)
    };
    scene.daemon.set_lock(lock(Some(began))).unwrap();
    assert!(locked(&mut scene), "whatever it calls itself");
    scene.restart(FILE);
    assert!(locked(&mut scene));
    // Whoever asks means another one of that number.
    scene.daemon.set_lock(lock(Some(began + 1))).unwrap();
    assert!(locked(&mut scene));
    scene.daemon.set_lock(lock(Some(began))).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    scene.restart(FILE);
    assert!(!locked(&mut scene));
    // One that is not seen here may live.
    scene.daemon.set_lock(lock(Some(began))).unwrap();
    assert!(locked(&mut scene));
}

#[test]
fn one_that_is_moved_though_it_is_locked_may_be_revived_under_its_number() {
    let mut scene = Scene::new();
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = child.id().cast_signed();
    let request = LockRequest { pid, started: started(pid), ..lock(Some("nginx")) };
    scene.daemon.set_lock(request).unwrap();
    let process = Traveller { pid, ..process("nginx") };
    let going = BeginRequest { process: Some(process), though_locked: true, ..going("d") };
    let id = scene.daemon.begin_move(&going, None).unwrap().id;
    child.kill().unwrap();
    child.wait().unwrap();
    scene.daemon.tick();
    scene.daemon.abort_move(id, "it is revived").unwrap();
    scene.daemon.tick();
    assert_eq!(scene.daemon.locked().len(), 1);
}

#[test]
fn a_commit_that_the_kernel_refused_never_was() {
    let mut scene = Scene::new();
    let id = scene.leaving("d");
    scene.fake.fail_group(Some(GroupCall::Commit));
    scene.commit(id).unwrap_err();
    scene.fake.fail_group(None);
    let moved = scene.show(id);
    assert_eq!((moved.state, moved.decided, scene.away()), (MoveState::Parked, None, None));
}

/// With all that is in the way of it, and nothing else.
#[test]
fn a_dry_run_begins_nothing() {
    let mut scene = Scene::new();
    let dry = |request| BeginRequest { dry_run: true, ..request };
    let moved = scene.daemon.begin_move(&dry(going("d")), None).unwrap();
    assert_eq!((moved.from.as_str(), moved.to.as_str()), ("192.0.2.3", "d"));
    assert_eq!(scene.daemon.list_moves().unwrap().moves, []);
    assert_eq!(scene.fake.groups().unwrap(), []);
    scene.daemon.begin_move(&dry(request("nobody", "d")), None).unwrap_err();
    scene.leaving("d");
    let error = scene.daemon.begin_move(&dry(going("d")), None).unwrap_err();
    assert!(error.what.contains("is in move 1"), "{error}");
}

/// Else the next start would find a journal that makes no sense.
#[test]
fn how_it_was_carried_is_told_of_a_committed_move_only() {
    let mut scene = Scene::new();
    let id = scene.leaving("d");
    let carried = Carried { pids: vec![PID], ..Carried::default() };
    let error = scene.daemon.report_move(id, carried.clone()).unwrap_err();
    assert_eq!(error.what, "move 1 is parked, and has carried nobody over");
    assert!(scene.daemon.report_move(7, carried.clone()).is_err());
    scene.commit(id).unwrap();
    scene.daemon.report_move(id, carried.clone()).unwrap();
    scene.restart(FILE);
    assert_eq!(scene.show(id).carried, Some(carried));
}
