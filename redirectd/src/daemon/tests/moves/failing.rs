//! Steps of moves that fail.

use super::*;
use crate::dataplane::Relocation;

#[test]
fn a_step_that_fails_leaves_the_move_as_it_was_or_aborts_it() {
    let mut scene = Scene::new();
    scene.fake.fail_group(Some(GroupCall::Begin));
    scene.begin("web", "d").unwrap_err();
    scene.fake.fail_group(None);
    scene.paper.fail(Some(Fault::Refused));
    scene.begin("web", "d").unwrap_err();
    scene.paper.fail(None);
    assert_eq!(scene.fake.groups().unwrap(), [], "nothing lies about");

    let id = scene.begin("web", "d").unwrap();
    scene.fake.fail_group(Some(GroupCall::Park));
    let error = scene.daemon.park_move(id).unwrap_err();
    assert!(error.what.contains(&format!("move {id} is aborted")), "{error}");
    scene.fake.fail_group(None);
    assert_eq!(scene.show(id).state, MoveState::Aborted);

    let id = scene.parked("web", "d");
    let arrangements: [fn(&Scene, bool); 3] = [
        |scene, fails| scene.fake.fail_group(fails.then_some(GroupCall::Commit)),
        |scene, fails| scene.paper.fail(fails.then_some(Fault::Refused)),
        |scene, fails| scene.disk.0.lock().unwrap().fail_stage = fails,
    ];
    for arrange in arrangements {
        arrange(&scene, true);
        scene.commit(id).unwrap_err();
        arrange(&scene, false);
        assert_eq!(scene.show(id).state, MoveState::Parked);
        assert_eq!(scene.target("web"), "192.0.2.3:80");
        assert!(scene.disk.0.lock().unwrap().staged.is_none(), "nothing lies about");
    }
    scene.commit(id).unwrap();
    assert_eq!(scene.target("web"), "d (192.0.2.4:80)");
}

#[test]
fn what_fails_after_the_commit_is_done_later() {
    let arrangements: [fn(&Scene, bool); 2] = [
        |scene, fails| scene.fake.fail_group(fails.then_some(GroupCall::Replay)),
        |scene, fails| scene.disk.0.lock().unwrap().fail_commit = fails,
    ];
    for arrange in arrangements {
        let mut scene = Scene::new();
        let id = scene.parked("web", "d");
        arrange(&scene, true);
        let moved = scene.commit(id).unwrap();
        assert_eq!((moved.state, scene.is_over(id)), (MoveState::Committed, false));
        let error = remove(&mut scene.daemon, "web").unwrap_err();
        assert!(error.cure.unwrap().contains("being finished"));
        scene.daemon.tick();
        arrange(&scene, false);
        scene.daemon.tick();
        assert!(scene.is_over(id));
        assert_eq!(scene.target("web"), "d (192.0.2.4:80)");
    }
}

#[test]
fn a_flip_that_can_neither_be_done_nor_taken_back_is_done_later() {
    let mut scene = Scene::new();
    let id = scene.parked("web", "d");
    scene.fake.fail_group(Some(GroupCall::Commit));
    scene.paper.fail_after(1);
    let moved = scene.commit(id).unwrap();
    assert_eq!((moved.owner, moved.delivered), (Owner::New, None), "the disk says so");
    scene.paper.fail(None);
    scene.daemon.tick();
    assert!(!scene.is_over(id), "the kernel still refuses");
    scene.fake.fail_group(None);
    scene.daemon.tick();
    assert!(scene.is_over(id));
    assert_eq!(scene.target("web"), "d (192.0.2.4:80)");
}

#[test]
fn nobody_is_told_that_a_move_is_aborted_while_its_commit_may_be_on_the_disk() {
    for (fault, then) in [(Fault::Doubted, Owner::New), (Fault::Lost, Owner::Old)] {
        let mut scene = Scene::new();
        let id = scene.parked("web", "d");
        scene.paper.fail(Some(fault));
        scene.commit(id).unwrap_err();
        scene.daemon.abort_move(id, "so be it").unwrap_err();
        assert_eq!(scene.show(id).state, MoveState::Parked);

        // A daemon that dies now finds what the disk has.
        let paper = scene.paper.clone();
        paper.fail(None);
        scene.restart(FILE);
        assert_eq!(scene.show(id).owner, then);
        assert!(scene.is_over(id));
    }
    let mut scene = Scene::new();
    let id = scene.parked("web", "d");
    scene.paper.fail(Some(Fault::Doubted));
    scene.commit(id).unwrap_err();
    scene.paper.fail(None);
    scene.daemon.abort_move(id, "so be it").unwrap();
    scene.restart(FILE);
    assert_eq!(scene.show(id).state, MoveState::Aborted, "the doubt is gone");
}

#[test]
fn a_move_is_aborted_though_the_disk_is_full() {
    let mut scene = Scene::new();
    let id = scene.parked("web", "d");
    scene.paper.fail(Some(Fault::Refused));
    assert_eq!(scene.daemon.abort_move(id, "no").unwrap().state, MoveState::Aborted);
    assert_eq!(scene.fake.groups().unwrap(), [], "what was held is delivered");
    scene.paper.fail(None);
    scene.daemon.tick();
    assert!(scene.is_over(id));
    scene.restart(FILE);
    assert_eq!(scene.show(id).state, MoveState::Aborted);
}

/// It died between the kernel's group and the record of it.
#[test]
fn a_group_that_nobody_wrote_down_is_dissolved_at_the_next_start() {
    let mut scene = Scene::new();
    let from = scene.daemon.desired.all().get("web").unwrap().clone();
    let to = Redirect { target: "192.0.2.4".parse().unwrap(), ..from.clone() };
    let group = scene.fake.group_begin(&Relocation { redirects: vec![(from, to)] }).unwrap();
    scene.fake.group_park(group).unwrap();
    scene.restart(FILE);
    assert_eq!(scene.fake.groups().unwrap(), []);
    assert_eq!(scene.target("web"), "192.0.2.3:80");
    scene.begin("web", "d").unwrap();
}
