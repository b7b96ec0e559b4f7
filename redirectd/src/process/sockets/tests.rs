//! Which sockets are the tree's, and what an endpoint takes.

use super::*;

fn endpoint(text: &str) -> Endpoint {
    let (protocol, at) = text.split_once(' ').unwrap();
    Endpoint {
        protocol: protocol.parse().unwrap(),
        at: at.replace('*', "[::]").parse().unwrap(),
        both_families: at.starts_with('*'),
    }
}

fn diag(inode: u64, local: &str, remote: Option<&str>) -> diag::Inet {
    let Endpoint { protocol, at: local, both_families } = endpoint(local);
    let remote = remote.map(|remote| remote.parse().unwrap());
    let listening = protocol == Protocol::Tcp && remote.is_none();
    diag::Inet { inode, protocol, local, remote, listening, both_families, unaccepted: 0 }
}

#[test]
fn an_endpoint_takes_what_is_sent_to_its_port_in_its_families() {
    for (takes, own, sent) in [
        (true, "tcp 192.0.2.1:80", "tcp 192.0.2.1:80"),
        (false, "tcp 192.0.2.1:80", "tcp 192.0.2.2:80"),
        (false, "tcp 192.0.2.1:80", "tcp 192.0.2.1:81"),
        (false, "tcp 192.0.2.1:80", "udp 192.0.2.1:80"),
        (true, "tcp 0.0.0.0:80", "tcp 192.0.2.1:80"),
        (false, "tcp 0.0.0.0:80", "tcp [2001:db8::1]:80"),
        (true, "udp [::]:53", "udp [2001:db8::1]:53"),
        (false, "udp [::]:53", "udp 192.0.2.1:53"),
        (true, "udp *:53", "udp 192.0.2.1:53"),
        (true, "udp *:53", "udp [2001:db8::1]:53"),
    ] {
        let sent = endpoint(sent);
        assert_eq!(endpoint(own).takes(sent.protocol, sent.at), takes, "{own} of {sent}");
    }
}

#[test]
fn endpoints_meet_where_one_packet_is_for_both() {
    for (meet, one, other) in [
        (true, "tcp 0.0.0.0:80", "tcp 192.0.2.1:80"),
        (true, "tcp *:80", "tcp 0.0.0.0:80"),
        (true, "tcp *:80", "tcp [::]:80"),
        (false, "tcp [::]:80", "tcp 0.0.0.0:80"),
        (false, "tcp [::]:80", "tcp 192.0.2.1:80"),
        (false, "tcp *:80", "udp *:80"),
        (false, "tcp *:80", "tcp *:81"),
    ] {
        assert_eq!(endpoint(one).meets(&endpoint(other)), meet, "{one} and {other}");
        assert_eq!(endpoint(other).meets(&endpoint(one)), meet, "{other} and {one}");
    }
}

#[test]
fn sockets_are_told_apart_by_who_holds_them() {
    let unix = |inode, name: &str, peer| {
        let name = (!name.is_empty()).then(|| name.to_owned());
        (inode, diag::Unix { inode, name, datagram: false, peer })
    };
    let seen = Seen {
        inet: vec![
            diag(10, "tcp 0.0.0.0:80", None),
            diag(11, "tcp 192.0.2.1:80", Some("198.51.100.7:5000")),
            // Accepted by nobody yet.
            diag(0, "tcp 192.0.2.1:80", Some("198.51.100.8:5000")),
            diag(20, "tcp *:80", None),
            diag(21, "tcp *:81", None),
        ],
        unix: [unix(12, "/run/a", None), unix(13, "", Some(22)), unix(22, "/run/log", Some(13))]
            .into(),
    };
    let holders: BTreeMap<u64, Vec<Holder>> =
        (10..15).map(|inode| (inode, vec![Holder { pid: 7, fd: inode as i32 }])).collect();
    let kinds = (10..15)
        .map(|inode| (inode, if inode == 10 { "MPTCP" } else { "PACKET" }.to_owned()))
        .collect();
    let sockets = sort(seen, &holders, &kinds);
    let inodes: Vec<_> = sockets.inet.iter().map(|s| (s.inode, s.multipath)).collect();
    assert_eq!(inodes, [(10, true), (11, false)]);
    let [named, connected] = sockets.unix.try_into().unwrap();
    assert_eq!((named.inode, named.name.as_deref()), (12, Some("/run/a")));
    let peer = connected.peer.unwrap();
    assert_eq!((peer.name.as_deref(), peer.stranger), (Some("/run/log"), true));
    let [other] = sockets.other.try_into().unwrap();
    assert_eq!((other.inode, other.protocol.as_str()), (14, "PACKET"));
    assert_eq!(sockets.strangers, [endpoint("tcp *:80")], "port 81 is none of the tree's");
}
