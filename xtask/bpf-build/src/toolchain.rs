//! Finds the compiler and the linker for BPF programs.
//!
//! Two compilers serve: Debian's, which brings `core` for the BPF target ready
//! made, and rustup's nightly, which builds `core` from the `rust-src`
//! component. Nothing here installs anything.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A compiler that can produce BPF code, and how it gets at `core`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// `core` for the target is installed with the compiler.
    Prebuilt {
        /// The compiler.
        rustc: PathBuf,
    },
    /// Cargo builds `core` first; only a nightly Cargo does.
    BuildStd {
        /// The compiler.
        rustc: PathBuf,
        /// The Cargo of the same toolchain.
        cargo: PathBuf,
    },
}

impl Compiler {
    /// The compiler's program.
    #[must_use]
    pub fn rustc(&self) -> &Path {
        match self {
            Self::Prebuilt { rustc } | Self::BuildStd { rustc, .. } => rustc,
        }
    }

    /// The major version of the LLVM in the compiler. bpf-linker reads what
    /// this LLVM wrote, so its own must not be older.
    #[must_use]
    pub fn llvm_major(&self) -> Option<u32> {
        let output = Command::new(self.rustc()).arg("-vV").stderr(Stdio::null()).output().ok()?;
        llvm_major(&String::from_utf8(output.stdout).ok()?)
    }
}

/// All it takes to build a BPF program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// bpf-linker.
    pub linker: PathBuf,
}

/// What of the toolchain is not there; displayed as one sentence with the cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// There is no compiler with `core` for the target.
    pub compiler: bool,
    /// There is no bpf-linker.
    pub linker: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the BPF toolchain is not complete (missing: ")?;
        f.write_str(match (self.compiler, self.linker) {
            (true, true) => "a Rust compiler for BPF, bpf-linker",
            (true, false) => "a Rust compiler for BPF",
            (false, _) => "bpf-linker",
        })?;
        f.write_str("): run `cargo xtask setup`, which brings it, and build again")
    }
}

impl Toolchain {
    /// The toolchain for `target`, with a linker from PATH or from
    /// [`tools_dir`] in `target_dir`.
    ///
    /// # Errors
    /// Says which part is missing.
    pub fn find(target: &str, target_dir: &Path) -> Result<Self, Missing> {
        match (find_compiler(target), find_linker(target_dir)) {
            (Some(compiler), Some(linker)) => Ok(Self { compiler, linker }),
            (compiler, linker) => {
                Err(Missing { compiler: compiler.is_none(), linker: linker.is_none() })
            }
        }
    }
}

/// The BPF target for a machine whose byte order is `endian`, in the words of
/// Cargo's `CARGO_CFG_TARGET_ENDIAN`: `little` or `big`.
#[must_use]
pub fn bpf_target(endian: &str) -> &'static str {
    if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" }
}

/// Where Cargo puts its results for the workspace in the folder `workspace`.
#[must_use]
pub fn target_dir(workspace: &Path) -> PathBuf {
    // An absolute CARGO_TARGET_DIR replaces the whole path in `join`.
    workspace.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The root folder (as in `cargo install --root`) of the tools that
/// `cargo xtask setup` builds.
#[must_use]
pub fn tools_dir(target_dir: &Path) -> PathBuf {
    target_dir.join("tools")
}

/// A compiler for `target`: Debian's, else rustup's nightly.
#[must_use]
pub fn find_compiler(target: &str) -> Option<Compiler> {
    prebuilt(Path::new("/usr/bin/rustc"), target).or_else(nightly)
}

/// bpf-linker from [`tools_dir`] (built against the compiler's LLVM by
/// `cargo xtask setup`), else from PATH.
#[must_use]
pub fn find_linker(target_dir: &Path) -> Option<PathBuf> {
    let own = tools_dir(target_dir).join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    [own]
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|dir| dir.join("bpf-linker"))
        .find(|file| file.is_file())
}

/// `rustc`, if it has `core` for `target` installed.
fn prebuilt(rustc: &Path, target: &str) -> Option<Compiler> {
    let libraries =
        output(Command::new(rustc).args(["--print", "target-libdir", "--target", target]))?;
    let has_core = Path::new(&libraries).read_dir().ok()?.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    });
    has_core.then(|| Compiler::Prebuilt { rustc: rustc.to_owned() })
}

/// rustup's nightly, if it has the source of `core`.
fn nightly() -> Option<Compiler> {
    let which = |program: &str| {
        output(
            Command::new("rustup")
                .args(["which", "--toolchain", "nightly", program])
                // Looking for a toolchain must not install one.
                .env("RUSTUP_AUTO_INSTALL", "0"),
        )
        .map(PathBuf::from)
    };
    let rustc = which("rustc")?;
    let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs");
    source.is_file().then_some(())?;
    Some(Compiler::BuildStd { rustc, cargo: which("cargo")? })
}

/// The major version of LLVM in the text that `rustc -vV` prints.
fn llvm_major(version: &str) -> Option<u32> {
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

/// The first line that `command` prints, if it can be run and succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    /// A folder that is gone when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = env::temp_dir().join(format!("bpf-build-{}-{name}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A compiler that answers every question with its own library folder.
    fn fake_rustc(dir: &Path) -> PathBuf {
        let rustc = dir.join("rustc");
        fs::write(&rustc, format!("#!/bin/sh\necho {}/lib\n", dir.display())).unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        rustc
    }

    #[test]
    fn a_compiler_counts_only_with_core_for_the_target() {
        let dir = Scratch::new("core");
        let rustc = fake_rustc(&dir.0);
        assert_eq!(prebuilt(&rustc, "bpfel-unknown-none"), None, "no library folder");
        fs::create_dir(dir.0.join("lib")).unwrap();
        fs::write(dir.0.join("lib/liballoc-1.rlib"), "").unwrap();
        assert_eq!(prebuilt(&rustc, "bpfel-unknown-none"), None, "a library folder without core");
        fs::write(dir.0.join("lib/libcore-1.rlib"), "").unwrap();
        assert_eq!(prebuilt(&rustc, "bpfel-unknown-none"), Some(Compiler::Prebuilt { rustc }));
    }

    #[test]
    fn no_compiler_is_no_error() {
        assert_eq!(prebuilt(Path::new("/nonexistent/rustc"), "bpfel-unknown-none"), None);
    }

    #[test]
    fn the_workspaces_own_linker_comes_first() {
        let dir = Scratch::new("linker");
        let own = tools_dir(&dir.0).join("bin/bpf-linker");
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        fs::write(&own, "").unwrap();
        assert_eq!(find_linker(&dir.0), Some(own));
    }

    #[test]
    fn what_is_missing_is_one_sentence_with_the_cure() {
        for (compiler, linker, named) in [
            (true, true, "a Rust compiler for BPF, bpf-linker"),
            (true, false, "a Rust compiler for BPF"),
            (false, true, "bpf-linker"),
        ] {
            let sentence = Missing { compiler, linker }.to_string();
            assert!(sentence.contains(&format!("(missing: {named})")), "{sentence}");
            assert!(sentence.contains("`cargo xtask setup`"), "{sentence}");
            assert_eq!(sentence.lines().count(), 1);
        }
    }

    #[test]
    fn the_compiler_tells_its_llvm() {
        assert_eq!(llvm_major("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\nrelease: 1.96.0\n"), None);
    }

    #[test]
    fn the_object_has_the_machines_byte_order() {
        assert_eq!(bpf_target("little"), "bpfel-unknown-none");
        assert_eq!(bpf_target("big"), "bpfeb-unknown-none");
    }
}
