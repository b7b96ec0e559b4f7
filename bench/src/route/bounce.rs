//! The floor of any detour: home sends each frame on, to the host or back to
//! the peer, and changes nothing but its MAC addresses.
//!
//! The host has home's address, on an interface where nobody asks for it, and
//! sends to the peer by way of home, so that both ways are as long as those of
//! a redirect.

use std::any::Any;

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TcAttachType, Xdp, xdp::XdpMode},
};
use redirectd_bench_bpf::Ends;

use super::{Route, unfit_for_xdp};
use crate::{
    lan::{HOME, HOME_MAC, HOST_MAC, INTERFACE, Lan, PEER, PEER_MAC, Wire},
    traffic::OBJECT,
};

/// A bounce, in one way.
pub(crate) enum Bounce {
    /// At tc.
    Tc,
    /// In the driver.
    Xdp,
}

impl Route for Bounce {
    fn name(&self) -> &'static str {
        match self {
            Self::Tc => "bounce-tc",
            Self::Xdp => "bounce-xdp",
        }
    }

    fn unfit(&self, wire: &Wire) -> Option<String> {
        match self {
            Self::Tc => None,
            Self::Xdp => unfit_for_xdp(wire),
        }
    }

    fn set_up(&self, lan: &Lan, _: &[u16]) -> Result<Box<dyn Any>> {
        share_address(lan)?;
        let program = lan.home.enter(|| {
            let mut bpf = self.load()?;
            self.attach(&mut bpf)?;
            Ok(bpf)
        });
        Ok(Box::new(program.with_context(|| format!("cannot put {} on home", self.name()))?))
    }
}

/// Gives the host home's address, and has it answer by way of home.
///
/// # Errors
/// A tool fails.
pub(crate) fn share_address(lan: &Lan) -> Result<()> {
    let silent = "net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2";
    lan.host.run("sysctl", &format!("-qw {silent}"))?;
    lan.host.run("ip", &format!("address add {HOME}/32 dev lo"))?;
    lan.set_neighbour(&lan.host, PEER, HOME_MAC)
}

impl Bounce {
    /// The program, in the kernel and not at work yet.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn load(&self) -> Result<Ebpf> {
        let ends = Ends { home: HOME_MAC, peer: PEER_MAC, host: HOST_MAC };
        let mut bpf = EbpfLoader::new().override_global("ENDS", &ends, true).load(OBJECT)?;
        match self {
            Self::Tc => classifier(&mut bpf)?.load()?,
            Self::Xdp => driver_program(&mut bpf)?.load()?,
        }
        Ok(bpf)
    }

    /// Puts it on the interface of the namespace this is called in, until it is
    /// dropped.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn attach(&self, bpf: &mut Ebpf) -> Result<()> {
        match self {
            Self::Tc => classifier(bpf)?.attach(INTERFACE, TcAttachType::Ingress).map(drop)?,
            Self::Xdp => driver_program(bpf)?.attach(INTERFACE, XdpMode::Driver).map(drop)?,
        }
        Ok(())
    }
}

fn classifier(bpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    Ok(bpf.program_mut("turn_tc").context("no `turn_tc`")?.try_into()?)
}

fn driver_program(bpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(bpf.program_mut("turn_xdp").context("no `turn_xdp`")?.try_into()?)
}
