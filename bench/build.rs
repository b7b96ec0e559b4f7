//! Builds the bench's own BPF programs; `traffic.rs` includes the object. Tells
//! the bench which compiler made it and redirectd, for its reports.

use std::process::Command;

fn main() {
    bpf_build::build(&bpf_build::Program {
        package: "redirectd-bench-bpf",
        bin: "redirectd-bench-bpf",
        features: &[],
        object: "bench.bpf.o",
    });
    let rustc = std::env::var_os("RUSTC").expect("Cargo names the compiler");
    if let Ok(output) = Command::new(rustc).arg("--version").output() {
        let version = String::from_utf8_lossy(&output.stdout);
        println!("cargo:rustc-env=REDIRECTD_BENCH_RUSTC={}", version.trim());
    }
}
