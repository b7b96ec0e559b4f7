//! Crashes at any byte, damage of any kind, disks that fail, and growth.

use super::{
    super::{
        machine::MoveState,
        record::{Id, Moment, Plan, Shift},
    },
    *,
};
use crate::rule::{PortRange, Protocol, Redirect};

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
        let outcome = Default::default();
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
