//! TCP between nodes: connections that notice when the other machine is gone.

use std::{io, net::SocketAddr, time::Duration};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long a machine may take to answer a new connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many new connections may wait to be taken.
const BACKLOG: u32 = 128;

/// Connects to `address`.
///
/// # Errors
/// Nobody answers there in time.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(late)??;
    watch(&stream)?;
    Ok(stream)
}

/// Listens on `address`.
///
/// # Errors
/// It is not this machine's, or it is taken.
pub(super) fn listen(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Has the kernel give `stream` up some 6 s after the other machine has gone,
/// whether there is anything to send or not (tcp(7)): a process may be frozen
/// meanwhile.
///
/// # Errors
/// The kernel refuses.
pub(super) fn watch(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &2)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &1)?;
    setsockopt(stream, sockopt::TcpKeepCount, &4)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &6_000)?;
    Ok(())
}
