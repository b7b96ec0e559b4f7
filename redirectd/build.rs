//! Builds the BPF programs; `dataplane/bpf.rs` includes the object.

fn main() {
    // Set by cargo-fuzz, see `fuzz/`.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    bpf_build::build(&bpf_build::Program {
        package: "redirectd-ebpf",
        bin: "redirectd-bpf",
        features: if cfg!(feature = "log") { &["log"] } else { &[] },
        object: "redirectd.bpf.o",
    });
}
