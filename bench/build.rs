//! Builds the bench's own BPF programs; `traffic.rs` includes the object.

fn main() {
    bpf_build::build(&bpf_build::Program {
        package: "redirectd-bench-bpf",
        bin: "redirectd-bench-bpf",
        features: &[],
        object: "bench.bpf.o",
    });
}
