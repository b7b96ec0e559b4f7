//! Moves, step by step.

mod asked;
mod awaited;
mod failing;
mod led;
mod placements;
mod processes;

use std::time::Duration;

use super::{
    memory::{Fault, Memory, Paper},
    *,
};
use crate::{
    api::moves::{BeginRequest, ConnectionView, MoveView, ReturnRequest},
    dataplane::fake::GroupCall,
    migrate::{
        machine::{MoveState, Owner},
        record::Id,
    },
};

/// A daemon with two redirects: `web`, which was added, and `filed` of a file.
struct Scene {
    fake: Fake,
    disk: Memory,
    paper: Paper,
    daemon: Daemon,
}

impl Scene {
    fn new() -> Self {
        let (fake, disk, paper) = (Fake::new(16, &[]), Memory::default(), Paper::default());
        let mut daemon = start_on(&fake, &disk, &paper, FILE);
        add(&mut daemon, "web", "192.0.2.1:80").unwrap();
        Self { fake, disk, paper, daemon }
    }

    /// The daemon is killed, and another one started with `file`.
    fn restart(&mut self, file: &str) {
        self.daemon = start_on(&self.fake, &self.disk, &self.paper, file);
    }

    fn begin(&mut self, redirect: &str, to: &str) -> Result<Id, Error> {
        self.daemon.begin_move(&request(redirect, to), None).map(|moved| moved.id)
    }

    fn parked(&mut self, redirect: &str, to: &str) -> Id {
        let id = self.begin(redirect, to).unwrap();
        self.daemon.park_move(id).unwrap();
        id
    }

    /// As the API does it.
    fn commit(&mut self, id: Id) -> Result<MoveView, Error> {
        let committed = self.daemon.commit_move(id, Deliver::AtOnce);
        self.daemon.settle_moves();
        committed
    }

    /// Whether nothing is left to do of a move.
    fn is_over(&self, id: Id) -> bool {
        self.daemon.moves.book.ledger().get(id).unwrap().is_over()
    }

    fn show(&self, id: Id) -> MoveView {
        self.daemon.show_move(id).unwrap()
    }

    /// Where the packets of a redirect go, which daemon, disk and kernel agree on.
    #[track_caller]
    fn target(&self, name: &str) -> String {
        let desired = self.daemon.desired.all().get(name).unwrap().clone();
        let installed = self.fake.installed().unwrap();
        let mut there = installed.iter().filter(|there| there.redirect.name == name);
        assert_eq!(there.next().map(|there| &there.redirect), Some(&desired), "kernel");
        assert_eq!(there.next(), None);
        if name == "web" {
            assert_eq!(self.disk.0.lock().unwrap().kept.first(), Some(&desired), "disk");
        }
        desired.target_endpoint()
    }
}

const FILE: &str = "filed: { home: \"192.0.2.1:443\", to: \"192.0.2.3:443\" }";

fn start_on(fake: &Fake, disk: &Memory, paper: &Paper, file: &str) -> Daemon {
    Daemon::start(Parts {
        dataplane: Box::new(fake.clone()),
        store: Box::new(disk.clone()),
        journal: Box::new(paper.clone()),
        config: configured(file),
        config_path: PathBuf::from("/nowhere"),
        replace: false,
    })
    .unwrap()
}

/// A configuration with the redirect `file`.
pub(super) fn configured(file: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redirectd.yaml");
    let text = format!(
        "version: 1\nhome: 192.0.2.1\nhosts: {{ d: 192.0.2.4 }}\nredirects: {{ {file} }}\n"
    );
    std::fs::write(&path, text).unwrap();
    config::load(&path).unwrap()
}

pub(super) fn request(redirect: &str, to: &str) -> BeginRequest {
    BeginRequest::new(vec![redirect.to_owned()], to)
}

#[test]
fn a_move_leads_its_redirect_to_the_new_host_and_says_what_was_held() {
    let mut scene = Scene::new();
    scene.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    let id = scene.begin("web", "d").unwrap();
    let group = scene.fake.groups().unwrap()[0].group;
    assert_eq!(scene.target("web"), "192.0.2.3:80", "nothing has changed");

    assert_eq!(scene.daemon.park_move(id).unwrap().state, MoveState::Parked);
    scene.fake.hold(group, Protocol::Tcp, "198.51.100.7:40000", "192.0.2.1:80", 100);
    let so_far = scene.show(id).held.unwrap();
    assert_eq!((so_far.traffic.packets, so_far.replay_seconds), (1, None));

    let connection = ConnectionView {
        protocol: Protocol::Tcp,
        peer: "198.51.100.7:40000".parse().unwrap(),
        home: "192.0.2.1:80".parse().unwrap(),
        host: None,
        snat_port: 0,
    };
    let request = ReturnRequest { connections: vec![connection] };
    let prepared = scene.daemon.return_move(id, &request).unwrap().connections;
    assert_eq!(prepared[0].host, Some("192.0.2.4:80".parse().unwrap()), "where it will be");
    assert_eq!(prepared[0].snat_port, 40_000, "home's port towards it");

    let moved = scene.commit(id).unwrap();
    assert_eq!((moved.state, moved.owner), (MoveState::Committed, Owner::New));
    assert!(moved.delivered.is_some() && moved.held_seconds.is_some());
    assert!(moved.flip_seconds.is_some());
    let held = moved.held.unwrap();
    assert_eq!((held.traffic.packets, held.traffic.bytes, held.lost), (1, 100, 0));
    assert_eq!(held.flows[0].peer, connection.peer);
    assert_eq!(scene.target("web"), "d (192.0.2.4:80)");
    assert_eq!(scene.fake.groups().unwrap(), []);
}

#[test]
fn an_aborted_move_leaves_everything_as_it_was() {
    let mut scene = Scene::new();
    for parked in [false, true] {
        let id = scene.begin("web", "d").unwrap();
        if parked {
            scene.daemon.park_move(id).unwrap();
        }
        let moved = scene.daemon.abort_move(id, "the dump failed").unwrap();
        assert_eq!((moved.state, moved.owner), (MoveState::Aborted, Owner::Old));
        assert_eq!(moved.flip_seconds, None);
        assert_eq!(moved.why.as_deref(), Some("the dump failed"));
        assert_eq!(scene.target("web"), "192.0.2.3:80");
        assert_eq!(scene.fake.groups().unwrap(), []);
    }
}

#[test]
fn what_a_script_repeats_is_done_once() {
    let mut scene = Scene::new();
    let id = scene.begin("web", "d").unwrap();
    let parked = scene.daemon.park_move(id).unwrap();
    assert_eq!(scene.daemon.park_move(id).unwrap(), parked);
    let committed = scene.commit(id).unwrap();
    assert_eq!(scene.commit(id).unwrap(), committed);
    let id = scene.parked("web", "192.0.2.3");
    let aborted = scene.daemon.abort_move(id, "no").unwrap();
    assert_eq!(scene.daemon.abort_move(id, "still no").unwrap(), aborted);
}

#[test]
fn what_is_out_of_order_is_refused_with_the_cure() {
    let mut scene = Scene::new();
    let id = scene.begin("web", "d").unwrap();
    let refused = |done: Result<MoveView, Error>, parts: [&str; 2]| {
        let error = done.unwrap_err();
        assert_eq!(error.kind, Kind::Conflict);
        for part in parts {
            assert!(error.to_string().contains(part), "{part} in {error}");
        }
    };
    refused(scene.commit(id), ["not parked", "move park 1"]);
    scene.daemon.park_move(id).unwrap();
    scene.commit(id).unwrap();
    refused(scene.daemon.abort_move(id, ""), ["is committed", "another move"]);
    refused(scene.daemon.park_move(id), ["is committed", "another move"]);
    let id = scene.begin("web", "192.0.2.3").unwrap();
    scene.daemon.abort_move(id, "the dump failed").unwrap();
    refused(scene.commit(id), ["the dump failed", "let it go on there"]);
    let unknown = scene.daemon.park_move(99).unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[test]
fn a_redirect_that_moves_is_left_alone_by_all_else() {
    let mut scene = Scene::new();
    let id = scene.begin("web", "d").unwrap();
    let other = scene.begin("filed", "d").unwrap();
    for done in [
        scene.begin("web", "192.0.2.9").map(|_| ChangeReport::default()),
        add(&mut scene.daemon, "web", "192.0.2.1:81"),
        remove(&mut scene.daemon, "web"),
        scene.daemon.apply_rules(&rules("version: 1\nredirects: {}\n"), false),
    ] {
        let error = done.unwrap_err();
        assert_eq!(error.kind, Kind::Conflict);
        assert!(error.what.contains(&format!("`web` is in move {id}")), "{error}");
        assert!(error.cure.unwrap().contains(&format!("move abort {id}")));
    }
    let other_file = configured("filed: { home: \"192.0.2.1:443\", to: d }");
    let next = scene.daemon.desired.with_files(other_file.redirects).unwrap();
    let error = scene.daemon.keep_written(&next).unwrap_err();
    assert!(error.what.contains(&format!("`filed` is in move {other}")), "{error}");

    add(&mut scene.daemon, "mail", "192.0.2.1:25").unwrap();
    scene.daemon.abort_move(id, "").unwrap();
    remove(&mut scene.daemon, "web").unwrap();
}

fn rules(text: &str) -> crate::api::types::RulesText {
    crate::api::types::RulesText { source: "a test".to_owned(), text: text.to_owned() }
}

#[test]
fn moves_that_make_no_sense_are_not_begun() {
    let mut scene = Scene::new();
    for (redirect, to, timeout, part) in [
        ("nobody", "d", 60.0, "no redirect `nobody`"),
        ("web", "192.0.2.3", 60.0, "leads there already"),
        ("web", "2001:db8::4", 60.0, "without brackets"),
        ("web", "192.0.2.1:81", 60.0, "home address itself"),
        ("web", "d", 0.0, "0 s"),
        ("web", "d", 0.000_999, "0.000999 s"),
        ("web", "d", f64::NAN, "NaN"),
        ("web", "d", 86_401.0, "86401 s"),
    ] {
        let request = BeginRequest { timeout_seconds: timeout, ..request(redirect, to) };
        let error = scene.daemon.begin_move(&request, None).unwrap_err();
        assert!(error.what.contains(part), "{part} in {error}");
        assert!(error.cure.is_some());
    }
    let none = BeginRequest { redirects: Vec::new(), ..request("web", "d") };
    scene.daemon.begin_move(&none, None).unwrap_err();
    assert_eq!(scene.daemon.list_moves().unwrap().moves, []);
    assert_eq!(scene.fake.groups().unwrap(), []);
}

#[test]
fn a_process_goes_out_and_comes_home_again() {
    let mut scene = Scene::new();
    let id = scene.parked("web", "home");
    scene.commit(id).unwrap();
    assert_eq!(scene.target("web"), "home");
    let id = scene.parked("web", "d:8080");
    let moved = scene.commit(id).unwrap();
    assert_eq!((moved.from.as_str(), moved.to.as_str()), ("home", "d"));
    assert_eq!(scene.target("web"), "d (192.0.2.4:8080)");
}

#[test]
fn a_move_whose_engine_has_gone_is_aborted_by_itself() {
    let mut scene = Scene::new();
    let hasty = BeginRequest { timeout_seconds: 0.001, ..request("web", "d") };
    let id = scene.daemon.begin_move(&hasty, None).unwrap().id;
    scene.daemon.park_move(id).unwrap();
    let patient = scene.begin("filed", "d").unwrap();
    // What counts is how long it is parked.
    let earlier = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
    scene.daemon.moves.since.insert(patient, earlier);
    scene.daemon.park_move(patient).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    scene.daemon.tick();
    let moved = scene.show(id);
    assert_eq!(moved.state, MoveState::Aborted);
    assert!(moved.why.unwrap().contains("seems to be gone"));
    assert_eq!(scene.show(patient).state, MoveState::Parked);
}
