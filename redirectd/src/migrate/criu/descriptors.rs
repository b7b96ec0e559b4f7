//! The sockets of another process, as descriptors of ours.

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use nix::sys::socket::{SockaddrStorage, getpeername};

/// The longest value of an option that is looked at, in bytes: the name of an
/// algorithm.
const VALUE_MAX: usize = 16;

/// `asm-generic/socket.h`: a pidfd of the process at the other end.
const SO_PEERPIDFD: libc::c_int = 77;

/// A process, by a descriptor that stays its own.
#[derive(Debug)]
pub(in crate::migrate) struct Process(OwnedFd);

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Process {
    /// The process `pid` (Linux 5.3).
    pub(in crate::migrate) fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(Self)
    }

    /// The one that made the connection to the other end of `socket`, which is of Unix, be
    /// it seen from this PID namespace or not (Linux 6.5).
    pub(in crate::migrate) fn at_the_other_end_of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut pidfd: libc::c_int = -1;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `pidfd`, and how many to
        // `length`; both outlive the call.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERPIDFD,
                (&raw mut pidfd).cast(),
                &raw mut length,
            )
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { owned(pidfd.into()).map(Self) }
    }

    /// Its file `fd` (Linux 5.6).
    pub(super) fn descriptor(&self, fd: i32) -> io::Result<OwnedFd> {
        // SAFETY: pidfd_getfd takes three integers, the first of them open.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), fd, 0) })
    }
}

/// All sockets of the process `pid` with their numbers there. Of a process that
/// runs, those that it closes meanwhile are left out.
pub(super) fn sockets(pid: i32) -> io::Result<Vec<(i32, OwnedFd)>> {
    let process = Process::open(pid)?;
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let target = match fs::read_link(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            target => target?,
        };
        let fd: Option<i32> = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
        let Some(fd) = fd.filter(|_| target.to_string_lossy().starts_with("socket:")) else {
            continue;
        };
        match process.descriptor(fd) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
            socket => sockets.push((fd, socket?)),
        }
    }
    Ok(sockets)
}

/// The value of a socket's option, if it has it.
pub(super) fn get(socket: &OwnedFd, level: i32, option: i32) -> Option<Vec<u8>> {
    let mut value = [0u8; VALUE_MAX];
    let mut length = VALUE_MAX as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`, and how many to
    // `length`; both outlive the call.
    let done = unsafe {
        let value = value.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut length)
    };
    (done == 0).then(|| value[..VALUE_MAX.min(length as usize)].to_vec())
}

/// The value of a socket's option that is a number, if it has it.
pub(super) fn number(socket: &OwnedFd, level: i32, option: i32) -> Option<i32> {
    let value = get(socket, level, option)?;
    match value[..] {
        // Some options of IP are given as one byte when they are small.
        [byte] => Some(byte.into()),
        _ => value.try_into().ok().map(i32::from_ne_bytes),
    }
}

/// Sets a socket's option.
pub(super) fn set(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which outlives the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whom a socket is connected to, if to anybody by IP.
pub(super) fn peer(socket: &OwnedFd) -> Option<SocketAddr> {
    let peer: SockaddrStorage = getpeername(socket.as_raw_fd()).ok()?;
    let v4 = peer.as_sockaddr_in().map(|peer| SocketAddr::V4((*peer).into()));
    v4.or_else(|| peer.as_sockaddr_in6().map(|peer| SocketAddr::V6((*peer).into())))
}

/// Resets the connection of a TCP socket (connect(2), `AF_UNSPEC`; RFC 9293, ABORT).
pub(super) fn disconnect(socket: &OwnedFd) -> io::Result<()> {
    let nobody =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let length = size_of_val(&nobody) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `nobody`, which outlives the call.
    let done = unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The descriptor that a system call gave, or why it gave none.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the kernel has just made it, for nobody else.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
