//! The traffic: one connection that brings bytes from the peer to the host as
//! fast as the way between them permits.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{interrupt, lan::Lan};

/// Bytes that are written and read at a time.
pub(super) const BUFFER: usize = 65_536;

/// Bytes in a full packet: 1,500 less the headers of IPv4 and of TCP with time
/// stamps.
pub(super) const PAYLOAD: u64 = 1_448;

/// How long a connection may take to be made, or to deliver anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the receiver looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// A transfer under way; ended when dropped.
pub(super) struct Transfer {
    sending: TcpStream,
    over: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Transfer {
    /// Begins one from `lan`'s peer, who connects to `target`, to `port` of its host.
    ///
    /// # Errors
    /// No connection comes about.
    pub(super) fn start(lan: &Lan, target: Ipv4Addr, port: u16) -> Result<Self> {
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = lan.host.enter(|| Ok(TcpListener::bind(everywhere)?))?;
        let target = SocketAddr::from((target, port));
        let sending = lan
            .peer
            .enter(|| Ok(TcpStream::connect_timeout(&target, PATIENCE)?))
            .with_context(|| format!("the peer cannot connect to {target}"))?;
        let receiving = accept(&listener)?;
        let over = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let sender = sending.try_clone()?;
        let threads = vec![
            thread::spawn({
                let over = Arc::clone(&over);
                move || send(sender, &over)
            }),
            thread::spawn({
                let (over, received) = (Arc::clone(&over), Arc::clone(&received));
                move || receive(receiving, &over, &received)
            }),
        ];
        let transfer = Self { sending, over, received, threads };
        transfer.wait_for_bytes()?;
        Ok(transfer)
    }

    /// Full packets that the host has received so far.
    pub(super) fn packets(&self) -> f64 {
        self.received.load(Ordering::Relaxed) as f64 / PAYLOAD as f64
    }

    fn wait_for_bytes(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.packets() == 0.0 {
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("nothing has reached the host in {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // An error: the other end has closed it before.
        let _ = self.sending.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The connection that has been made through home, at its end.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        interrupt::check()?;
        match listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(false)?;
                connection.set_read_timeout(Some(LOOK))?;
                return Ok(connection);
            }
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(anyhow!("no connection reaches the host: {error}")),
        }
    }
}

fn send(mut connection: TcpStream, over: &AtomicBool) {
    let bytes = vec![0; BUFFER];
    while !over.load(Ordering::Relaxed) && connection.write_all(&bytes).is_ok() {}
}

fn receive(mut connection: TcpStream, over: &AtomicBool, received: &AtomicU64) {
    let mut bytes = vec![0; BUFFER];
    while !over.load(Ordering::Relaxed) {
        // Nothing for a while is an error as any other: it is seen in the count.
        if let Ok(count) = connection.read(&mut bytes) {
            if count == 0 {
                return;
            }
            received.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}
