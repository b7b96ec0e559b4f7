use std::fs;

use nix::sched::sched_getaffinity;

use super::*;
use crate::{processor, route::tests::is_root};

const WIRE_LIKE: Wire = Wire { rate: None, offloads: false, xdp: true };

fn everyone_reaches_everyone(lan: &Lan) {
    for (netns, name, ..) in lan.hosts() {
        for (_, other, addr, _) in lan.hosts() {
            let answer = netns.run("ping", &format!("-c 1 -W 2 {addr}"));
            assert!(answer.is_ok(), "{name} → {other}: {answer:?}");
        }
    }
}

#[test]
fn every_wire_connects_all() {
    if !is_root() {
        return;
    }
    for rate in [None, Some(100)] {
        for offloads in [false, true] {
            let lan = Lan::new(&Wire { rate, offloads, xdp: !offloads }).unwrap();
            everyone_reaches_everyone(&lan);
            assert!(lan.bytes_into_home().unwrap() > 0);
        }
    }
}

/// How often a thread has waited for work.
fn naps(thread: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn home_has_a_processor_for_itself() {
    if !is_root() {
        return;
    }
    let Ok(placement) = Placement::new(processor::last().unwrap()) else {
        eprintln!("skipped: one processor");
        return;
    };
    let lan = Lan::placed(&WIRE_LIKE, &placement).unwrap();
    everyone_reaches_everyone(&lan);

    let allowed = |netns: &Netns| {
        let text = netns.run("grep", "Cpus_allowed_list /proc/self/status").unwrap();
        text.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(allowed(&lan.home), placement.home.to_string());
    assert!(
        lan.home
            .enter(|| Ok(sched_getaffinity(Pid::from_raw(0))?.is_set(placement.home)?))
            .unwrap()
    );
    for other in [&lan.peer, &lan.host] {
        let inside = || Ok(sched_getaffinity(Pid::from_raw(0))?.is_set(placement.home)?);
        assert!(!other.enter(inside).unwrap());
        assert_ne!(allowed(other), placement.home.to_string());
    }

    // What comes to home is received by the thread, and there.
    let [receiver] = lan.receivers() else { panic!("{:?}", lan.receivers()) };
    assert_eq!(sched_getaffinity(*receiver).unwrap(), processor::set(&[placement.home]).unwrap());
    let before = naps(*receiver);
    lan.peer.run("ping", &format!("-c 20 -i 0.01 {HOME}")).unwrap();
    assert!(naps(*receiver) >= before + 15, "{before} and then {}", naps(*receiver));
}
