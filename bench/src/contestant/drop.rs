//! The floor: what it costs to make packets and bring them to home.

use anyhow::Result;

use super::{Contestant, Running};
use crate::{
    scenario::Scenario,
    stream,
    topology::{IN0, Lab},
    traffic::{Role, Sink},
};

/// XDP drops everything as it arrives at home.
pub(super) struct Drop;

impl Contestant for Drop {
    fn name(&self) -> &'static str {
        "drop"
    }

    fn set_up(&self, lab: &Lab, _: &Scenario) -> Result<Running> {
        let sink = Sink::attach(&lab.home, IN0, Role::Sink, &stream::at_home())?;
        Ok(Running::Drops(Box::new(sink)))
    }
}
