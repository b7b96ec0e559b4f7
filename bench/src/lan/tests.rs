use std::{
    fs,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use nix::sched::sched_getaffinity;

use super::*;
use crate::{
    load::{HomeLoad, HomePressure, processes, processor_time::tests::busy_while_there},
    processor,
    route::tests::is_root,
};

const WIRE_LIKE: Wire = Wire { rate: None, offloads: false, xdp: true };

/// Waits long for the answer: others may have the processor.
fn ping(netns: &Netns, addr: Ipv4Addr) -> Result<String> {
    netns.run("ping", &format!("-c 1 -W 20 {addr}"))
}

/// A lab with a processor for home; none on a machine, or for a user, that has not
/// what it takes.
fn placed() -> Option<(Placement, Lan)> {
    if !is_root() {
        return None;
    }
    let Ok(placement) = Placement::new(processor::last().unwrap()) else {
        eprintln!("skipped: one processor");
        return None;
    };
    let lan = Lan::placed(&WIRE_LIKE, &placement).unwrap();
    Some((placement, lan))
}

fn everyone_reaches_everyone(lan: &Lan) {
    for (netns, name, ..) in lan.hosts() {
        for (_, other, addr, _) in lan.hosts() {
            let answer = ping(netns, addr);
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
    let _alone = processor::tests::alone();
    let Some((placement, lan)) = placed() else { return };
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
    // One after the other, so that it has nothing to do in between.
    (0..20).for_each(|_| drop(ping(&lan.peer, HOME).unwrap()));
    assert!(naps(*receiver) >= before + 10, "{before} and then {}", naps(*receiver));
}

/// A moment in which something is measured.
const MOMENT: Duration = Duration::from_millis(500);

/// Sends from the peer to the host for a moment, past home; bytes a second.
fn send_past_home(lan: &Lan) -> f64 {
    const PORT: u16 = 5000;
    let listener = lan.host.enter(|| Ok(TcpListener::bind((HOST, PORT))?)).unwrap();
    let (listener, host) = (&listener, &lan.host);
    thread::scope(|scope| {
        let receive = move || {
            let (mut connection, _) = listener.accept()?;
            Ok(io::copy(&mut connection, &mut io::sink())?)
        };
        let received = scope.spawn(move || host.enter(receive).unwrap());
        let start = Instant::now();
        let send = || {
            let mut connection = TcpStream::connect((HOST, PORT))?;
            while start.elapsed() < MOMENT {
                connection.write_all(&[0; 65_536])?;
            }
            Ok(())
        };
        lan.peer.enter(send).unwrap();
        received.join().unwrap() as f64 / start.elapsed().as_secs_f64()
    })
}

#[test]
fn a_shaped_wire_is_no_faster_than_it_should_be() {
    if !is_root() {
        return;
    }
    let lan = Lan::new(&Wire { rate: Some(100), offloads: false, xdp: false }).unwrap();
    // Of each 1,538 bytes on the wire 1,448 are payload, and a burst of ten
    // frames may come on top of it.
    let most = 100e6 / 8.0 * 1448.0 / 1538.0 + 14_480.0 / MOMENT.as_secs_f64();
    let seen = send_past_home(&lan);
    assert!(seen <= most, "{seen} bytes a second of {most}");
    assert!(seen > most / 100.0, "{seen} bytes a second of {most}");
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

/// Waits until two programs spin at home: started is not yet become what they shall be.
fn wait_for_two(lan: &Lan) {
    let home = lan.home.id().unwrap();
    let is_shell = |id: &u32| {
        fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "sh")
    };
    while processes::of(home).unwrap().iter().filter(|id| is_shell(id)).count() < 2 {
        thread::sleep(Duration::from_millis(10));
    }
}

/// The share of home's processor that is busy with what does not come to home; none if
/// others had work there before, or after.
fn busy_past_home(placement: &Placement, lan: &Lan) -> Option<f64> {
    let others = || busy_while_there(placement.home, || thread::sleep(MOMENT));
    let before = others();
    let past = busy_while_there(placement.home, || {
        send_past_home(lan);
    });
    let strangers = before.max(others());
    if strangers < 0.05 {
        return Some(past);
    }
    eprintln!("others use {strangers:.2} of processor {}", placement.home);
    None
}

#[test]
fn home_is_busy_with_homes_work_alone() {
    let _alone = processor::tests::alone();
    let Some((placement, lan)) = placed() else { return };
    match (0..20).find_map(|_| busy_past_home(&placement, &lan)) {
        Some(past) => {
            assert!(past < 0.2, "{past} of home's processor for what does not come to home");
        }
        None => eprintln!("not tried: others have work there all the time"),
    }
    let load = HomeLoad::start(&lan.home, &placement).unwrap();
    thread::sleep(MOMENT);
    assert_eq!(load.finish().unwrap(), 0.0);

    let _spinning = [Spinning::start(&lan), Spinning::start(&lan)];
    wait_for_two(&lan);
    let pressure = HomePressure::start(&lan.home).unwrap();
    let load = HomeLoad::start(&lan.home, &placement).unwrap();
    let spinning = busy_while_there(placement.home, || thread::sleep(MOMENT));
    assert!(spinning > 0.9, "{spinning} of home's processor with programs that spin");
    // Two on one processor: there is always one that waits.
    let (load, share) = (load.finish().unwrap(), pressure.share().unwrap());
    assert!((1.8..=2.0).contains(&load), "{load}");
    assert!(share > 0.8, "{share}");
}
