//! The floor of sending on at all: two MAC addresses are written, and the packet
//! goes out of the other interface.

use anyhow::{Context, Result};
use aya::{
    EbpfLoader,
    programs::{SchedClassifier, TcAttachType, Xdp, xdp::XdpMode},
};
use nix::net::if_::if_nametoindex;

use super::{Contestant, Running};
use crate::{
    scenario::Scenario,
    topology::{HOST0_MAC, IN0, Lab, OUT0, OUT0_MAC},
    traffic::OBJECT,
};

/// A bounce, on one of the hooks.
pub(super) enum Bounce {
    /// Native XDP.
    Xdp,
    /// tc.
    Tc,
}

impl Contestant for Bounce {
    fn name(&self) -> &'static str {
        match self {
            Self::Xdp => "bounce-xdp",
            Self::Tc => "bounce-tc",
        }
    }

    fn set_up(&self, lab: &Lab, _: &Scenario) -> Result<Running> {
        lab.home
            .enter(|| {
                let way = redirectd_bench_bpf::Bounce {
                    interface: if_nametoindex(OUT0)?,
                    destination: HOST0_MAC,
                    source: OUT0_MAC,
                };
                let mut bpf =
                    EbpfLoader::new().override_global("BOUNCE", &way, true).load(OBJECT)?;
                match self {
                    Self::Xdp => {
                        let program = bpf.program_mut("bounce_xdp").context("no bounce for XDP")?;
                        let program: &mut Xdp = program.try_into()?;
                        program.load()?;
                        program.attach(IN0, XdpMode::Driver)?;
                    }
                    Self::Tc => {
                        let program = bpf.program_mut("bounce_tc").context("no bounce for tc")?;
                        let program: &mut SchedClassifier = program.try_into()?;
                        program.load()?;
                        program.attach(IN0, TcAttachType::Ingress)?;
                    }
                }
                Ok(bpf)
            })
            // Detached when the programs are closed.
            .map(|bpf| Running::Bounces(Box::new(bpf)))
    }
}
