//! The TCP connections in a process's images: `files.img` has their names and states, and for
//! each, `tcp-stream-*.img` how far both sides had come.

use super::{
    file::{Image, Malformed},
    sockets::{self, Connection},
    wire::{self, Value},
};

/// Fields of `inet_sk_entry`.
const INODE: u32 = 2;
const STATE: u32 = 6;
/// Fields of `tcp_stream_entry`.
const RECEIVED: u32 = 2;
const SENT: u32 = 4;
const UNSENT: u32 = 12;

/// States of the kernel's `net/tcp_states.h` in which the peer has a connection, or may have:
/// `TCP_ESTABLISHED`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2`, `TCP_CLOSE_WAIT`, `TCP_LAST_ACK` and
/// `TCP_CLOSING`. What only begins, the peer tries again by itself.
const OPEN: [u64; 6] = [1, 4, 5, 8, 9, 11];

/// A TCP connection that was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its names.
    pub connection: Connection,
    /// The number in the name of its own image: `tcp-stream-` and this in hexadecimal.
    pub image: u32,
}

/// How far a TCP connection had come, in sequence numbers (RFC 9293, section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The next one to be sent, behind all that was sent: the end of the connection, too, if
    /// that was.
    pub next: u32,
    /// The next one that is due from the peer.
    pub due: u32,
}

/// The TCP connections in `image`, a `files.img`, that peers know of.
///
/// # Errors
/// It is no such image.
pub fn open(image: &[u8]) -> Result<Vec<Written>, Malformed> {
    let mut open = Vec::new();
    for record in Image::Files.records(image)? {
        for field in wire::fields(record)? {
            let Some(message) = sockets::inet_socket(&field)? else { continue };
            let fields = wire::fields(message)?;
            let Some(connection) = sockets::socket(&fields)?.connection() else { continue };
            let is_tcp = i32::from(connection.protocol) == libc::IPPROTO_TCP;
            if is_tcp && OPEN.contains(&sockets::number(&fields, STATE)?) {
                let image = u32::try_from(sockets::number(&fields, INODE)?)
                    .map_err(|_| Malformed("the number of a socket has more than 32 bits"))?;
                open.push(Written { connection, image });
            }
        }
    }
    Ok(open)
}

/// How far the connection in `image`, a `tcp-stream-*.img`, had come.
///
/// # Errors
/// It is no such image.
pub fn reached(image: &[u8]) -> Result<Reached, Malformed> {
    let (record, _queues) = Image::Stream.first_record(image)?;
    let (mut due, mut written, mut unsent) = (None, None, 0);
    for field in wire::fields(record)? {
        let Value::Number(number) = field.value else { continue };
        let number = || {
            u32::try_from(number)
                .map_err(|_| Malformed("a number of a connection has more than 32 bits"))
        };
        match field.number {
            RECEIVED => due = Some(number()?),
            SENT => written = Some(number()?),
            UNSENT => unsent = number()?,
            _ => {}
        }
    }
    match (due, written) {
        // They go round after 2^32.
        (Some(due), Some(written)) => Ok(Reached { next: written.wrapping_sub(unsent), due }),
        _ => Err(Malformed("a connection lacks a sequence number")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::migrate::criu::images::sockets::{
        Family, INET_SOCKET, LOCAL_ADDRESS, LOCAL_PORT, REMOTE_ADDRESS, REMOTE_PORT, words,
    };

    /// A file with one socket, as CRIU writes it.
    fn file(inode: u32, protocol: u64, state: u64, family: Family, ends: (&str, &str)) -> Vec<u8> {
        let mut message = Vec::new();
        let number = match family {
            Family::V4 => 2,
            Family::V6 => 10,
        };
        for (field, number) in [(1, 7), (INODE, inode.into()), (3, number), (4, 1)] {
            wire::put_number(&mut message, field, number);
        }
        let ends = [ends.0, ends.1].map(|end| end.parse::<std::net::SocketAddr>().unwrap());
        let ports = [(LOCAL_PORT, ends[0].port()), (REMOTE_PORT, ends[1].port())];
        for (field, number) in [(5, protocol), (STATE, state)]
            .into_iter()
            .chain(ports.map(|(field, port)| (field, u64::from(port))))
        {
            wire::put_number(&mut message, field, number);
        }
        for (field, end) in [(LOCAL_ADDRESS, ends[0]), (REMOTE_ADDRESS, ends[1])] {
            for word in words(end.ip(), family).unwrap() {
                wire::put_number(&mut message, field, word.into());
            }
        }
        let mut file = Vec::new();
        wire::put_number(&mut file, 1, 4);
        wire::put_bytes(&mut file, INET_SOCKET, &message);
        file
    }

    fn written(image: u32, local: &str, remote: &str) -> Written {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Written { connection: Connection { protocol: 6, local, remote }, image }
    }

    /// How a connection is written down: what is due, written, and unsent if that is told.
    fn stream(due: u32, written: u32, unsent: Option<u32>) -> Vec<u8> {
        let mut record = Vec::new();
        let numbers = [(1, 3), (RECEIVED, due), (3, 40), (SENT, written), (5, 7), (9, 77)];
        for (field, number) in numbers.into_iter().chain(unsent.map(|unsent| (UNSENT, unsent))) {
            wire::put_number(&mut record, field, number.into());
        }
        [Image::Stream.image([record]), b"queues".to_vec()].concat()
    }

    #[test]
    fn those_that_peers_know_of_are_read_of_both_families_and_mapped() {
        let four = ("10.0.0.3:7000", "10.0.0.2:4000");
        let six = ("[fd00::3]:7000", "[fd00::2]:4001");
        let image = Image::Files.image([
            file(0xa1, 6, 1, Family::V4, four),
            file(0xa2, 6, 1, Family::V6, four),
            file(0xa3, 6, 8, Family::V6, six),
        ]);
        let expected = [
            written(0xa1, four.0, four.1),
            written(0xa2, four.0, four.1),
            written(0xa3, six.0, six.1),
        ];
        assert_eq!(open(&image).unwrap(), expected);
    }

    #[test]
    fn closing_ones_are_among_them_and_nothing_else_is() {
        let ends = ("10.0.0.3:7000", "10.0.0.2:4000");
        let of = |protocol, state, ends| {
            open(&Image::Files.image([file(1, protocol, state, Family::V4, ends)])).unwrap().len()
        };
        let states: Vec<u64> = (1..=12).filter(|&state| of(6, state, ends) == 1).collect();
        assert_eq!(states, OPEN);
        assert_eq!(of(17, 1, ends), 0, "UDP");
        assert_eq!(of(6, 1, ("0.0.0.0:7000", "0.0.0.0:0")), 0, "connected to nobody");
    }

    #[test]
    fn what_was_sent_is_known_across_the_end_of_the_numbers() {
        let reached = |image: &[u8]| reached(image).unwrap();
        assert_eq!(reached(&stream(5, 1000, None)), Reached { next: 1000, due: 5 });
        assert_eq!(reached(&stream(5, 1000, Some(24))), Reached { next: 976, due: 5 });
        assert_eq!(reached(&stream(5, 4, Some(6))), Reached { next: u32::MAX - 1, due: 5 });
    }

    #[test]
    fn what_is_cut_off_or_lacks_a_number_is_refused() {
        let image = stream(5, 1000, Some(24));
        assert!((0..image.len() - 6).all(|length| reached(&image[..length]).is_err()));
        let mut record = Vec::new();
        wire::put_number(&mut record, RECEIVED, 5);
        assert!(reached(&Image::Stream.image([&record])).is_err());
        wire::put_number(&mut record, SENT, 1 << 32);
        assert!(reached(&Image::Stream.image([record])).is_err());
    }

    proptest! {
        #[test]
        fn any_record_is_read_or_refused(record: Vec<u8>) {
            let _ = reached(&Image::Stream.image([&record]));
            let _ = open(&Image::Files.image([record]));
        }
    }
}
