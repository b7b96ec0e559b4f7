//! What other nodes say, see `redirectd/src/node/untrusted.rs`:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir redirectd/fuzz frames
//! ```
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redirectd::node::untrusted::frames(bytes));
