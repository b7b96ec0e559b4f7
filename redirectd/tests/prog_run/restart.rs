//! A daemon that goes and comes again: what is pinned is adopted, or refused if
//! it is of another version.

use aya::maps::{Array, HashMap, Map, MapData};
use redirectd::{
    dataplane::{Change, Dataplane as _, Removal},
    error::Kind,
    rule::{Flows, Protocol, Redirect},
};
use redirectd_ebpf::abi::{ABI_VERSION, Endpoint, Entry, Settings};

use crate::{
    frame::{ACK, Frame, SYN},
    home::{Home, at_home, redirect},
    network::FAMILIES,
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn data(frame: Frame) -> Frame {
    frame.flags(ACK).seq(101).ack(501).data(b"x")
}

#[test]
fn flows_and_redirects_are_adopted() {
    at_home(|home| {
        for family in FAMILIES {
            let rule = redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT));
            home.add(&Redirect { peers: vec![family.peer.into()], ..rule });
            let draining = redirect(Protocol::Tcp, (family.home, 81), (family.second, HOST_PORT));
            home.add(&draining);
            let open = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&open.opening());
            let half = Talk::new(Protocol::Tcp, &family, 40_001);
            home.table(&half.opening()[..2]);
            let drains = Talk {
                home: (family.home, 81).into(),
                host: (family.second, HOST_PORT).into(),
                ..Talk::new(Protocol::Tcp, &family, 40_002)
            };
            home.table(&drains.opening());
            home.apply(Change::Remove { redirect: draining, removal: Removal::Drain });

            let before = seen(home);
            home.restart().expect("it adopts its own");
            assert_eq!(before, seen(home));

            home.table(&half.opening()[2..]);
            home.table(&[
                open.reaches_host("an open flow", data).by_xdp(),
                open.reaches_peer("in both directions", data).by_xdp(),
                half.reaches_host("one that was half open", data).by_xdp(),
                drains.reaches_host("one that drains", data).by_xdp(),
            ]);
            home.table(&Talk::new(Protocol::Tcp, &family, 40_003).opening());
            let other = Talk {
                peer: (family.other_peer, 40_004).into(),
                ..Talk::new(Protocol::Tcp, &family, 40_004)
            };
            home.table(&[Row::passed("another peer", &other.peer_sends(), "other_peer")]);
        }
    });
}

/// No redirect names the old target any more; only the flows tell of it.
#[test]
fn flows_that_stay_with_a_former_target_are_adopted() {
    at_home(|home| {
        for family in FAMILIES {
            let from = redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT));
            let to = Redirect { target: family.second, flows: Flows::NewOnly, ..from.clone() };
            home.add(&from);
            let stays = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&stays.opening());
            home.apply(Change::Update { from, to });
            home.restart().expect("it adopts its own");
            home.table(&[
                stays.reaches_peer("from the former target", data).by_xdp(),
                stays.reaches_host("to the former target", data),
            ]);
        }
    });
}

/// What a daemon sees, in an order of its own.
fn seen(home: &Home) -> Vec<String> {
    let mut seen: Vec<String> = home
        .flows()
        .into_iter()
        .map(|flow| {
            // How long it has been idle changes while one looks.
            let idle = std::time::Duration::ZERO;
            format!("{:?}", redirectd::dataplane::FlowInfo { idle, ..flow })
        })
        .collect();
    let installed = home.bpf.installed().expect("they can be read");
    for installed in installed {
        let counters = home.bpf.counters(installed.slot).expect("they can be read");
        seen.push(format!("{installed:?} {counters:?}"));
    }
    seen.extend(home.bpf.tables().expect("they can be read").iter().map(|t| format!("{t:?}")));
    seen.sort();
    seen
}

#[test]
fn another_version_is_refused_and_left_alone() {
    at_home(|home| {
        let family = &FAMILIES[0];
        home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
        let talk = Talk::new(Protocol::Tcp, family, 40_000);
        home.table(&talk.opening());
        let before = seen(home);
        set_version(home, ABI_VERSION + 1);
        let error = home.restart().expect_err("it is of another version");
        assert_eq!(error.kind, Kind::Failed);
        let text = error.to_string();
        for part in [
            format!("version {}", ABI_VERSION + 1),
            format!("version {ABI_VERSION}"),
            "--uninstall".to_owned(),
        ] {
            assert!(text.contains(&part), "{text}");
        }
        // Packets flow on, whoever made the maps.
        home.table(&[talk.reaches_host("an open flow", data).by_xdp()]);
        set_version(home, ABI_VERSION);
        home.restart().expect("it adopts its own");
        home.table(&[talk.reaches_peer("in both directions", data).by_xdp()]);
        assert_eq!(before.len(), seen(home).len());
    });
}

/// 0 is what a start leaves that died before it had written its settings.
#[test]
fn settings_that_were_never_written_are_written() {
    at_home(|home| {
        let family = &FAMILIES[1];
        home.add(&redirect(Protocol::Udp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
        set_version(home, 0);
        let talk = Talk::new(Protocol::Udp, family, 40_000);
        home.table(&[Row::passed("nothing is opened", &talk.peer_sends(), "not_ready")]);
        home.restart().expect("it adopts its own");
        home.table(&talk.opening());
    });
}

/// Writes another version into the pinned settings.
fn set_version(home: &Home, version: u32) {
    let pin = home.options.pin_dir.join("SETTINGS");
    let map = Map::Array(MapData::from_pin(pin).expect("it is pinned"));
    let mut settings = Array::<_, Settings>::try_from(map).expect("it is an array");
    let present = settings.get(&0, 0).expect("it can be read");
    settings.set(0, Settings { abi_version: version, ..present }, 0).expect("it can be written");
}

/// A daemon that died between two steps of a change: an endpoint that nobody has
/// is still entered, and one that a redirect has is not yet.
#[test]
fn a_change_that_was_left_half_done_is_finished() {
    at_home(|home| {
        let family = &FAMILIES[0];
        home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
        let pin = home.options.pin_dir.join("REDIRECTS4");
        let map = Map::HashMap(MapData::from_pin(pin).expect("it is pinned"));
        let mut map = HashMap::<_, Endpoint<u32>, Entry>::try_from(map).expect("it is a hash map");
        let (endpoint, entry) = map.iter().next().expect("one is there").expect("it can be read");
        map.remove(&endpoint).expect("it can be removed");
        let other = Endpoint { port: 81_u16.to_be(), ..endpoint };
        map.insert(other, entry, 0).expect("it can be written");

        home.restart().expect("it adopts its own");
        home.table(&Talk::new(Protocol::Tcp, family, 40_000).opening());
        let nobodys =
            Talk { home: (family.home, 81).into(), ..Talk::new(Protocol::Tcp, family, 40_001) };
        let syn = nobodys.peer_sends().flags(SYN);
        home.table(&[Row::passed("nobody's", &syn, "no_redirect")]);
    });
}
