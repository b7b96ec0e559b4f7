//! What a running process is made of, as far as it matters when it moves.

mod cpu;

pub use self::cpu::features;
