//! What redirectd's BPF programs and user space share.
#![cfg_attr(target_arch = "bpf", no_std)]
