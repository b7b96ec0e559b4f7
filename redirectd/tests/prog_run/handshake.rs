//! TCP and UDP, both families, both directions: from the first packet to the last.

use redirectd::rule::Protocol;

use crate::{
    frame::{ACK, FIN, SYN},
    home::{at_home, redirect},
    network::FAMILIES,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

#[test]
fn tcp_opens_talks_and_closes() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&talk.opening());
            home.table(&[
                talk.to_host("a request", |f| f.flags(ACK).seq(101).ack(501).data(b"GET /\r\n"))
                    .by_xdp(),
                talk.to_peer("an answer", |f| f.flags(ACK).seq(501).ack(108).data(&[7; 1400]))
                    .by_xdp(),
                talk.to_host("the peer's FIN", |f| f.flags(FIN | ACK).seq(108).ack(1901)).by_xdp(),
                talk.to_peer("the host's FIN", |f| f.flags(FIN | ACK).seq(1901).ack(109)).by_xdp(),
                talk.to_host("the last ACK", |f| f.flags(ACK).seq(109).ack(1902)).by_xdp(),
                talk.to_host("the next SYN", |f| f.flags(SYN).seq(9_000)),
            ]);
        }
    });
}

#[test]
fn udp_is_asked_and_answers() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&redirect(Protocol::Udp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            home.table(&talk.opening());
            home.table(&[
                talk.to_host("the third question", |f| f.data(b"odd")).by_xdp(),
                talk.to_peer("the second answer", |f| f.data(b"even")).by_xdp(),
            ]);
        }
    });
}
