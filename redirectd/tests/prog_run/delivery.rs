//! The end of a delivery, while packets come: when it is over, nothing is held, nor on its
//! way to being held.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, PerCpuArray};
use redirectd::{dataplane::Dataplane as _, rule::Protocol};

use crate::{
    capture::Capture,
    frame::TTL,
    home::{Entry, Fate, Home, TABLES, at_entry},
    moving::{abort, add, begin, commit, data, held, park, process},
    network::{FAMILIES, V4},
    table::Row,
    talk::{HOST_PORT, Talk},
};

/// How many packets were asked whether they are held, on all processors; each has got its
/// answer.
fn answered(home: &Home) -> u64 {
    let pin = home.options.pin_dir.join("BETWEEN");
    let map = Map::PerCpuArray(MapData::from_pin(pin).expect("it is pinned"));
    let steps = PerCpuArray::<_, u64>::try_from(map).expect("it is one for each processor");
    let steps = steps.get(&0, 0).expect("it can be read");
    assert!(steps.iter().all(|steps| steps % 2 == 0), "one is still between: {steps:?}");
    steps.iter().sum::<u64>() / 2
}

/// Whatever becomes of them.
#[test]
fn each_packet_that_is_asked_gets_its_answer() {
    at_entry(Entry::Tc, TABLES, |home| {
        for family in FAMILIES {
            add(home, &process(&family, family.host));
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            let there = Talk { host: (family.second, HOST_PORT).into(), ..talk };
            home.table(&talk.opening());
            let frame = data(&talk)(talk.peer_sends());

            let group = begin(home, &family, family.host, family.second);
            home.table(&[talk.reaches_host("not parked", data(&talk)).by_xdp()]);
            let none = answered(home);
            home.bpf.group_park(group).expect("it has begun");
            home.table(&[held("held", &frame)]);
            assert_eq!(answered(home), none + 1);
            let large = data(&talk)(talk.peer_sends()).data(&[7; 1_400]).bytes();
            let fits = ((TABLES.held_mib as usize) << 20) / large.len();
            for _ in 0..fits {
                assert_eq!(home.receive_uncounted(&large), Fate::Dropped);
            }
            home.table(&[Row::dropped(
                "no room",
                &talk.peer_sends().data(&[7; 1_400]),
                "park_overflow",
            )]);
            let many = none + fits as u64 + 2;
            assert_eq!(answered(home), many);
            assert_eq!(commit(home, group).lost, 0);
            // What was held has come again; and whose flow has to follow is asked twice.
            let all = answered(home);
            assert!(all > many + fits as u64, "{all}");
            home.table(&[there.reaches_host("no group any more", data(&talk)).by_xdp()]);
            assert_eq!(answered(home), all);
        }
    });
}

/// Datagrams come on another processor all the while. Each that is held is delivered by the
/// end of its delivery, in order. (They are held too quickly for one to be on its way there
/// as that ends; batches of segments are not, see `netns/parked_tcp`.)
#[test]
fn nothing_is_left_that_comes_as_the_delivery_ends() {
    const MOVES: u16 = 400;
    /// What there is room for, whoever keeps the delivery from its processor meanwhile.
    const MOST: usize = 500;
    at_entry(Entry::Tc, TABLES, |home| {
        add(home, &process(&V4, V4.host));
        let talk = Talk::new(Protocol::Udp, &V4, 40_000);
        home.table(&talk.opening());
        let payload = |number: u32| [&number.to_be_bytes()[..], &[7; 1_300]].concat();
        let mut capture = Capture::towards(V4.host);
        let mut number = 0;
        for turn in 0..MOVES {
            let group = park(home, &V4, V4.host, V4.second);
            let entry = home.front_entry();
            let (sent, ended) = (AtomicU32::new(0), AtomicBool::new(false));
            let held = thread::scope(|scope| {
                let coming = scope.spawn(|| {
                    let mut held = Vec::new();
                    while !ended.load(Ordering::Relaxed) {
                        if held.len() == MOST {
                            thread::yield_now();
                            continue;
                        }
                        let frame = talk.peer_sends().data(&payload(number)).bytes();
                        if entry.receive(&frame) == Fate::Dropped {
                            held.push(number);
                        }
                        number += 1;
                        sent.fetch_add(1, Ordering::Relaxed);
                        // Slower than they are delivered, and never in step with that.
                        let pause = Instant::now();
                        while pause.elapsed() < Duration::from_micros(u64::from(20 + turn % 97)) {}
                    }
                    held
                });
                while sent.load(Ordering::Relaxed) < 3 {
                    thread::yield_now();
                }
                assert_eq!(abort(home, group).lost, 0);
                ended.store(true, Ordering::Relaxed);
                coming.join().expect("it sends")
            });
            let arrives = |number| talk.host_gets().data(&payload(number)).ttl(TTL - 1).bytes();
            let expected: Vec<_> = held.into_iter().map(arrives).collect();
            assert!(capture.frames(expected.len()) == expected, "others, or in another order");
        }
    });
}
