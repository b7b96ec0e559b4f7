//! The socket the API is served on: systemd's, or our own.

use std::{
    fs, io,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::{
            fs::{PermissionsExt, chown},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process,
};

use nix::{
    sys::socket::{AddressFamily, SockType, SockaddrLike, getsockname, getsockopt, sockopt},
    unistd::Gid,
};

use crate::error::{Error, Kind};

/// A listening socket; one we made ourselves is removed from the file system
/// when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    own: Option<PathBuf>,
}

impl Socket {
    /// The socket that systemd passes to this process, if it does.
    ///
    /// # Errors
    /// What it passes is not one listening Unix stream socket.
    pub fn inherited() -> Result<Option<Self>, Error> {
        let wrong = |why: String| {
            Error::new(Kind::Failed, format!("the socket passed by the service manager: {why}"))
                .cure("redirectd.socket needs exactly one ListenStream= with a path")
        };
        let mut passed = sd_notify::listen_fds().map_err(|e| wrong(e.to_string()))?;
        let Some(fd) = passed.next() else { return Ok(None) };
        if passed.next().is_some() {
            return Err(wrong("there is more than one".to_owned()));
        }
        // SAFETY: the service manager opened it for this process alone
        // (LISTEN_PID was compared), and this is the only place that takes it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        check_type(&fd).map_err(wrong)?;
        let listener = UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(|e| wrong(e.to_string()))?;
        Ok(Some(Self { listener, own: None }))
    }

    /// A new socket at `path`: mode 0660 and `group`, or 0600 without a group. A
    /// dead socket there is replaced, a live one is not.
    ///
    /// # Errors
    /// Another daemon listens there, or it cannot be made.
    pub fn bind(path: &Path, group: Option<Gid>) -> Result<Self, Error> {
        if UnixStream::connect(path).is_ok() {
            let what = format!("a daemon listens on {} already", path.display());
            return Err(Error::new(Kind::Conflict, what)
                .cure("stop it (`systemctl stop redirectd`), or name another --socket"));
        }
        let listener = make(path, group).map_err(|error| {
            let what = format!("cannot listen on {}: {error}", path.display());
            Error::new(Kind::Failed, what).cure("run redirectd as root, or name another --socket")
        })?;
        Ok(Self { listener, own: Some(path.to_owned()) })
    }

    /// The listener, for the runtime; the socket stays in the file system as long
    /// as `self`.
    ///
    /// # Errors
    /// The runtime cannot take it.
    pub fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }

    /// Where it is.
    ///
    /// # Errors
    /// It has no path, so that nobody can ask.
    pub fn path(&self) -> io::Result<PathBuf> {
        // It is bound under another name at first.
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let address = self.listener.local_addr()?;
        let path = address.as_pathname().map(Path::to_owned);
        path.ok_or_else(|| io::Error::other("the API's socket has no path"))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.own {
            let _ = fs::remove_file(path);
        }
    }
}

/// Binds under another name and moves it in place once its owner and mode are
/// right, so that nobody can connect before, and a dead socket is no hindrance.
fn make(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", process::id()));
    let new = path.with_file_name(name);
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let placed = (|| {
        if let Some(group) = group {
            chown(&new, None, Some(group.as_raw()))?;
        }
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        fs::rename(&new, path)
    })();
    if placed.is_err() {
        let _ = fs::remove_file(&new);
    }
    placed.map(|()| listener)
}

fn check_type(fd: &OwnedFd) -> Result<(), String> {
    use std::os::fd::AsRawFd;
    let kind = getsockopt(fd, sockopt::SockType).map_err(|e| e.to_string())?;
    let address = getsockname::<nix::sys::socket::SockaddrStorage>(fd.as_raw_fd())
        .map_err(|e| e.to_string())?;
    let listens = getsockopt(fd, sockopt::AcceptConn).map_err(|e| e.to_string())?;
    if kind != SockType::Stream || address.family() != Some(AddressFamily::Unix) || !listens {
        return Err("it is not a listening Unix stream socket".to_owned());
    }
    Ok(())
}

/// Where the daemon listens and the command line looks unless told otherwise.
pub const DEFAULT_PATH: &str = "/run/redirectd/redirectd.sock";

/// The environment variable that names another path to the command line.
pub const PATH_VARIABLE: &str = "REDIRECTD_SOCKET";
