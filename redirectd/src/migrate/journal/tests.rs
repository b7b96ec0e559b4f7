//! Crashes at any byte, damage of any kind, disks that fail, and growth.

use super::{
    super::{
        machine::MoveState,
        record::{Id, MOST_FLOWS, Moment, Outcome, Plan, Shift},
    },
    *,
};
use crate::{
    dataplane::{Held, HeldFlow, Replayed, Traffic},
    rule::{PortRange, Protocol, Redirect},
};

fn begun(id: Id) -> Record {
    let name = format!("r{id}");
    let from = Redirect {
        name,
        protocols: vec![Protocol::Tcp],
        home: "192.0.2.1".parse().unwrap(),
        ports: PortRange::single(80).unwrap(),
        target: "192.0.2.3".parse().unwrap(),
        target_port: 80,
        host: None,
        peers: Vec::new(),
        mode: Default::default(),
        flows: Default::default(),
    };
    let to = Redirect { target: "192.0.2.4".parse().unwrap(), ..from.clone() };
    let shifts = vec![Shift { from, to, written: None }];
    let (label, process, destination) = (None, None, "d".to_owned());
    let plan = Plan {
        label,
        process,
        destination,
        shifts,
        made: Vec::new(),
        memory: None,
        timeout_ms: 1_000,
    };
    Record::Begun { id, at: Moment(1), plan }
}

fn open(folder: &tempfile::TempDir) -> FileJournal {
    FileJournal::new(folder.path())
}

/// The states of the moves that a daemon which starts now would read.
#[track_caller]
fn read(folder: &tempfile::TempDir) -> Vec<(Id, MoveState)> {
    open(folder).load().unwrap().all().map(|there| (there.id, there.state)).collect()
}

const AT: Moment = Moment(2);

#[test]
fn what_was_appended_is_read() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read(&folder), []);
    for id in 1..4 {
        let mut journal = open(&folder);
        journal.load().unwrap();
        journal.append(&begun(id)).unwrap();
        journal.append(&Record::Parked { id, at: AT }).unwrap();
    }
    open(&folder).load().unwrap();
    let all = [1, 2, 3].map(|id| (id, MoveState::Parked));
    assert_eq!(read(&folder), all);
}

#[test]
fn a_record_that_was_cut_off_anywhere_is_dropped_and_the_next_one_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moves.journal");
    let mut journal = open(&folder);
    journal.append(&begun(1)).unwrap();
    journal.append(&Record::Parked { id: 1, at: AT }).unwrap();
    let before = fs::read(&path).unwrap();
    journal.append(&Record::Committed { id: 1, at: AT }).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in before.len()..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let expected = if length == whole.len() { MoveState::Committed } else { MoveState::Parked };
        assert_eq!(read(&folder), [(1, expected)], "cut after {length}");
        if length < whole.len() {
            let mut journal = open(&folder);
            journal.load().unwrap();
            journal.append(&Record::Aborted { id: 1, at: AT, why: String::new() }).unwrap();
            assert_eq!(read(&folder), [(1, MoveState::Aborted)], "cut after {length}");
        }
    }
    // A block that was allotted and never written.
    fs::write(&path, [&before[..], &[0; 64], b"\n"].concat()).unwrap();
    assert_eq!(read(&folder), [(1, MoveState::Parked)]);
}

#[test]
fn a_journal_that_was_cut_off_in_its_first_line_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["", "{\"vers", "{\"version\":1}"] {
        fs::write(folder.path().join("moves.journal"), text).unwrap();
        assert_eq!(read(&folder), []);
        let mut journal = open(&folder);
        journal.load().unwrap();
        journal.append(&begun(1)).unwrap();
        assert_eq!(read(&folder), [(1, MoveState::Prepared)]);
    }
}

#[test]
fn a_damaged_journal_is_an_error_that_names_the_line_and_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moves.journal");
    let mut journal = open(&folder);
    journal.append(&begun(1)).unwrap();
    journal.append(&Record::Parked { id: 1, at: AT }).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let twice = format!("{good}{}", good.lines().nth(2).unwrap());
    for (text, part) in [
        (good.replacen("\"begun\"", "\"bogus\"", 1), "line 2: "),
        (format!("{twice}\n"), "line 4: move 1 is parked and cannot become parked"),
        (good.replacen("\"version\":1", "\"version\":9", 1), "version 9"),
        (format!("garbage\n{good}"), "line 1: "),
    ] {
        fs::write(&path, &text).unwrap();
        let error = open(&folder).load().unwrap_err();
        assert!(error.what.contains(part) && error.what.contains("moves.journal"), "{error}");
        assert!(error.cure.is_some());
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "it is left alone");
    }
}

#[test]
fn a_write_that_may_have_left_something_is_in_doubt_until_all_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    journal.append(&begun(1)).unwrap();
    // A disk that takes nothing, and from which nothing can be taken back.
    journal.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let error = journal.append(&Record::Parked { id: 1, at: AT }).unwrap_err();
    assert!(error.what.contains("moves.journal") && error.cure.is_some(), "{error}");
    assert!(journal.in_doubt());
    let error = journal.append(&begun(2)).unwrap_err();
    assert!(error.what.contains("how far it got"), "{error}");

    let ledger = open(&folder).load().unwrap();
    journal.rewrite(&ledger.records()).unwrap();
    assert!(!journal.in_doubt());
    journal.append(&begun(2)).unwrap();
    assert_eq!(read(&folder), [1, 2].map(|id| (id, MoveState::Prepared)));
}

#[test]
fn a_journal_that_has_grown_long_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    let mut ledger = Ledger::default();
    let mut id = 0;
    while !journal.is_long() {
        id += 1;
        let outcome = Outcome::default();
        for record in [
            begun(id),
            Record::Aborted { id, at: AT, why: "no".to_owned() },
            Record::Settled { id, at: AT, outcome },
        ] {
            ledger.apply(record.clone()).unwrap();
            journal.length += line(&record).unwrap().len() as u64;
        }
    }
    journal.rewrite(&ledger.records()).unwrap();
    assert!(!journal.is_long());
    assert_eq!(open(&folder).load().unwrap(), ledger);
}

/// What is remembered may be much: writing it anew again and again gains nothing.
#[test]
fn a_journal_that_does_not_get_shorter_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    let label = Some("a long label".repeat(LONG as usize / 10));
    let Record::Begun { id, at, plan } = begun(1) else { unreachable!() };
    let all = [Record::Begun { id, at, plan: Plan { label, ..plan } }];
    journal.append(&all[0]).unwrap();
    assert!(journal.length > LONG && !journal.is_long());
    journal.append(&Record::Parked { id, at }).unwrap();
    assert!(!journal.is_long());
    journal.length *= 3;
    assert!(journal.is_long());
    journal.rewrite(&all).unwrap();
    assert!(!journal.is_long());
}

/// An outcome of `count` flows, the later ones with more.
fn outcome(count: u16) -> Outcome {
    let end = |address: &str, port| (address.parse().unwrap(), port);
    let flow = |port: u16| HeldFlow {
        protocol: Protocol::Tcp,
        peer: end("2001:db8::198:51:100:7", port),
        home: end("2001:db8::192:0:2:1", 80),
        traffic: Traffic { packets: 7, bytes: 1_000 },
        overflow: Traffic { packets: 1, bytes: u64::from(port) },
        retransmissions: 2,
    };
    let held = Held { flows: (0..count).map(flow).collect(), ..Held::default() };
    Replayed { held, ..Replayed::default() }.into()
}

/// Of many flows, those with most are kept, and how many there were.
#[test]
fn what_was_held_of_each_flow_is_kept_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    let flows = MOST_FLOWS as u16 + 44;
    let outcome = Outcome { flip_us: Some(300), ..outcome(flows) };
    for record in [
        begun(1),
        Record::Parked { id: 1, at: AT },
        Record::Committed { id: 1, at: AT },
        Record::Settled { id: 1, at: AT, outcome: outcome.clone() },
    ] {
        assert!(line(&record).unwrap().len() < 1 << 17);
        journal.append(&record).unwrap();
    }
    let ledger = open(&folder).load().unwrap();
    let kept = ledger.get(1).unwrap().outcome.clone().unwrap();
    assert_eq!(kept, outcome);
    assert_eq!((kept.flows.len(), kept.flow_count), (MOST_FLOWS, usize::from(flows)));
    assert_eq!(kept.retransmissions, 2 * u64::from(flows), "those left out count");
    let ports: Vec<u16> = kept.flows.iter().map(|flow| flow.peer.1).collect();
    assert_eq!((ports[0], ports[MOST_FLOWS - 1]), (flows - 1, 44));
}

/// Times and counts that it did not write are not known, and none.
#[test]
fn a_journal_of_an_earlier_release_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder);
    for record in [begun(1), Record::Parked { id: 1, at: AT }, Record::Committed { id: 1, at: AT }]
    {
        journal.append(&record).unwrap();
    }
    let earlier = concat!(
        r#"{"record":"settled","id":1,"at":2,"outcome":{"held":{"packets":3,"bytes":180},"#,
        r#""overflow":{"packets":0,"bytes":0},"lost":0,"replay_us":70,"flows":[{"protocol":"tcp","#,
        r#""peer":["198.51.100.7",40000],"home":["192.0.2.1",80],"#,
        r#""traffic":{"packets":3,"bytes":180}}],"flow_count":1}}"#,
        "\n",
        r#"{"record":"carried","id":1,"carried":{"pids":[4711],"files":30,"bytes":900,"stages":{"#,
        r#""dump_us":1,"transfer_and_restore_us":2,"end_us":3,"flip_and_replay_us":4,"#,
        r#""resume_us":5},"lost":[]}}"#,
        "\n",
    );
    let path = folder.path().join("moves.journal");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + earlier).unwrap();
    let ledger = open(&folder).load().unwrap();
    let read = ledger.get(1).unwrap();
    let (outcome, carried) = (read.outcome.clone().unwrap(), read.carried.clone().unwrap());
    assert_eq!((outcome.held.packets, outcome.retransmissions, outcome.flip_us), (3, 0, None));
    assert_eq!(outcome.flows[0].overflow, Traffic::default());
    assert_eq!((carried.stages.frozen_us(), carried.stages.restore_us), (15, None));
}
