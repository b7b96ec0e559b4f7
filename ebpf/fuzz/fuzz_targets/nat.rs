//! Packets and quoted packets, translated and back, see
//! `ebpf/tests/properties/invariants.rs`:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir ebpf/fuzz nat
//! ```
#![no_main]

#[expect(dead_code, reason = "the other target's")]
#[path = "../../tests/properties/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    invariants::there_and_back(bytes);
    invariants::quote_there_and_back(bytes);
});
