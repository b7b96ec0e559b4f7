//! Each class of obstacle, on paper.

use super::*;
use crate::process::{
    fixture::{inventory, open_file, shared_memory, socket, stranger},
    inventory::Pipe,
    sockets::{OtherSocket, UnixPeer, UnixSocket},
};

/// What is in the way once `change` was made: reasons, and whether they stop it.
fn after(change: impl FnOnce(&mut Inventory)) -> Vec<(Reason, bool)> {
    let mut inventory = inventory();
    change(&mut inventory);
    let found = obstacles(&inventory);
    for obstacle in &found {
        let process = format!("process {} (", obstacle.pid);
        assert!(obstacle.what.contains(&process), "names the process: {obstacle:?}");
        assert!(!obstacle.cure.is_empty() && !obstacle.what.ends_with('.'), "{obstacle:?}");
    }
    found.iter().map(|obstacle| (obstacle.reason, obstacle.stops)).collect()
}

const HELD: fn() -> Vec<Holder> = || vec![Holder { pid: 8, fd: 5 }];

fn unix_peer(name: &str, stranger: bool) -> UnixSocket {
    let peer = UnixPeer { inode: 3, name: Some(name.to_owned()), stranger, held_by: Vec::new() };
    UnixSocket { inode: 2, holders: HELD(), name: None, datagram: false, peer: Some(peer) }
}

#[test]
fn a_plain_server_has_none() {
    assert_eq!(after(|_| {}), []);
}

#[test]
fn what_all_of_it_is_can_stop_it() {
    let init = |i: &mut Inventory| (i.processes[0].pid, i.processes[0].session) = (1, 1);
    assert_eq!(after(init), [(Reason::Init, true)]);
    assert_eq!(after(|i| i.asker = Some(8)), [(Reason::Asker, true)]);
    assert_eq!(after(|i| i.processes[1].tracer = Some(50)), [(Reason::Debugger, true)]);
    assert_eq!(after(|i| i.incomplete = true), [(Reason::Incomplete, false)]);
}

#[test]
fn a_session_or_namespace_may_have_others() {
    assert_eq!(after(|i| i.processes[0].session = 3), [(Reason::Session, false)]);
    let elsewhere = |kinds: &[&str], change: fn(&mut Inventory)| {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        after(|i| {
            i.namespaces.elsewhere = kinds;
            change(i);
        })
    };
    assert_eq!(elsewhere(&["net", "uts", "ipc"], |_| {}), []);
    assert_eq!(elsewhere(&["user"], |_| {}), [(Reason::Namespace, true)]);
    assert_eq!(elsewhere(&["mnt"], |_| {}), [(Reason::Namespace, false)]);
    assert_eq!(elsewhere(&["pid"], |_| {}), [(Reason::Namespace, true)], "not the first there");
    assert_eq!(elsewhere(&["pid"], |i| i.processes[0].threads[0] = 1), []);
    assert_eq!(after(|i| i.namespaces.nested = Some(8)), [(Reason::Namespace, true)]);
}

#[test]
fn multipath_tcp_cannot_be_saved() {
    assert_eq!(after(|i| i.sockets.inet[0].multipath = true), [(Reason::MultipathTcp, true)]);
    let mut with = inventory();
    with.sockets.inet[0].multipath = true;
    let obstacle = obstacles(&with).remove(0);
    assert!(obstacle.what.contains("0.0.0.0:80") && obstacle.cure.contains("GODEBUG"));
}

#[test]
fn loopback_means_another_machine_elsewhere() {
    let with = |local, remote| after(|i| i.sockets.inet.push(socket(local, remote)));
    assert_eq!(with("127.0.0.1:81", None), [(Reason::LocalAddress, false)]);
    assert_eq!(with("127.0.0.1:9", Some("127.0.0.1:5432")), [(Reason::LocalAddress, true)]);
    assert_eq!(with("[fe80::1]:9", Some("[fe80::2]:5432")), [(Reason::LocalAddress, true)]);
    assert_eq!(with("192.0.2.1:9", Some("198.51.100.7:5432")), []);
    // Both ends go.
    assert_eq!(with("127.0.0.1:9", Some("127.0.0.1:80")), []);
}

#[test]
fn sockets_of_other_protocols_are_saved_or_not() {
    let with = |protocol: &str| {
        let protocol = protocol.to_owned();
        after(|i| i.sockets.other.push(OtherSocket { inode: 2, holders: HELD(), protocol }))
    };
    for saved in ["NETLINK", "TCP", "UDPv6", "UDP-Lite", "UNIX-STREAM", "PING"] {
        assert_eq!(with(saved), [], "{saved}");
    }
    for lost in ["PACKET", "RAWv6"] {
        assert_eq!(with(lost), [(Reason::SocketProtocol, false)], "{lost}");
    }
    for stops in ["AF_VSOCK", "MPTCP", "XDP"] {
        assert_eq!(with(stops), [(Reason::SocketProtocol, true)], "{stops}");
    }
}

#[test]
fn the_other_ends_of_unix_sockets_and_pipes_may_stay() {
    let unix = |stranger| after(|i| i.sockets.unix.push(unix_peer("/run/log", stranger)));
    assert_eq!(unix(true), [(Reason::UnixSocket, true)]);
    assert_eq!(unix(false), []);
    let log = UnixSocket { datagram: true, ..unix_peer("/dev/log", true) };
    assert_eq!(after(|i| i.sockets.unix.push(log)), [(Reason::UnixSocket, false)]);
    let pipe = |strangers: &[Stranger]| {
        let strangers = strangers.to_vec();
        after(|i| i.pipes.push(Pipe { inode: 2, holders: HELD(), strangers }))
    };
    assert_eq!(pipe(&[stranger()]), [(Reason::Pipe, false)]);
    assert_eq!(pipe(&[]), []);
}

#[test]
fn a_service_s_journal_has_a_cure_of_its_own() {
    let mut with = inventory();
    with.sockets.unix.push(unix_peer("/run/systemd/journal/stdout", true));
    let obstacle = obstacles(&with).remove(0);
    assert!(obstacle.cure.contains("StandardOutput="), "{obstacle:?}");
}

#[test]
fn devices_stay_and_so_do_terminals_of_others() {
    let at = |path: &str, kinds: &[FileKind]| {
        after(|i| i.files.extend(kinds.iter().map(|kind| open_file(path, *kind))))
    };
    let with = |kinds| at("/dev/x", kinds);
    assert_eq!(with(&[FileKind::Device]), [(Reason::Device, true)]);
    assert_eq!(with(&[FileKind::HarmlessDevice]), []);
    assert_eq!(with(&[FileKind::Terminal]), [(Reason::Terminal, true)]);
    let both = [FileKind::Terminal, FileKind::TerminalMaster];
    assert_eq!(with(&both), []);
    assert_eq!(at("/dev/tty", &both), [(Reason::Terminal, true)], "not by this name");
}

#[test]
fn a_deleted_file_goes_along_and_a_renamed_one_does_not() {
    let with = |elsewhere| {
        let file = open_file("/srv/x", FileKind::File);
        after(|i| i.files.push(UsedFile { deleted: true, elsewhere, ..file }))
    };
    assert_eq!(with(false), []);
    assert_eq!(with(true), [(Reason::RenamedFile, true)]);
}

#[test]
fn memory_is_in_the_way_if_strangers_see_what_is_written() {
    let with = |change: fn(&mut SharedMemory)| {
        let mut memory = shared_memory("/dev/shm/x");
        change(&mut memory);
        after(|i| i.memory.shared.push(memory))
    };
    assert_eq!(with(|_| {}), [], "between parent and child");
    assert_eq!(with(|m| m.strangers.push(stranger())), [(Reason::SharedMemory, true)]);
    let read_only = |m: &mut SharedMemory| {
        m.strangers.push(stranger());
        m.written = false;
    };
    assert_eq!(with(read_only), []);
    assert_eq!(with(|m| m.system_v = true), [(Reason::SystemVMemory, true)]);
    let in_its_own_namespace = |strangers| {
        let memory = SharedMemory { system_v: true, strangers, ..shared_memory("key") };
        after(|i| {
            i.namespaces.elsewhere.push("ipc".to_owned());
            i.memory.shared.push(memory);
        })
    };
    assert_eq!(in_its_own_namespace(vec![]), []);
    assert_eq!(in_its_own_namespace(vec![stranger()]), [(Reason::SharedMemory, true)]);
}

#[test]
fn objects_of_the_kernel_are_saved_or_not() {
    let with = |kind: &str| {
        let kind = kind.to_owned();
        after(|i| i.objects.push(KernelObject { kind, holders: HELD() }))
    };
    for saved in ["[eventpoll]", "[eventfd]", "[timerfd]", "inotify", "net"] {
        assert_eq!(with(saved), [], "{saved}");
    }
    for stops in [
        "[io_uring]",
        "[perf_event]",
        "bpf-map",
        "bpf-prog",
        "[userfaultfd]",
        "kvm-vm",
        "memfd_secret",
        PIDFD_OF_STRANGER,
    ] {
        assert_eq!(with(stops), [(Reason::KernelObject, true)], "{stops}");
    }
}

#[test]
fn what_stops_it_comes_first() {
    let found = after(|i| {
        i.incomplete = true;
        i.asker = Some(8);
    });
    assert_eq!(found, [(Reason::Asker, true), (Reason::Incomplete, false)]);
}

#[test]
fn many_strangers_are_counted_not_listed() {
    let all: Vec<Stranger> = (1..9).map(|pid| Stranger { pid, name: "a".to_owned() }).collect();
    assert_eq!(list(&all), "1 (a), 2 (a), 3 (a), 4 (a), 5 (a) and 3 more");
    assert_eq!(list(&all[..2]), "1 (a), 2 (a)");
}
