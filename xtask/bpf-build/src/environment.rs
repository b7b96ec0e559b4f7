//! The environment of the inner Cargo: a build script runs inside another
//! Cargo, whose settings are for the machine's own code and not for BPF.

use std::ffi::{OsStr, OsString};

use crate::toolchain::Toolchain;

/// What the inner Cargo keeps of the outer one's `CARGO_…`: where crates come
/// from, how it talks, and its share of the processors.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// The names among `inherited` that the inner Cargo must not see: the outer
/// Cargo's compiler, wrappers (clippy is one), flags, profile and target.
pub(crate) fn inherited_to_remove(
    inherited: impl IntoIterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    inherited.into_iter().filter(|name| is_for_the_outer_build(name))
}

fn is_for_the_outer_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    if name.starts_with("CARGO") {
        return !KEPT.iter().any(|kept| name.starts_with(kept));
    }
    ["RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_", "RUSTUP_TOOLCHAIN"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// What the inner Cargo needs to know; `arch` is the machine's architecture in
/// Cargo's words, for which aya-ebpf picks the kernel's register layout.
pub(crate) fn for_bpf(toolchain: &Toolchain, arch: &str) -> Vec<(&'static str, OsString)> {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.linker);
    let flags = [
        // BTF, which maps and CO-RE need, is made from the debug information.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        format!("--cfg=bpf_target_arch=\"{arch}\"").into(),
        linker,
    ];
    vec![
        ("RUSTC", toolchain.compiler.rustc().into()),
        // aya-ebpf uses one unstable feature.
        ("RUSTC_BOOTSTRAP", "1".into()),
        // Cargo's separator between flags, so that paths may hold spaces.
        ("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\x1f"))),
        // Empty is none: a wrapper in somebody's Cargo configuration is for the
        // machine's own code as well.
        ("RUSTC_WRAPPER", OsString::new()),
        ("RUSTC_WORKSPACE_WRAPPER", OsString::new()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Compiler;

    fn removed(names: &[&str]) -> Vec<OsString> {
        inherited_to_remove(names.iter().map(OsString::from)).collect()
    }

    #[test]
    fn the_outer_builds_settings_stay_outside() {
        let names = [
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_CFG_TARGET_ARCH",
            "CARGO_FEATURE_LOG",
            "CLIPPY_ARGS",
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ];
        assert_eq!(removed(&names), names);
    }

    #[test]
    fn what_is_not_about_the_outer_build_stays() {
        let names = [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "CARGO_MAKEFLAGS",
            "CARGO_NET_OFFLINE",
            "CARGO_TERM_COLOR",
            "RUST_BACKTRACE",
            "RUSTUP_HOME",
        ];
        assert_eq!(removed(&names), Vec::<OsString>::new());
    }

    #[test]
    fn flags_keep_a_linker_whose_path_has_a_space_whole() {
        let toolchain = Toolchain {
            compiler: Compiler::Prebuilt { rustc: "/usr/bin/rustc".into() },
            linker: "/a b/bpf-linker".into(),
        };
        let environment = for_bpf(&toolchain, "x86_64");
        let flags =
            &environment.iter().find(|(name, _)| *name == "CARGO_ENCODED_RUSTFLAGS").unwrap().1;
        let flags: Vec<_> = flags.to_str().unwrap().split('\x1f').collect();
        assert!(flags.contains(&"-Clinker=/a b/bpf-linker"), "{flags:?}");
        assert!(flags.contains(&"-Clink-arg=--btf"), "{flags:?}");
    }
}
