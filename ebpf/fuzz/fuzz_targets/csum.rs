//! Checksums kept up to date, see `ebpf/tests/properties/invariants.rs`:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir ebpf/fuzz csum
//! ```
#![no_main]

#[expect(dead_code, reason = "the other target's")]
#[path = "../../tests/properties/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::checksum(bytes));
