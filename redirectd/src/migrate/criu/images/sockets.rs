//! The internet sockets in `files.img`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    file::{Image, Malformed},
    wire::{self, Field, Value},
};

/// Fields of `file_entry`.
pub(super) const INET_SOCKET: u32 = 4;
/// Fields of `inet_sk_entry`.
const FAMILY: u32 = 3;
const PROTOCOL: u32 = 5;
const STATE: u32 = 6;
pub(super) const LOCAL_PORT: u32 = 7;
pub(super) const REMOTE_PORT: u32 = 8;
pub(super) const LOCAL_ADDRESS: u32 = 11;
pub(super) const REMOTE_ADDRESS: u32 = 12;

const IPV4: u64 = libc::AF_INET as u64;
const IPV6: u64 = libc::AF_INET6 as u64;
/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const LISTEN: u64 = 10;

/// One end of a connection, by the addresses of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// The number of its protocol, as in an IP header.
    pub protocol: u8,
    /// The socket's own endpoint.
    pub local: SocketAddr,
    /// The endpoint it is connected to.
    pub remote: SocketAddr,
}

/// An internet socket of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// The number of its protocol, as in an IP header.
    pub protocol: u8,
    /// The family it was made for.
    pub family: Family,
    /// Its own endpoint; unspecified as far as it is not bound.
    pub local: SocketAddr,
    /// The endpoint it is connected to, if it is.
    pub remote: Option<SocketAddr>,
    /// Whether it takes connections.
    pub listens: bool,
}

/// A socket's family. Sockets of IPv6 may speak IPv4; their endpoints are then
/// those of IPv4 here, and `::ffff:` addresses in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Socket {
    /// The connection it is an end of, if it is.
    #[must_use]
    pub fn connection(&self) -> Option<Connection> {
        let Self { protocol, local, .. } = *self;
        self.remote.map(|remote| Connection { protocol, local, remote })
    }
}

/// All internet sockets in `image`, a `files.img`.
///
/// # Errors
/// It is no such image.
pub fn sockets(image: &[u8]) -> Result<Vec<Socket>, Malformed> {
    let mut sockets = Vec::new();
    for record in Image::Files.records(image)? {
        for field in wire::fields(record)? {
            if let Some(message) = inet_socket(&field)? {
                sockets.push(socket(&wire::fields(message)?)?);
            }
        }
    }
    Ok(sockets)
}

/// The message of an internet socket, if this field of a file is one.
pub(super) fn inet_socket<'a>(field: &Field<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match field {
        Field { number: INET_SOCKET, value: Value::Bytes(message), .. } => Ok(Some(message)),
        Field { number: INET_SOCKET, .. } => Err(Malformed("a socket is no message")),
        _ => Ok(None),
    }
}

/// The socket with these fields.
pub(super) fn socket(fields: &[Field<'_>]) -> Result<Socket, Malformed> {
    let family = match number(fields, FAMILY)? {
        IPV4 => Family::V4,
        IPV6 => Family::V6,
        _ => return Err(Malformed("an internet socket is of an unknown family")),
    };
    let endpoint = |address, port| -> Result<SocketAddr, Malformed> {
        let port = u16::try_from(number(fields, port)?)
            .map_err(|_| Malformed("a port has more than 16 bits"))?;
        Ok(SocketAddr::new(self::address(fields, address, family)?, port))
    };
    let protocol = u8::try_from(number(fields, PROTOCOL)?)
        .map_err(|_| Malformed("a socket's protocol has more than 8 bits"))?;
    let remote = endpoint(REMOTE_ADDRESS, REMOTE_PORT)?;
    Ok(Socket {
        protocol,
        family,
        local: endpoint(LOCAL_ADDRESS, LOCAL_PORT)?,
        remote: (remote.port() != 0).then_some(remote),
        listens: number(fields, STATE)? == LISTEN,
    })
}

/// The words in which an image has `address`, for a socket of `family`: the
/// bytes in the order of the network, read as this machine reads words.
///
/// # Errors
/// A socket of IPv4 has no place for an address of IPv6.
pub(super) fn words(address: IpAddr, family: Family) -> Result<Vec<u32>, Malformed> {
    let octets = match (address, family) {
        (IpAddr::V4(address), Family::V4) => return Ok(vec![u32::from_le_bytes(address.octets())]),
        (IpAddr::V4(address), Family::V6) => address.to_ipv6_mapped().octets(),
        (IpAddr::V6(address), Family::V6) => address.octets(),
        (IpAddr::V6(_), Family::V4) => {
            return Err(Malformed("a socket of IPv4 cannot have an address of IPv6"));
        }
    };
    let words = octets.chunks_exact(4).map(|word| word.try_into().expect("it has four bytes"));
    Ok(words.map(u32::from_le_bytes).collect())
}

/// The address in the words of `field`. Without any it is the unspecified one.
fn address(fields: &[Field<'_>], field: u32, family: Family) -> Result<IpAddr, Malformed> {
    let mut octets = Vec::new();
    for field in fields.iter().filter(|one| one.number == field) {
        for word in wire::numbers(field.value)? {
            let word = u32::try_from(word)
                .map_err(|_| Malformed("a word of an address has more than 32 bits"))?;
            octets.extend(word.to_le_bytes());
        }
    }
    match family {
        Family::V4 if octets.is_empty() => Some(Ipv4Addr::UNSPECIFIED.into()),
        Family::V6 if octets.is_empty() => Some(Ipv6Addr::UNSPECIFIED.into()),
        Family::V4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        Family::V6 => {
            <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).to_canonical())
        }
    }
    .ok_or(Malformed("an address has not the length of its family"))
}

/// The number in a field that is there once; the last counts, as in protobuf.
pub(super) fn number(fields: &[Field<'_>], field: u32) -> Result<u64, Malformed> {
    let field = fields.iter().rfind(|one| one.number == field);
    match field.map(|field| field.value) {
        Some(Value::Number(number)) => Ok(number),
        Some(_) => Err(Malformed("a socket's number has another form than CRIU gives it")),
        None => Err(Malformed("a socket lacks a field")),
    }
}
