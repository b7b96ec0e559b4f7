//! Builds the BPF programs: the bench's own, for `traffic.rs`, and the packet
//! path's, for `suite/program`.

use bpf_build::Program;

fn main() {
    for (package, bin, object) in [
        ("redirectd-bench-bpf", "redirectd-bench-bpf", "bench.bpf.o"),
        ("redirectd-ebpf", "redirectd-bpf", "redirectd.bpf.o"),
    ] {
        bpf_build::build(&Program { package, bin, features: &[], object });
    }
}
