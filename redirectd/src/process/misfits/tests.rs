//! Each class of misfit, on paper.

use proptest::prelude::*;

use super::*;
use crate::process::{
    fixture::{file, inventory, open_file},
    offer::FileThere,
};

/// The offer of a machine that has all that the fixture needs.
fn offer() -> Offer {
    let inventory = inventory();
    let there = |file: &UsedFile| {
        (file.path.clone(), FileThere { kind: file.kind, sha256: file.sha256.clone() })
    };
    Offer {
        engine: Some("4.2.1".to_owned()),
        free_memory: 1_000_000_000,
        taken_pids: [1, 2].into(),
        taken_endpoints: BTreeSet::new(),
        files: inventory.files.iter().map(there).collect(),
        machine: inventory.machine,
    }
}

/// What is in the way once `change` was made to either.
fn after(change: impl FnOnce(&mut Inventory, &mut Offer)) -> Vec<(Reason, bool)> {
    let (mut inventory, mut offer) = (inventory(), offer());
    change(&mut inventory, &mut offer);
    let found = misfits(&inventory, &offer, "c");
    for obstacle in &found {
        assert!(obstacle.what.contains('c') && !obstacle.cure.is_empty(), "{obstacle:?}");
    }
    found.iter().map(|obstacle| (obstacle.reason, obstacle.stops)).collect()
}

#[test]
fn a_machine_like_this_one_fits() {
    assert_eq!(after(|_, _| {}), []);
}

#[test]
fn the_engine_is_there_and_new_enough() {
    let with = |version: Option<&str>| {
        let version = version.map(str::to_owned);
        after(|_, offer| offer.engine = version)
    };
    for good in ["4.2", "4.2.1", "4.10", "5.0"] {
        assert_eq!(with(Some(good)), [], "{good}");
    }
    for bad in [None, Some("4.1.1"), Some("3.17.1"), Some("unknown")] {
        assert_eq!(with(bad), [(Reason::Engine, true)], "{bad:?}");
    }
}

#[test]
fn processors_have_at_least_the_same_features() {
    let features = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        after(|_, offer| offer.machine.cpu_features = names)
    };
    assert_eq!(features(&["avx2", "avx512f", "sse"]), []);
    assert_eq!(features(&["sse"]), [(Reason::CpuFeature, true)]);
    let arm = after(|_, offer| {
        offer.machine.architecture = "aarch64".to_owned();
        offer.machine.cpu_features.clear();
    });
    assert_eq!(arm, [(Reason::Architecture, true)], "features of another kind tell nothing");
}

#[test]
fn an_older_kernel_is_told_but_may_do() {
    let kernel = |release: &str| {
        let release = release.to_owned();
        after(|_, offer| offer.machine.kernel = release)
    };
    assert_eq!(kernel("6.1.0-18-cloud-amd64"), [(Reason::Kernel, false)]);
    assert_eq!(kernel("5.19"), [(Reason::Kernel, false)]);
    for as_new in ["6.18.0", "6.19", "7.0", "unknown"] {
        assert_eq!(kernel(as_new), [], "{as_new}");
    }
}

#[test]
fn memory_suffices() {
    assert_eq!(after(|_, offer| offer.free_memory = 4_999_999), [(Reason::Memory, true)]);
    assert_eq!(after(|_, offer| offer.free_memory = 5_000_000), []);
}

#[test]
fn ids_of_processes_and_threads_are_free() {
    assert_eq!(after(|_, offer| offer.taken_pids = [8].into()), [(Reason::PidTaken, true)]);
    assert_eq!(after(|_, offer| offer.taken_pids = [107].into()), [(Reason::PidTaken, true)]);
}

#[test]
fn ports_are_free() {
    let needs = Needs::from(&inventory()).endpoints;
    assert_eq!(needs.len(), 1);
    let found = after(|_, offer| offer.taken_endpoints = needs.clone());
    assert_eq!(found, [(Reason::PortTaken, true)]);
}

#[test]
fn home_s_addresses_become_the_host_s() {
    let mut at_home = inventory();
    at_home.sockets.inet[0].local = "192.0.2.1:80".parse().unwrap();
    assert_eq!(Needs::from(&at_home), Needs::from(&inventory()));
    at_home.sockets.inet[0].local = "127.0.0.1:80".parse().unwrap();
    assert_ne!(Needs::from(&at_home), Needs::from(&inventory()));
}

#[test]
fn files_are_the_same_on_both() {
    let libc = "/usr/lib/libc.so.6";
    let there = |kind, sha256: Option<&str>| {
        let there = FileThere { kind, sha256: sha256.map(str::to_owned) };
        after(|_, offer| {
            offer.files.insert(libc.to_owned(), there);
        })
    };
    assert_eq!(there(FileKind::File, Some("ba78")), []);
    assert_eq!(there(FileKind::File, Some("0000")), [(Reason::DifferentFile, true)]);
    assert_eq!(there(FileKind::File, None), [(Reason::DifferentFile, true)]);
    assert_eq!(there(FileKind::Folder, None), [(Reason::DifferentFile, true)]);
    let gone = |path: &'static str| after(|_, offer| drop(offer.files.remove(path)));
    assert_eq!(gone(libc), [(Reason::MissingFile, true)]);
    assert_eq!(gone("/srv"), [(Reason::MissingFile, true)]);
    let unread = after(|inventory, _| inventory.files[0].sha256 = None);
    assert_eq!(unread, [(Reason::DifferentFile, true)], "not known is not the same");
}

#[test]
fn files_that_go_along_need_not_be_there() {
    let found = after(|inventory, _| {
        for change in [
            |file: &mut UsedFile| file.deleted = true,
            |file: &mut UsedFile| file.temporary = true,
            |file: &mut UsedFile| file.kind = FileKind::HarmlessDevice,
            |file: &mut UsedFile| file.kind = FileKind::Kernel,
        ] {
            let mut file = open_file("/some/file", FileKind::File);
            change(&mut file);
            inventory.files.push(file);
        }
    });
    assert_eq!(found, []);
}

#[test]
fn the_cure_of_a_missing_file_is_what_can_be_done() {
    let mut here = inventory();
    here.files = vec![
        open_file("/srv/page", FileKind::File),
        UsedFile { written: true, ..open_file("/var/log/web", FileKind::File) },
        UsedFile { folder_of: vec![8], ..file("/srv", FileKind::Folder) },
    ];
    let offer = Offer { files: Default::default(), ..offer() };
    let found = misfits(&here, &offer, "c");
    let cures: Vec<&str> = found.iter().map(|obstacle| obstacle.cure.as_str()).collect();
    assert!(cures[0].contains("rsync") && cures[0].contains("/srv/page c:/"), "{cures:?}");
    assert!(cures[1].contains("both machines"), "{cures:?}");
    assert_eq!(cures[2], "make /srv on c");
    assert!(found[0].what.contains("process 8 (worker)"), "{found:?}");
}

proptest! {
    /// What the machine has beyond the needs changes nothing, and each thing that
    /// is taken away is one more obstacle.
    #[test]
    fn more_never_harms_and_less_never_helps(
        features in prop::collection::btree_set("[a-z]{3}", 0..6),
        lacking in prop::collection::btree_set("[a-z]{3}", 0..6),
        more_memory in 0u64..1_000_000,
    ) {
        let (mut here, mut there) = (inventory(), offer());
        here.machine.cpu_features = features.iter().cloned().collect();
        let has = features.difference(&lacking).chain(["zzzz".to_owned()].iter()).cloned().collect();
        there.machine.cpu_features = has;
        there.free_memory += more_memory;
        let found = misfits(&here, &there, "c");
        let missing: Vec<&String> = features.intersection(&lacking).collect();
        prop_assert_eq!(found.is_empty(), missing.is_empty());
        for feature in missing {
            prop_assert!(found[0].what.contains(feature.as_str()));
        }
    }
}
