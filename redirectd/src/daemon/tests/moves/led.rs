//! Moves whose leader dies, and redirects that were made for a move.

use std::process::Command;

use super::*;
use crate::migrate::{arbiters::Own, fate::Arbiter as _, leader::Leader};

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
    let moves = &scene.daemon.moves;
    assert!(moves.leaders.is_empty() && moves.since.is_empty(), "nothing stays of what is over");
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

/// The source of a process asks so before it revives it.
#[tokio::test]
async fn who_would_abort_a_committed_move_is_told_that_it_is() {
    let mut scene = Scene::new();
    let (committed, parked) = (scene.parked("web", "d"), scene.parked("filed", "d"));
    scene.commit(committed).unwrap();
    let (handle, thread) = spawn(scene.daemon).unwrap();
    for (id, state) in [(committed, MoveState::Committed), (parked, MoveState::Aborted)] {
        let own = Own { daemon: handle.weak(), id };
        assert_eq!(own.settle().await.unwrap(), state);
        assert_eq!(own.fate().await.unwrap(), state);
    }
    assert!(Own { daemon: handle.weak(), id: 7 }.settle().await.is_err());
    drop(handle);
    thread.join().unwrap();
}

#[test]
fn it_goes_after_a_restart_too() {
    let mut scene = Scene::new();
    let id = scene.daemon.begin_move(&made(), None).unwrap().id;
    scene.restart(FILE);
    assert_eq!(scene.show(id).state, MoveState::Aborted);
    // The kernel may not have it yet.
    assert!(!scene.is_over(id));
    scene.daemon.tick();
    assert!(scene.is_over(id));
    assert!(scene.daemon.desired.all().get("web").is_none());
}
