//! A stream of images from another node, see `redirectd/src/migrate/criu/stream/untrusted.rs`:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir redirectd/fuzz stream
//! ```
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redirectd::migrate::criu::stream::untrusted::stream(bytes));
