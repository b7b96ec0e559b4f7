//! Of which protocol a socket is, whatever the protocol.

use std::{ffi::CString, io};

/// The kernel's name for the protocol of the socket that is descriptor `fd` of
/// process `pid`: `TCP`, `UDPv6`, `MPTCP`, `UNIX`, `NETLINK`, `PACKET`, …
///
/// # Errors
/// The descriptor is closed, or this user may not see it.
pub(super) fn protocol_of(pid: i32, fd: i32) -> io::Result<String> {
    /// The extended attribute that every socket has (`net/socket.c`).
    const ATTRIBUTE: &std::ffi::CStr = c"system.sockprotoname";
    let path = CString::new(format!("/proc/{pid}/fd/{fd}"))?;
    // `struct proto` has room for 32 bytes.
    let mut name = [0u8; 64];
    // SAFETY: both names end with a zero byte and live until the call returns, and
    // the kernel writes at most as many bytes as it is told that there are.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), ATTRIBUTE.as_ptr(), name.as_mut_ptr().cast(), name.len())
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let name = name.get(..length).unwrap_or_default();
    Ok(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

/// Whether `protocol` is TCP on several paths at once (RFC 8684).
pub(super) fn is_multipath(protocol: &str) -> bool {
    protocol.starts_with("MPTCP")
}

#[cfg(test)]
mod tests {
    use std::{net, os::fd::AsRawFd, os::unix::net::UnixDatagram};

    use super::*;

    #[test]
    fn the_kernel_names_the_protocol_of_each_socket() {
        let pid = std::process::id().cast_signed();
        let of = |socket: &dyn AsRawFd| protocol_of(pid, socket.as_raw_fd()).unwrap();
        assert_eq!(of(&net::TcpListener::bind("127.0.0.1:0").unwrap()), "TCP");
        assert_eq!(of(&net::UdpSocket::bind("[::1]:0").unwrap()), "UDPv6");
        let unix = UnixDatagram::unbound().unwrap();
        assert!(of(&unix).starts_with("UNIX"));
        assert!(!is_multipath(&of(&unix)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(protocol_of(pid, file.as_raw_fd()).is_err());
    }
}
