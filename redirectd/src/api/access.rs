//! Who is at the other end of the socket, and what they may do.
//!
//! Whoever can open the socket may read. Changes are for root, for the daemon's
//! own user and for members of the configured group; the kernel vouches for the
//! caller (`SO_PEERCRED`, `SO_PEERGROUPS`), as it was when it connected.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use nix::{
    libc,
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::{Gid, Group, Uid},
};
use tokio::net::UnixListener;

use crate::{
    error::{Error, Kind},
    migrate::leader::Leader,
};

/// A caller, as the kernel saw it connect; `None` if the kernel did not say.
#[derive(Debug, Clone)]
pub struct Caller(Option<Credentials>);

#[derive(Debug, Clone)]
struct Credentials {
    pid: i32,
    /// Its process, if the kernel gives a descriptor of it.
    process: Option<Leader>,
    uid: Uid,
    groups: Vec<Gid>,
}

/// Whom the daemon takes changes from.
#[derive(Debug, Clone)]
pub struct Access {
    owner: Uid,
    group: Option<Gid>,
    group_name: Option<String>,
}

impl Access {
    /// Changes for root, for this process's user, and for members of `group`.
    ///
    /// # Errors
    /// There is no such group.
    pub fn new(group: Option<&str>) -> Result<Self, Error> {
        let id = match group {
            None => None,
            Some(name) => Some(group_id(name)?),
        };
        Ok(Self { owner: Uid::effective(), group: id, group_name: group.map(str::to_owned) })
    }

    /// The group whose members may change things.
    #[must_use]
    pub fn group(&self) -> Option<Gid> {
        self.group
    }

    /// Whether `caller` may change anything.
    ///
    /// # Errors
    /// It may not; of kind [`Kind::NotPermitted`], with what would help.
    pub fn check(&self, caller: &Caller) -> Result<(), Error> {
        let Some(credentials) = &caller.0 else {
            return Err(Error::new(Kind::NotPermitted, "the kernel does not say who is calling"));
        };
        let uid = credentials.uid;
        let member = self.group.is_some_and(|group| credentials.groups.contains(&group));
        if uid.is_root() || uid == self.owner || member {
            return Ok(());
        }
        let what = format!("user {uid} may read, but not change anything");
        Err(Error::new(Kind::NotPermitted, what).cure(match &self.group_name {
            Some(name) => format!("run it as root or as a member of the group {name}"),
            None => "run it as root".to_owned(),
        }))
    }
}

fn group_id(name: &str) -> Result<Gid, Error> {
    let unknown = |why: String| {
        Error::new(Kind::Failed, format!("the API's group {name} cannot be used: {why}"))
            .cure(format!("`groupadd --system {name}`, or name another one under `api: group`"))
    };
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(unknown("there is no such group".to_owned())),
        Err(error) => Err(unknown(error.to_string())),
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::of(stream.io().as_fd()).unwrap_or(Self(None))
    }
}

impl Caller {
    /// Its process, as the one that leads a move: none if that can be told from no other
    /// one, as it is in a PID namespace that is not seen from here (before Linux 6.5).
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        let Credentials { pid, process, .. } = self.0.as_ref()?;
        process.clone().or_else(|| Leader::of(*pid).ok())
    }

    fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let peer = getsockopt(&socket, PeerCredentials)?;
        let mut groups = supplementary_groups(socket)?;
        groups.push(Gid::from_raw(peer.gid()));
        let (pid, uid) = (peer.pid(), Uid::from_raw(peer.uid()));
        let process = Leader::at_the_other_end_of(socket).ok();
        Ok(Self(Some(Credentials { pid, process, uid, groups })))
    }
}

/// The groups of the process at the other end, its main one not among them
/// (`SO_PEERGROUPS`, since Linux 4.13).
fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<Gid>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let mut bytes = size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: `groups` is writable for `bytes` bytes, and gid_t has no invalid
        // values; both outlive the call. The descriptor is open while borrowed.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups.into_iter().map(Gid::from_raw).collect());
        }
        let error = io::Error::last_os_error();
        // The kernel says how much room it wants.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn access(owner: u32, group: Option<u32>) -> Access {
        Access {
            owner: Uid::from_raw(owner),
            group: group.map(Gid::from_raw),
            group_name: group.map(|_| "redirectd".to_owned()),
        }
    }

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        let groups = groups.iter().copied().map(Gid::from_raw).collect();
        Caller(Some(Credentials { pid: 1, process: None, uid: Uid::from_raw(uid), groups }))
    }

    #[test]
    fn root_the_owner_and_members_may_change() {
        let access = access(900, Some(77));
        for caller in [caller(0, &[0]), caller(900, &[900]), caller(1000, &[1000, 77])] {
            assert_eq!(access.check(&caller), Ok(()), "{caller:?}");
        }
    }

    #[test]
    fn others_may_not() {
        let stranger = caller(1000, &[1000, 0]);
        for access in [access(900, Some(77)), access(900, None)] {
            assert_eq!(access.check(&stranger).unwrap_err().kind, Kind::NotPermitted);
        }
        assert!(access(900, None).check(&Caller(None)).is_err());
    }

    #[test]
    fn the_kernel_says_who_calls() {
        let (here, _there) = UnixStream::pair().unwrap();
        let Caller(Some(seen)) = Caller::of(here.as_fd()).unwrap() else {
            panic!("no credentials")
        };
        assert_eq!(seen.uid, Uid::effective());
        assert_eq!(seen.pid, std::process::id().cast_signed());
        for group in nix::unistd::getgroups().unwrap() {
            assert!(seen.groups.contains(&group), "{group} in {seen:?}");
        }
        // That one lives.
        assert!(!Caller(Some(seen)).leader().unwrap().has_ended());
    }
}
