//! Moves that are committed, and for whose processes packets are held until they stand.

use std::{process::Command, thread::sleep};

use super::*;
use crate::migrate::{
    leader::Leader,
    memory::{Choice, Way},
};

impl Scene {
    /// A move of `web` by `request`, parked and committed; its process is waited for.
    fn awaited(&mut self, request: &BeginRequest) -> Id {
        let id = self.daemon.begin_move(request, None).unwrap().id;
        self.daemon.park_move(id).unwrap();
        self.daemon.commit_move(id, Deliver::WhenTold).unwrap();
        self.daemon.settle_moves();
        id
    }

    /// Whether packets are held.
    fn holds(&self) -> bool {
        !self.fake.groups().unwrap().is_empty()
    }
}

#[test]
fn packets_are_held_until_the_process_stands() {
    let mut scene = Scene::new();
    let id = scene.awaited(&request("web", "d"));
    scene.daemon.tick();
    assert_eq!(scene.show(id).state, MoveState::Committed);
    let there = scene.fake.installed().unwrap();
    let web = there.iter().find(|there| there.redirect.name == "web").unwrap();
    assert_eq!(web.redirect.host.as_deref(), Some("d"), "it is the new host's all the same");
    assert!(scene.holds() && !scene.is_over(id));
    assert!(scene.daemon.deliver_move(id).unwrap(), "for the first time");
    scene.daemon.settle_moves();
    assert!(!scene.holds() && scene.is_over(id));
    assert_eq!(scene.target("web"), "d (192.0.2.4:80)");
    assert!(scene.show(id).flip_seconds.is_some());
    assert!(!scene.daemon.deliver_move(id).unwrap(), "all was delivered before");
}

#[test]
fn what_is_not_committed_is_not_delivered() {
    let mut scene = Scene::new();
    let id = scene.parked("web", "d");
    assert_eq!(scene.daemon.deliver_move(id).unwrap_err().kind, Kind::Conflict);
    assert!(scene.holds());
    scene.daemon.abort_move(id, "it stays").unwrap();
    assert_eq!(scene.daemon.deliver_move(id).unwrap_err().kind, Kind::Conflict);
    assert_eq!(scene.daemon.deliver_move(7).unwrap_err().kind, Kind::NotFound);
}

#[test]
fn with_the_commit_it_is_delivered_for_good() {
    let mut scene = Scene::new();
    let id = scene.parked("web", "d");
    scene.daemon.commit_move(id, Deliver::AtOnce).unwrap();
    assert!(!scene.holds());
    assert!(!scene.daemon.deliver_move(id).unwrap());
}

#[test]
fn a_process_that_never_stands_is_waited_for_as_long_as_it_may_be_parked() {
    let mut scene = Scene::new();
    let timeout = Duration::from_millis(1);
    let short = BeginRequest { timeout_seconds: timeout.as_secs_f64(), ..request("web", "d") };
    let id = scene.awaited(&short);
    sleep(timeout);
    scene.daemon.tick();
    assert!(!scene.holds() && scene.is_over(id));
    assert_eq!(scene.show(id).state, MoveState::Committed);
}

/// Its memory comes by way of its leader.
#[test]
fn a_process_whose_memory_follows_does_not_outlive_its_leader() {
    for (way, waits) in [(Way::Lazy, false), (Way::Copy, true)] {
        let mut scene = Scene::new();
        let memory = Some(Choice { way, why: "as asked".to_owned() });
        let id = scene.daemon.begin_move(&BeginRequest { memory, ..request("web", "d") }, None);
        let id = id.unwrap().id;
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        scene.daemon.lead_move(id, Leader::of(child.id().cast_signed()).unwrap());
        scene.daemon.park_move(id).unwrap();
        scene.daemon.commit_move(id, Deliver::WhenTold).unwrap();
        scene.daemon.tick();
        assert!(scene.holds(), "{way:?}: the leader lives");
        child.kill().unwrap();
        child.wait().unwrap();
        scene.daemon.tick();
        assert_eq!(scene.holds(), waits, "{way:?}: the leader is dead");
    }
}

#[test]
fn whoever_stops_or_starts_delivers() {
    let mut scene = Scene::new();
    let id = scene.awaited(&request("web", "d"));
    scene.daemon.give_up_moves();
    assert!(!scene.holds());
    scene.daemon.settle_moves();
    assert!(scene.is_over(id));
    let mut scene = Scene::new();
    let id = scene.awaited(&request("web", "d"));
    scene.restart(FILE);
    assert!(!scene.holds() && scene.is_over(id));
    assert_eq!(scene.target("web"), "d (192.0.2.4:80)");
    assert!(!scene.daemon.deliver_move(id).unwrap(), "another may have delivered it");
}
