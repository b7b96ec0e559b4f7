//! Moves by CRIU alone, with its own network lock, to a host that takes over home's
//! address.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, anyhow};
use aya::Ebpf;
use redirectd::{
    error::{Error, Kind},
    migrate::criu::stream::{receive::receive, send::Sender},
};
use tokio::{net, runtime::Builder, task::spawn_blocking};

use super::machines::{Machines, Mover};
use crate::{
    command::run,
    lan::{INTERFACE, Lan},
    route::bounce::{Bounce, share_address},
};

/// The folder of images, on the tmpfs that each machine has.
const IMAGES: &str = "/run/images";
/// What both `criu dump` and `criu restore` are told.
const OPTIONS: [&str; 6] = ["-D", IMAGES, "--tcp-established", "--network-lock", "nftables", "-v1"];
/// The addresses between which images go.
const AT_HOME: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
/// As [`AT_HOME`].
const THERE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 3);
/// How long the host may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Images of more bytes than this are refused.
const MOST: u64 = 1 << 40;

/// CRIU on both machines.
pub(super) struct Criu {
    /// Home sends frames on to the host, once that has the process.
    turn: Option<Ebpf>,
    machines: Machines,
}

impl Criu {
    /// Sets it up.
    ///
    /// # Errors
    /// A namespace cannot be made.
    pub(super) fn set_up() -> Result<Self> {
        let machines = Machines::new()?;
        share_address(&machines.lan)?;
        // The host takes what comes from home's own address for a forgery now.
        let lan = &machines.lan;
        for (netns, address) in [(&lan.home, AT_HOME), (&lan.host, THERE)] {
            netns.run("ip", &format!("address add {address}/24 dev {INTERFACE}"))?;
        }
        Ok(Self { turn: None, machines })
    }

    /// Carries the images over while `dump` writes them; gives how many bytes.
    fn carry(&self, mut dump: Command) -> Result<u64> {
        let Machines { home, host, lan } = &self.machines;
        let (from, to) = (home.outside(Path::new(IMAGES)), host.outside(Path::new(IMAGES)));
        let (near, far) = connection(lan)?;
        let dump = dump
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut far = net::TcpStream::from_std(far)?;
            let near = net::TcpStream::from_std(near)?;
            let send = async {
                let mut sender = Sender::new(&from, near).await?;
                let mut ended = None;
                let written = spawn_blocking(move || dump.wait_with_output());
                sender.follow(async { ended = written.await.ok().and_then(Result::ok) }).await?;
                match ended {
                    Some(ended) if ended.status.success() => {}
                    Some(ended) => {
                        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
                        let what = format!("`criu dump` failed ({}): {said}", ended.status);
                        return Err(Error::new(Kind::Failed, what));
                    }
                    None => return Err(Error::new(Kind::Failed, "`criu dump` is lost")),
                }
                sender.finish(|files| Ok(files.to_vec())).await
            };
            let both = tokio::try_join!(send, receive(&mut far, &to, MOST));
            let (sum, _) = both.map_err(|error| anyhow!("{error}"))?;
            Ok(sum.bytes)
        })
    }
}

impl Mover for Criu {
    fn machines(&self) -> &Machines {
        &self.machines
    }

    fn prepare(&mut self) -> Result<()> {
        self.turn = None;
        let Machines { home, host, lan } = &self.machines;
        // The lock of the process that has left stays.
        lan.home.run("nft", "flush ruleset")?;
        lan.host.run("nft", "flush ruleset")?;
        for machine in [home, host] {
            let images = machine.outside(Path::new(IMAGES));
            match fs::remove_dir_all(&images) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => fs::create_dir(&images)?,
            }
        }
        Ok(())
    }

    fn migrate(&mut self, pid: i32) -> Result<u64> {
        let mut turn = Bounce::Tc.load()?;
        let mut dump = self.machines.home.command("criu");
        dump.args(["dump", "-t", &pid.to_string()]).args(OPTIONS);
        let bytes = self.carry(dump)?;
        let mut restore = self.machines.host.command("criu");
        restore.args(["restore", "-d"]).args(OPTIONS);
        run(&mut restore, "")?;
        self.machines.lan.home.enter(|| Bounce::Tc.attach(&mut turn))?;
        self.turn = Some(turn);
        Ok(bytes)
    }
}

/// A connection from home to the host, for tokio: home's end, then the host's.
fn connection(lan: &Lan) -> Result<(TcpStream, TcpStream)> {
    let any = SocketAddr::from((THERE, 0));
    let listener = lan.host.enter(|| Ok(TcpListener::bind(any)?))?;
    let at = listener.local_addr()?;
    let near = lan.home.enter(|| Ok(TcpStream::connect_timeout(&at, PATIENCE)?))?;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nonblocking(true)?;
        end.set_nodelay(true)?;
    }
    Ok((near, far))
}
