//! How much work home, or the whole machine, has.

mod pressure;
pub(crate) mod processes;
pub(crate) mod processor_time;
mod runnable;

pub(crate) use self::{
    pressure::HomePressure,
    processor_time::{HomeCpu, MachineCpu},
    runnable::HomeLoad,
};
