//! Records in any order, and the shortest way to the same ledger.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::{away::Traveller, record::Shift},
    *,
};
use crate::rule::{PortRange, Protocol, Redirect};

fn redirect(name: &str, target: &str) -> Redirect {
    Redirect {
        name: name.to_owned(),
        protocols: vec![Protocol::Tcp],
        home: "192.0.2.1".parse().unwrap(),
        ports: PortRange::single(80).unwrap(),
        target: target.parse().unwrap(),
        target_port: 80,
        host: None,
        peers: Vec::new(),
        mode: Default::default(),
        flows: Default::default(),
    }
}

fn begun(id: Id, name: &str, filed: bool) -> Record {
    let [from, to] = ["192.0.2.3", "192.0.2.4"].map(|target| redirect(name, target));
    let written = filed.then(|| from.clone());
    // A third of them tell their process; to home goes what is of a file.
    let process = id.is_multiple_of(3).then(|| Traveller { pid: 7, name: "nginx".to_owned() });
    let plan = Plan {
        label: None,
        process,
        destination: if filed { "home" } else { "192.0.2.4" }.to_owned(),
        shifts: vec![Shift { from, to, written }],
        made: Vec::new(),
        memory: None,
        timeout_ms: 1_000,
    };
    Record::Begun { id, at: Moment(1), plan }
}

/// Records of few moves, most of them out of order.
fn record() -> impl Strategy<Value = Record> {
    let id = 1..6u32;
    let at = Moment(2);
    let name = select(vec!["web", "mail", "dns"]);
    prop_oneof![
        3 => (id.clone(), name.clone(), any::<bool>()).prop_map(|(id, name, filed)| begun(id, name, filed)),
        3 => id.clone().prop_map(move |id| Record::Parked { id, at }),
        1 => id.clone().prop_map(move |id| Record::Returned { id, at }),
        3 => id.clone().prop_map(move |id| Record::Committed { id, at }),
        1 => id.clone().prop_map(move |id| Record::Withdrawn { id, at }),
        1 => id.clone().prop_map(move |id| Record::Aborted { id, at, why: "so".to_owned() }),
        1 => id.clone().prop_map(|id| Record::Carried { id, carried: Default::default() }),
        2 => id.prop_map(move |id| Record::Settled { id, at, outcome: Outcome::default() }),
        1 => (6..8).prop_map(|pid| Record::Ended { pid }),
        1 => (6..8).prop_map(|pid| Record::Unlocked { pid }),
        1 => (6..8).prop_map(|pid| {
            let process = Traveller { pid, name: "nginx".to_owned() };
            Record::Locked(Lock { process, started: Some(7) })
        }),
        1 => name.prop_map(|name| Record::Unplaced { name: name.to_owned() }),
    ]
}

proptest! {
    #[test]
    fn what_is_out_of_order_is_refused_and_changes_nothing(records in vec(record(), 0..60)) {
        let mut ledger = Ledger::default();
        for record in records {
            let before = ledger.clone();
            let Err(_) = ledger.apply(record) else { continue };
            prop_assert_eq!(&before, &ledger);
        }
        for name in ["web", "mail", "dns"] {
            let moving = ledger.open().filter(|there| there.moves(name)).count();
            prop_assert!(moving <= 1, "{name} is in {moving} moves");
        }
    }

    #[test]
    fn the_shortest_way_leads_to_the_same_ledger(records in vec(record(), 0..60)) {
        let mut ledger = Ledger::default();
        for record in records {
            let _ = ledger.apply(record);
        }
        let text = serde_json::to_string(&ledger.records()).unwrap();
        let records: Vec<Record> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(Ledger::read(&records).unwrap(), ledger);
    }
}

fn over(ledger: &mut Ledger, id: Id, filed: bool) {
    let at = Moment(2);
    let outcome = Outcome::default();
    for record in [
        begun(id, "web", filed),
        Record::Parked { id, at },
        Record::Committed { id, at },
        Record::Settled { id, at: Moment(5), outcome },
    ] {
        ledger.apply(record).unwrap();
    }
}

#[test]
fn moves_that_are_over_are_remembered_for_a_while() {
    let mut ledger = Ledger::default();
    let count = u32::try_from(REMEMBERED).unwrap() + 2;
    (1..=count).for_each(|id| over(&mut ledger, id, false));
    assert_eq!(ledger.all().count(), REMEMBERED);
    let forgotten = ledger.get(2).unwrap_err();
    assert!(forgotten.what.contains("over and forgotten"), "{forgotten}");
    assert_eq!(ledger.get(3).unwrap().held_for(), Some(Duration::from_micros(3)));
    let unknown = ledger.get(count + 1).unwrap_err();
    assert!(unknown.what.contains(&format!("no move {}", count + 1)), "{unknown}");
    assert_eq!(ledger.next_id(), count + 1, "numbers are never used twice");
}

#[test]
fn a_placement_outlives_the_move_that_made_it() {
    let mut ledger = Ledger::default();
    over(&mut ledger, 1, true);
    let count = u32::try_from(REMEMBERED).unwrap() + 2;
    for id in 2..=count {
        let at = Moment(2);
        ledger.apply(begun(id, "mail", false)).unwrap();
        ledger.apply(Record::Aborted { id, at, why: "so".to_owned() }).unwrap();
        ledger.apply(Record::Settled { id, at, outcome: Outcome::default() }).unwrap();
    }
    ledger.get(1).unwrap_err();
    let placement = &ledger.placements()["web"];
    assert_eq!((placement.by, placement.now.target.to_string().as_str()), (1, "192.0.2.4"));
}

#[test]
fn who_takes_too_long_is_overdue_when_something_is_held() {
    let mut ledger = Ledger::default();
    let overdue = |ledger: &Ledger, seconds| {
        ledger.get(1).unwrap().overdue(Duration::from_secs(seconds)).is_some()
    };
    ledger.apply(begun(1, "web", false)).unwrap();
    assert!(!overdue(&ledger, 100), "nothing is held yet");
    assert!(overdue(&ledger, 3_600), "but not for ever");
    ledger.apply(Record::Parked { id: 1, at: Moment(2) }).unwrap();
    assert!(!overdue(&ledger, 0));
    assert!(overdue(&ledger, 1));
    ledger.apply(Record::Committed { id: 1, at: Moment(3) }).unwrap();
    assert!(!overdue(&ledger, 100), "it is decided");
}
