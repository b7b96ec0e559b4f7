//! Gives the sockets of a process the addresses they have at its new place.
//!
//! In `nat` mode the peers of a process see home's endpoint, and the process
//! sees home as its peer, at a port of home's choosing; at home it sees its
//! peers themselves. So when it moves, both ends of each connection may get
//! other names, which home's flows tell, and its listening sockets that are
//! bound to an address get the new place's.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{
    file::{Image, Malformed},
    sockets::{
        self, Connection, INET_SOCKET, LOCAL_ADDRESS, LOCAL_PORT, REMOTE_ADDRESS, REMOTE_PORT,
        Socket,
    },
    wire::{self, Field},
};

/// What the sockets' names become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Each address that is the old place's own → the new place's.
    pub addresses: BTreeMap<IpAddr, IpAddr>,
    /// Each connection, as the process names it at the old place → as it does at
    /// the new one. The protocol stays.
    pub connections: BTreeMap<Connection, Connection>,
}

/// Why the sockets cannot be given their new names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The image is not as CRIU makes it.
    Malformed(Malformed),
    /// Of this connection by an address of the old place it is not said what it
    /// becomes.
    Unknown(Connection),
    /// The new name of this endpoint is not of the same family.
    Family {
        /// The endpoint at the old place.
        from: SocketAddr,
        /// Its name at the new one.
        to: SocketAddr,
    },
}

impl Relocation {
    /// A move from one host to another: the process sees home as its peer here
    /// and there. `sockets` are those in its image.
    #[must_use]
    pub fn between_hosts(addresses: BTreeMap<IpAddr, IpAddr>, sockets: &[Socket]) -> Self {
        let moved = |from: Connection| {
            let mut to = from;
            to.local.set_ip(*addresses.get(&from.local.ip())?);
            Some((from, to))
        };
        let connections = sockets.iter().filter_map(Socket::connection).filter_map(moved).collect();
        Self { addresses, connections }
    }

    /// The endpoints that `socket` gets.
    fn endpoints(&self, socket: &Socket) -> Result<(SocketAddr, Option<SocketAddr>), Refusal> {
        let Socket { local, remote, .. } = *socket;
        let new = match socket.connection() {
            Some(connection) => match self.connections.get(&connection) {
                Some(to) => (to.local, Some(to.remote)),
                // Between processes of one machine, by addresses that every machine has.
                None if !self.addresses.contains_key(&local.ip()) => (local, remote),
                None => return Err(Refusal::Unknown(connection)),
            },
            None => {
                let ip = self.addresses.get(&local.ip()).copied().unwrap_or(local.ip());
                (SocketAddr::new(ip, local.port()), None)
            }
        };
        let pairs = [(Some(local), Some(new.0)), (remote, new.1)];
        for (from, to) in pairs.into_iter().filter_map(|(from, to)| Some((from?, to?))) {
            if from.is_ipv4() != to.is_ipv4() {
                return Err(Refusal::Family { from, to });
            }
        }
        Ok(new)
    }
}

/// `image`, a `files.img`, with the sockets' new names. All else in it stays as
/// it is, to the byte.
///
/// # Errors
/// The image is malformed, or `relocation` lacks what a socket needs.
pub fn readdress(image: &[u8], relocation: &Relocation) -> Result<Vec<u8>, Refusal> {
    let records = Image::Files.records(image)?;
    let edited: Result<Vec<Vec<u8>>, _> =
        records.into_iter().map(|record| file(record, relocation)).collect();
    Ok(Image::Files.image(edited?))
}

/// One file of the process.
fn file(record: &[u8], relocation: &Relocation) -> Result<Vec<u8>, Refusal> {
    let mut edited = Vec::with_capacity(record.len());
    for field in wire::fields(record)? {
        let message = sockets::inet_socket(&field)?;
        let changed = message.map(|message| inet_socket(message, relocation)).transpose()?;
        match changed.flatten() {
            Some(message) => wire::put_bytes(&mut edited, INET_SOCKET, &message),
            None => edited.extend_from_slice(field.bytes),
        }
    }
    Ok(edited)
}

/// The socket with its new names, if they are others.
fn inet_socket(message: &[u8], relocation: &Relocation) -> Result<Option<Vec<u8>>, Refusal> {
    let fields = wire::fields(message)?;
    let socket = sockets::socket(&fields)?;
    let (local, remote) = relocation.endpoints(&socket)?;
    if (local, remote) == (socket.local, socket.remote) {
        return Ok(None);
    }
    let mut edited = Vec::with_capacity(message.len() + 32);
    for field in &fields {
        match (field.number, remote) {
            (LOCAL_PORT, _) => wire::put_number(&mut edited, LOCAL_PORT, local.port().into()),
            (REMOTE_PORT, Some(remote)) => {
                wire::put_number(&mut edited, REMOTE_PORT, remote.port().into());
            }
            (LOCAL_ADDRESS, _) => {
                put_address(&mut edited, &fields, field, local.ip(), &socket)?;
            }
            (REMOTE_ADDRESS, Some(remote)) => {
                put_address(&mut edited, &fields, field, remote.ip(), &socket)?;
            }
            _ => edited.extend_from_slice(field.bytes),
        }
    }
    Ok(Some(edited))
}

/// Puts all words of an address in the place of the first of its fields.
fn put_address(
    message: &mut Vec<u8>,
    fields: &[Field<'_>],
    field: &Field<'_>,
    address: IpAddr,
    socket: &Socket,
) -> Result<(), Refusal> {
    let first = fields.iter().find(|one| one.number == field.number);
    if first.is_some_and(|first| std::ptr::eq(first, field)) {
        for word in sockets::words(address, socket.family)? {
            wire::put_number(message, field.number, word.into());
        }
    }
    Ok(())
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => {
                write!(f, "files.img is not as CRIU makes it: {malformed}")
            }
            Self::Unknown(Connection { protocol, local, remote }) => {
                let protocol = match i32::from(*protocol) {
                    libc::IPPROTO_TCP => "TCP",
                    libc::IPPROTO_UDP => "UDP",
                    _ => "IP",
                };
                write!(
                    f,
                    "the {protocol} connection {local} – {remote} has no flow at home, so that it \
                     would break"
                )
            }
            Self::Family { from, to } => {
                write!(f, "{from} cannot become {to}, which is of the other family")
            }
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
