use std::{
    fs,
    net::SocketAddr,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use nix::sched::sched_getaffinity;

use super::*;
use crate::{
    load::{HomeCpu, HomeLoad, HomePressure},
    processor,
    route::tests::is_root,
};

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
pub(crate) fn naps(thread: Pid) -> u64 {
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

/// A moment in which something is measured.
const MOMENT: Duration = Duration::from_millis(500);

/// The share of `processor` that is busy while `meanwhile` runs.
fn busy<T>(processor: usize, meanwhile: impl FnOnce() -> T) -> f64 {
    let cpu = HomeCpu::start(processor).unwrap();
    meanwhile();
    cpu.busy().unwrap()
}

/// Sends from the peer to the host for a moment, past home.
fn send_past_home(lan: &Lan) {
    const PORT: u16 = 5000;
    let listen = || Ok(std::net::TcpListener::bind((HOST, PORT))?);
    let listener = lan.host.enter(listen).unwrap();
    let (listener, host) = (&listener, &lan.host);
    thread::scope(|scope| {
        let receive = move || {
            let (mut connection, _) = listener.accept()?;
            Ok(std::io::copy(&mut connection, &mut std::io::sink())?)
        };
        let received = scope.spawn(move || host.enter(receive).unwrap());
        let send = || {
            let mut connection = std::net::TcpStream::connect(SocketAddr::from((HOST, PORT)))?;
            let start = Instant::now();
            while start.elapsed() < MOMENT {
                std::io::Write::write_all(&mut connection, &[0; 65_536])?;
            }
            Ok(())
        };
        lan.peer.enter(send).unwrap();
        assert!(received.join().unwrap() > 1_000_000);
    });
}

/// A program; ended when dropped.
struct Spinning(Child);

impl Spinning {
    fn start(lan: &Lan) -> Self {
        Self(lan.home.command("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn home_is_busy_with_homes_work_alone() {
    if !is_root() {
        return;
    }
    let Ok(placement) = Placement::new(processor::last().unwrap()) else {
        eprintln!("skipped: one processor");
        return;
    };
    let lan = Lan::placed(&WIRE_LIKE, &placement).unwrap();
    let others = busy(placement.home, || thread::sleep(MOMENT));
    if others < 0.05 {
        let past = busy(placement.home, || send_past_home(&lan));
        assert!(past < 0.2, "{past} of home's processor for what does not come to home");
    } else {
        eprintln!("not tried: others use {others:.2} of processor {}", placement.home);
    }
    let load = HomeLoad::start(&lan.home, &placement).unwrap();
    thread::sleep(MOMENT);
    assert_eq!(load.finish().unwrap(), 0.0);

    let _spinning = [Spinning::start(&lan), Spinning::start(&lan)];
    // They have to become what they shall be.
    thread::sleep(MOMENT);
    let pressure = HomePressure::start(&lan.home).unwrap();
    let load = HomeLoad::start(&lan.home, &placement).unwrap();
    let spinning = busy(placement.home, || thread::sleep(MOMENT));
    assert!(spinning > 0.9, "{spinning} of home's processor with programs that spin");
    // Two on one processor: there is always one that waits.
    let (load, share) = (load.finish().unwrap(), pressure.share().unwrap());
    assert!((1.8..=2.0).contains(&load), "{load}");
    assert!(share > 0.8, "{share}");
}
