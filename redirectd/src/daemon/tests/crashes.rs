//! No sequence of calls, failures and crashes leads to two owners of a process or
//! to none.

use std::{collections::BTreeMap, sync::OnceLock};

use proptest::prelude::*;

use super::{
    memory::{Fault, Memory, Paper},
    mortal::{Fuse, Mortal},
    moves::{configured, request},
    *,
};
use crate::{
    dataplane::Phase,
    migrate::{
        machine::{MoveState, Owner},
        record::Id,
    },
};

const FILE: &str = "filed: { home: \"192.0.2.1:443\", to: \"192.0.2.3:443\" }";
static CONFIG: OnceLock<Config> = OnceLock::new();

const NAMES: [&str; 2] = ["web", "filed"];
const PLACES: [&str; 4] = ["home", "192.0.2.3", "d", "192.0.2.5"];

/// What an engine asks, for the redirect of that position.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Begin(usize, usize),
    Park(usize),
    Commit(usize, Deliver),
    Deliver(usize),
    Abort(usize),
    Tick,
}

/// What goes wrong while it is done.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    Nothing,
    /// One of the things that the daemon does in the kernel and on the disk fails.
    Failure(usize),
    /// The journal cannot be written, in one of three ways, until nothing goes wrong.
    Journal(Fault),
    /// The daemon is killed after so many of these things.
    Death(usize),
    /// The power fails after so many of these things, and the kernel forgets all.
    Blackout(usize),
}

fn ask() -> impl Strategy<Value = Ask> {
    let which = 0..NAMES.len();
    prop_oneof![
        3 => (which.clone(), 0..PLACES.len()).prop_map(|(name, to)| Ask::Begin(name, to)),
        3 => which.clone().prop_map(Ask::Park),
        2 => which.clone().prop_map(|name| Ask::Commit(name, Deliver::AtOnce)),
        2 => which.clone().prop_map(|name| Ask::Commit(name, Deliver::WhenTold)),
        2 => which.clone().prop_map(Ask::Deliver),
        1 => which.prop_map(Ask::Abort),
        1 => Just(Ask::Tick),
    ]
}

fn mishap() -> impl Strategy<Value = Mishap> {
    let fault = prop::sample::select(vec![Fault::Refused, Fault::Doubted, Fault::Lost]);
    prop_oneof![
        3 => Just(Mishap::Nothing),
        1 => (0..6usize).prop_map(Mishap::Failure),
        2 => fault.prop_map(Mishap::Journal),
        1 => (0..6usize).prop_map(Mishap::Death),
        1 => (0..6usize).prop_map(Mishap::Blackout),
    ]
}

struct World {
    fake: Fake,
    disk: Memory,
    paper: Paper,
    fuse: Fuse,
    daemon: Daemon,
    /// The last move of each redirect.
    latest: [Option<Id>; 2],
    /// What engines were told of moves that are decided.
    told: BTreeMap<Id, MoveState>,
}

impl World {
    fn new() -> Self {
        let (fake, disk, paper) = (Fake::new(16, &[]), Memory::default(), Paper::default());
        let fuse = Fuse::new();
        let mut daemon = start_on(&fake, &disk, &paper, &fuse);
        add(&mut daemon, "web", "192.0.2.1:80").unwrap();
        Self { fake, disk, paper, fuse, daemon, latest: [None; 2], told: BTreeMap::new() }
    }

    fn live(&mut self, ask: Ask, mishap: Mishap) {
        match mishap {
            Mishap::Nothing => self.paper.fail(None),
            Mishap::Failure(after) => self.fuse.fails_after(after),
            Mishap::Journal(fault) => self.paper.fail(Some(fault)),
            Mishap::Death(after) | Mishap::Blackout(after) => self.fuse.dies_after(after),
        }
        let told = self.ask(ask);
        let dies = matches!(mishap, Mishap::Death(_) | Mishap::Blackout(_));
        if !dies {
            // Nobody answers for the dead.
            self.hear(told);
        }
        self.fuse.heal();
        if let Mishap::Blackout(_) = mishap {
            self.fake = Fake::new(16, &[]);
            self.paper.cut();
        }
        if dies {
            self.paper.fail(None);
            self.daemon = start_on(&self.fake, &self.disk, &self.paper, &self.fuse);
        }
    }

    fn ask(&mut self, ask: Ask) -> Option<(Id, MoveState)> {
        let answer = match ask {
            Ask::Begin(name, to) => {
                let begun = self.daemon.begin_move(&request(NAMES[name], PLACES[to]), None);
                if let Ok(moved) = &begun {
                    self.latest[name] = Some(moved.id);
                }
                begun
            }
            Ask::Park(name) => self.daemon.park_move(self.latest[name]?),
            Ask::Commit(name, deliver) => {
                let committed = self.daemon.commit_move(self.latest[name]?, deliver);
                self.daemon.settle_moves();
                committed
            }
            Ask::Deliver(name) => {
                let _ = self.daemon.deliver_move(self.latest[name]?);
                self.daemon.settle_moves();
                return None;
            }
            Ask::Abort(name) => self.daemon.abort_move(self.latest[name]?, "as asked"),
            Ask::Tick => {
                self.daemon.tick();
                return None;
            }
        };
        answer.ok().map(|moved| (moved.id, moved.state))
    }

    /// An engine lets a process go on at one place or the other by what it is told,
    /// so that must never change.
    fn hear(&mut self, told: Option<(Id, MoveState)>) {
        let seen = self.daemon.list_moves().unwrap().moves;
        let seen = seen.into_iter().map(|moved| (moved.id, moved.state));
        for (id, state) in told.into_iter().chain(seen) {
            if state.is_decided() {
                let before = *self.told.entry(id).or_insert(state);
                assert_eq!(before, state, "move {id}: two owners, or none");
            }
        }
    }

    /// The packets of each redirect go to the one owner of its process, or are held
    /// for him.
    fn check(&mut self) {
        self.hear(None);
        let groups = self.fake.groups().unwrap();
        let moves = self.daemon.list_moves().unwrap().moves;
        for name in NAMES {
            let desired = self.daemon.desired.all().get(name).unwrap();
            let last = moves.iter().rfind(|moved| moved.redirects[0].from.name == name);
            let owned = last.map(|moved| match moved.owner {
                Owner::Old => &moved.redirects[0].from,
                Owner::New => &moved.redirects[0].to,
            });
            if let Some(owned) = owned {
                assert_eq!(target(owned), target(desired), "{name}: journal and daemon");
            }
            let installed = self.fake.installed().unwrap();
            let mut installed = installed.iter().filter(|there| there.redirect.name == name);
            let there = installed.next().expect("in the kernel");
            assert!(installed.next().is_none(), "{name} is twice in the kernel");
            let held = groups.iter().find(|group| group.redirects[0].0.name == name);
            let phase = held.map(|group| group.phase);
            if phase.is_none() || phase == Some(Phase::Committed) {
                assert_eq!(target(&there.redirect), target(desired), "{name}: daemon and kernel");
            }
        }
    }

    /// A daemon that starts and lives leaves nothing half done.
    fn end(mut self) {
        self.paper.fail(None);
        self.daemon = start_on(&self.fake, &self.disk, &self.paper, &self.fuse);
        self.check();
        assert_eq!(self.fake.groups().unwrap(), [], "all that was held is delivered");
        assert_eq!(self.daemon.moves.book.ledger().open().count(), 0);
        for moved in self.daemon.list_moves().unwrap().moves {
            assert!(moved.delivered.is_some(), "{moved:?}");
        }
        let web = self.daemon.desired.all().get("web").cloned();
        assert_eq!(self.disk.0.lock().unwrap().kept.first().cloned(), web, "daemon and disk");
        add(&mut self.daemon, "web", "192.0.2.1:80").expect("free for other changes");
    }
}

fn target(redirect: &Redirect) -> (std::net::IpAddr, u16) {
    (redirect.target, redirect.target_port)
}

fn start_on(fake: &Fake, disk: &Memory, paper: &Paper, fuse: &Fuse) -> Daemon {
    Daemon::start(Parts {
        dataplane: Box::new(Mortal(fake.clone(), fuse.clone())),
        store: Box::new(Mortal(disk.clone(), fuse.clone())),
        journal: Box::new(Mortal(paper.clone(), fuse.clone())),
        config: CONFIG.get_or_init(|| configured(FILE)).clone(),
        config_path: PathBuf::from("/nowhere"),
        replace: false,
    })
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_process_has_one_owner_whatever_fails(
        life in prop::collection::vec((ask(), mishap()), 1..40)
    ) {
        let mut world = World::new();
        for (ask, mishap) in life {
            world.live(ask, mishap);
            world.check();
        }
        world.end();
    }
}

/// Every two things that may be asked of a parked move, with all that may go wrong
/// in each.
#[test]
fn whatever_fails_twice_in_a_row_there_is_one_owner() {
    let commits = [Deliver::AtOnce, Deliver::WhenTold].map(|deliver| Ask::Commit(0, deliver));
    let [commit, hold] = commits;
    let asks = [commit, Ask::Abort(0), Ask::Tick];
    fail_twice(&asks, &asks);
    fail_twice(&[hold], &[commit, hold, Ask::Deliver(0), Ask::Abort(0), Ask::Tick]);
}

fn fail_twice(first: &[Ask], second: &[Ask]) {
    let faults = [Fault::Refused, Fault::Doubted, Fault::Lost].map(Mishap::Journal);
    let places = (0..5).flat_map(|n| [Mishap::Failure(n), Mishap::Death(n), Mishap::Blackout(n)]);
    let mishaps: Vec<_> = [Mishap::Nothing].into_iter().chain(faults).chain(places).collect();
    let all = |asks: &[Ask]| -> Vec<_> {
        asks.iter().flat_map(|ask| mishaps.iter().map(|mishap| (*ask, *mishap))).collect()
    };
    for first in all(first) {
        for second in all(second) {
            let mut world = World::new();
            world.live(Ask::Begin(0, 2), Mishap::Nothing);
            world.live(Ask::Park(0), Mishap::Nothing);
            for (ask, mishap) in [first, second] {
                world.live(ask, mishap);
                world.check();
            }
            world.end();
        }
    }
}

/// Every place in a commit at which the daemon may die, one after the other.
#[test]
fn a_daemon_that_dies_in_a_commit_leaves_one_owner() {
    for blackout in [false, true] {
        for deeds in 0..8 {
            let mut world = World::new();
            world.live(Ask::Begin(0, 2), Mishap::Nothing);
            world.live(Ask::Park(0), Mishap::Nothing);
            let mishap = if blackout { Mishap::Blackout(deeds) } else { Mishap::Death(deeds) };
            world.live(Ask::Commit(0, Deliver::AtOnce), mishap);
            world.check();
            let moved = world.daemon.show_move(world.latest[0].unwrap()).unwrap();
            // The first thing prepares the store, the second is the record.
            let expected = if deeds < 2 { Owner::Old } else { Owner::New };
            assert_eq!(moved.owner, expected, "dead after {deeds}, power cut: {blackout}");
            world.end();
        }
    }
}
