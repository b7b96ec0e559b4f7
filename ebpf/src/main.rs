//! The BPF binary; a stub on the host.
fn main() {}
