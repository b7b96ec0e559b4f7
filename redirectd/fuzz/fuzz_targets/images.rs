//! CRIU's images, read and readdressed, see `redirectd/src/migrate/criu/images/untrusted.rs`:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir redirectd/fuzz images
//! ```
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redirectd::migrate::criu::images::untrusted::images(bytes));
