//! Moves whose leader dies, and redirects that were made for a move.

use std::process::Command;

use super::*;
use crate::migrate::leader::Leader;

fn made() -> BeginRequest {
    BeginRequest { made: vec!["web".to_owned()], ..request("web", "d") }
}

#[test]
fn a_move_is_forsaken_when_its_leader_dies_undecided() {
    let mut scene = Scene::new();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = child.id().cast_signed();
    let (decided, undecided) = (scene.parked("web", "d"), scene.parked("filed", "d"));
    for id in [decided, undecided] {
        scene.daemon.lead_move(id, Leader::of(pid).unwrap());
    }
    assert!(scene.daemon.forsaken_moves().is_empty());
    scene.commit(decided).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(scene.daemon.forsaken_moves(), [undecided]);
    scene.daemon.abort_move(undecided, "nobody leads it").unwrap();
    assert!(scene.daemon.forsaken_moves().is_empty());
}

#[test]
fn a_redirect_made_for_a_move_goes_when_that_is_aborted_and_only_then() {
    let mut scene = Scene::new();
    scene.daemon.tick();
    let id = scene.daemon.begin_move(&made(), None).unwrap().id;
    scene.daemon.park_move(id).unwrap();
    scene.commit(id).unwrap();
    assert_eq!(scene.target("web"), "d (192.0.2.4:80)");
    let again = BeginRequest { to: "192.0.2.3".to_owned(), ..made() };
    let id = scene.daemon.begin_move(&again, None).unwrap().id;
    scene.daemon.abort_move(id, "it stays").unwrap();
    assert!(scene.is_over(id));
    assert!(scene.daemon.desired.all().get("web").is_none());
    assert!(scene.fake.installed().unwrap().iter().all(|there| there.redirect.name != "web"));
}

#[test]
fn it_goes_after_a_restart_too() {
    let mut scene = Scene::new();
    let id = scene.daemon.begin_move(&made(), None).unwrap().id;
    scene.restart(FILE);
    assert_eq!(scene.show(id).state, MoveState::Aborted);
    scene.daemon.tick();
    assert!(scene.is_over(id));
    assert!(scene.daemon.desired.all().get("web").is_none());
}
