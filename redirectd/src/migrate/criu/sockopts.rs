//! Options of sockets that CRIU forgets.
//!
//! Which ones it forgets depends on its version. So all that may matter are read
//! while the process is frozen, and once it is revived, those that differ are set
//! again. What cannot be set is told.

use std::{fmt, io, os::fd::OwnedFd};

use serde::{Deserialize, Serialize};

use super::descriptors::{self, Process};
use crate::error::{Error, Kind};

/// An option: what people call it, its level, its number.
type Name = (&'static str, i32, i32);

macro_rules! names {
    ($($level:ident: $($option:ident)*;)*) => {
        &[$($((stringify!($option), libc::$level, libc::$option),)*)*]
    };
}

/// What is looked at. Values that the kernel changes by itself are not among
/// them, nor buffers, which are CRIU's affair.
const OPTIONS: &[Name] = names! {
    SOL_SOCKET: SO_BUSY_POLL SO_LINGER SO_MAX_PACING_RATE SO_OOBINLINE SO_RCVLOWAT SO_TIMESTAMP;
    IPPROTO_TCP: TCP_CONGESTION TCP_DEFER_ACCEPT TCP_KEEPCNT TCP_KEEPIDLE TCP_KEEPINTVL
        TCP_LINGER2 TCP_NODELAY TCP_NOTSENT_LOWAT TCP_SYNCNT TCP_USER_TIMEOUT;
    IPPROTO_IP: IP_MTU_DISCOVER IP_PKTINFO IP_RECVERR IP_RECVTOS IP_RECVTTL IP_TOS IP_TTL;
    IPPROTO_IPV6: IPV6_MTU_DISCOVER IPV6_RECVERR IPV6_RECVHOPLIMIT IPV6_RECVPKTINFO
        IPV6_RECVTCLASS IPV6_TCLASS IPV6_UNICAST_HOPS;
};

/// The options of one socket of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its file descriptor.
    pub fd: i32,
    /// Names and values, as the kernel gives them.
    options: Vec<(String, Vec<u8>)>,
}

/// An option that has another value than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The socket's file descriptor.
    pub fd: i32,
    /// The option's name.
    pub option: String,
    /// Why it could not be set.
    pub why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the socket {} lost its {}: {}", self.fd, self.option, self.why)
    }
}

/// The options of all sockets of the process `pid`, which is frozen. Of one that
/// runs, sockets that it closes meanwhile are left out.
///
/// # Errors
/// There is no such process, or it may not be looked at.
pub fn keep(pid: i32) -> Result<Vec<Kept>, Error> {
    let of = |(fd, socket)| Kept { fd, options: read_all(&socket) };
    let kept = descriptors::sockets(pid).map(|sockets| sockets.into_iter().map(of).collect());
    kept.map_err(|error| {
        Error::new(Kind::Failed, format!("cannot look at the sockets of process {pid}: {error}"))
    })
}

/// Sets those options of the process `pid`, which is revived and does not run
/// yet, that are not as they were; tells which could not be set.
///
/// # Errors
/// There is no such process, or it may not be looked at.
pub fn mend(pid: i32, kept: &[Kept]) -> Result<Vec<Lost>, Error> {
    let process = Process::open(pid).map_err(|error| {
        Error::new(Kind::Failed, format!("cannot look at process {pid}: {error}"))
    })?;
    let mut lost = Vec::new();
    for Kept { fd, options } in kept {
        let mut lose = |option: &str, why: String| {
            lost.push(Lost { fd: *fd, option: option.to_owned(), why });
        };
        match process.descriptor(*fd) {
            Ok(socket) => options.iter().for_each(|(option, value)| {
                if let Err(error) = mend_one(&socket, option, value) {
                    lose(option, error.to_string());
                }
            }),
            Err(error) => lose("self", error.to_string()),
        }
    }
    Ok(lost)
}

fn mend_one(socket: &OwnedFd, option: &str, value: &[u8]) -> io::Result<()> {
    let known = OPTIONS.iter().find(|(name, ..)| *name == option);
    let name = known.ok_or_else(|| io::Error::other("this redirectd does not know it"))?;
    if get(socket, name).as_deref() == Some(value) {
        return Ok(());
    }
    set(socket, name, value)?;
    match get(socket, name).as_deref() == Some(value) {
        true => Ok(()),
        false => Err(io::Error::other("the kernel takes another value")),
    }
}

/// The values of all options that this socket has.
fn read_all(socket: &OwnedFd) -> Vec<(String, Vec<u8>)> {
    let value = |name: &Name| Some((name.0.to_owned(), get(socket, name)?));
    OPTIONS.iter().filter_map(value).collect()
}

fn get(socket: &OwnedFd, &(_, level, option): &Name) -> Option<Vec<u8>> {
    descriptors::get(socket, level, option)
}

fn set(socket: &OwnedFd, &(_, level, option): &Name, value: &[u8]) -> io::Result<()> {
    descriptors::set(socket, level, option, value)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, UdpSocket},
        os::fd::AsRawFd as _,
    };

    use super::*;

    fn name(option: &str) -> &'static Name {
        OPTIONS.iter().find(|(name, ..)| *name == option).unwrap()
    }

    #[test]
    fn what_differs_is_set_and_what_cannot_be_is_told() {
        let (old, new) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
        let (old, new) = (OwnedFd::from(old.unwrap()), OwnedFd::from(new.unwrap()));
        set(&old, name("TCP_USER_TIMEOUT"), &4321u32.to_ne_bytes()).unwrap();
        set(&old, name("IP_TOS"), &16u32.to_ne_bytes()).unwrap();
        let own = std::process::id().cast_signed();
        let mut kept = keep(own).unwrap();
        kept.retain(|kept| kept.fd == old.as_raw_fd());
        kept[0].fd = new.as_raw_fd();
        kept[0].options.push(("SO_NEWER".into(), vec![1]));
        // For 0 the kernel takes 1, and says nothing of it.
        kept[0].options.push(("SO_RCVLOWAT".into(), 0u32.to_ne_bytes().into()));
        let lost = mend(own, &kept).unwrap();
        assert_eq!(get(&new, name("TCP_USER_TIMEOUT")).unwrap(), 4321u32.to_ne_bytes());
        assert_eq!(get(&new, name("IP_TOS")).unwrap()[..1], [16]);
        let told: Vec<String> = lost.iter().map(Lost::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("lost its SO_NEWER: this redirectd does not know it"), "{told:?}");
        assert!(told[1].contains("SO_RCVLOWAT: the kernel takes another value"), "{told:?}");
    }

    #[test]
    fn a_socket_that_is_not_there_is_told() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = std::process::id().cast_signed();
        let mut kept = keep(own).unwrap();
        kept.retain(|kept| kept.fd == socket.as_raw_fd());
        kept[0].fd = 1 << 20;
        assert_eq!(mend(own, &kept).unwrap().len(), 1);
        assert!(keep(i32::MAX).is_err());
    }
}
