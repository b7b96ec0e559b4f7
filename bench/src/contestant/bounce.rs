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
    /// Native XDP, with one look at memory of the flow's own.
    Touch,
    /// tc.
    Tc,
}

impl Contestant for Bounce {
    fn name(&self) -> &'static str {
        match self {
            Self::Xdp => "bounce-xdp",
            Self::Touch => "touch-xdp",
            Self::Tc => "bounce-tc",
        }
    }

    fn set_up(&self, lab: &Lab, scenario: &Scenario) -> Result<Running> {
        lab.home
            .enter(|| {
                let way = redirectd_bench_bpf::Onward {
                    interface: if_nametoindex(OUT0)?,
                    destination: HOST0_MAC,
                    source: OUT0_MAC,
                };
                // Twice the flows and more, as a table has it that is to have short ways.
                let touched = 2 * scenario.flows.next_power_of_two();
                let mut bpf = EbpfLoader::new()
                    .override_global("ONWARD", &way, true)
                    .override_global("TOUCHED_MASK", &(touched - 1), true)
                    .map_max_entries("TOUCHED", touched)
                    .load(OBJECT)?;
                match self {
                    Self::Xdp | Self::Touch => {
                        let name = if let Self::Touch = self { "touch_xdp" } else { "onward_xdp" };
                        let program = bpf.program_mut(name).context("no bounce for XDP")?;
                        let program: &mut Xdp = program.try_into()?;
                        program.load()?;
                        program.attach(IN0, XdpMode::Driver)?;
                    }
                    Self::Tc => {
                        let program = bpf.program_mut("onward_tc").context("no bounce for tc")?;
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
