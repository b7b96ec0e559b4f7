//! Where home's time goes, by layer of the network: sampled, not timed.
//!
//! A probe at the entry and the exit of each layer's functions would be the
//! obvious way. But the two of them, with two looks at the clock, take longer
//! than a packet stays in most layers, and where a layer ends inside of a
//! function no probe can be put. So a clock interrupts home's processor some
//! thousand times a second instead, and the kernel's stack at that instant says
//! in which layer it is. That costs the packets something too, but each layer in
//! proportion to its time, and sees everything that is not done with interrupts
//! off (what is, is seen where they are on again).

pub(crate) mod layer;
pub(crate) mod sampler;
pub(crate) mod symbols;
pub(crate) mod workers;
