//! Moving a process.

pub mod criu;
