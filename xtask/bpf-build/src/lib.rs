//! Builds a BPF program of this workspace from a build script:
//!
//! ```no_run
//! bpf_build::build(&bpf_build::Program {
//!     package: "redirectd-ebpf",
//!     bin: "redirectd-bpf",
//!     features: &[],
//!     object: "redirectd.bpf.o",
//! });
//! ```
//!
//! The object then lies in `OUT_DIR` under the name `object`. The programs are
//! always built optimised: the verifier would refuse an unoptimised one.
//! [`toolchain`] alone serves `cargo xtask setup`, which brings what it misses.

pub mod toolchain;

mod depinfo;
mod environment;

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
};

use toolchain::{Compiler, Missing, Toolchain};

/// One BPF program, as Cargo names it.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The package it belongs to, a member of this workspace.
    pub package: &'a str,
    /// Its binary target.
    pub bin: &'a str,
    /// The package's features to build it with.
    pub features: &'a [&'a str],
    /// The object's file name in `OUT_DIR`.
    pub object: &'a str,
}

/// Why there is no object.
#[derive(Debug)]
enum Error {
    /// The compiler or the linker is not installed.
    Missing(Missing),
    /// The compiler said no; its messages are on standard error already.
    Compile(String),
    /// A file or a program could not be used: what it was, and the reason.
    Io(String, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Compile(bin) => write!(f, "the BPF program {bin} does not build"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

/// Builds `program` and copies its object into `OUT_DIR`; for build scripts,
/// whose run it ends with a clear message when there is no object.
///
/// Cargo runs the build script again when a source file of the program, its
/// manifest or the workspace's changes, and not otherwise.
pub fn build(program: &Program<'_>) {
    match try_build(program) {
        Ok(()) => {}
        // Cargo prints this line alone, without a dump of the build script's output.
        Err(error @ Error::Missing(_)) => println!("cargo::error={error}"),
        Err(error) => {
            println!("cargo::error={error}");
            process::exit(1);
        }
    }
}

fn try_build(program: &Program<'_>) -> Result<(), Error> {
    let workspace = workspace_root(&PathBuf::from(variable("CARGO_MANIFEST_DIR")))?;
    let target_dir = toolchain::target_dir(&workspace);
    let target = toolchain::bpf_target(&variable("CARGO_CFG_TARGET_ENDIAN"));
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let toolchain = Toolchain::find(target, &target_dir).map_err(Error::Missing)?;

    // One folder for each choice of features: two builds never write one file.
    let variant = if program.features.is_empty() { "plain" } else { &program.features.join("-") };
    let build_dir = target_dir.join("bpf").join(variant);
    let arch = variable("CARGO_CFG_TARGET_ARCH");
    let mut cargo = cargo_command("build", program, &toolchain, target, &arch, &build_dir);
    let status = cargo
        .current_dir(&workspace)
        .status()
        .map_err(|e| Error::Io(format!("cannot run {}", cargo.get_program().display()), e))?;
    if !status.success() {
        return Err(Error::Compile(program.bin.to_owned()));
    }

    let built = build_dir.join(target).join("release").join(program.bin);
    let object = Path::new(&variable("OUT_DIR")).join(program.object);
    fs::copy(&built, &object).map_err(|e| {
        Error::Io(format!("cannot copy {} to {}", built.display(), object.display()), e)
    })?;
    rerun_if_sources_change(&workspace, &built)
}

/// Clippy's arguments, in the form in which `cargo clippy` hands them on. It must
/// not ask for map values to be passed by value: the stack is 512 bytes.
const CLIPPY_ARGS: &str = "-Dwarnings__CLIPPY_HACKERY__\
    -Aclippy::needless_borrows_for_generic_args__CLIPPY_HACKERY__";

/// Checks `program`, a member of the workspace in the folder `workspace`, with
/// clippy, every warning being an error; for `cargo xtask lint`. Clippy's run
/// over the machine's own code does not see what only BPF compiles.
///
/// # Errors
/// What is missing, or that clippy found something (which it has printed).
pub fn clippy(workspace: &Path, program: &Program<'_>) -> Result<(), String> {
    let target_dir = toolchain::target_dir(workspace);
    let target = toolchain::bpf_target(if cfg!(target_endian = "big") { "big" } else { "little" });
    let toolchain = Toolchain::find(target, &target_dir).map_err(|missing| missing.to_string())?;
    let driver = toolchain.compiler.rustc().with_file_name("clippy-driver");
    if !driver.is_file() {
        return Err(format!(
            "no clippy beside the BPF compiler ({} is not there): run `cargo xtask setup`, or, \
             with rustup, `rustup component add --toolchain nightly clippy`",
            driver.display()
        ));
    }
    let build_dir = target_dir.join("bpf").join("clippy");
    let status = cargo_command("check", program, &toolchain, target, env::consts::ARCH, &build_dir)
        .current_dir(workspace)
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_ARGS", CLIPPY_ARGS)
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("clippy refuses {}", program.bin)) }
}

/// The inner Cargo's command line and environment, for `verb`; `arch` is the
/// machine's architecture in Cargo's words.
fn cargo_command(
    verb: &str,
    program: &Program<'_>,
    toolchain: &Toolchain,
    target: &str,
    arch: &str,
    build_dir: &Path,
) -> Command {
    let mut cargo = Command::new(match &toolchain.compiler {
        Compiler::Prebuilt { .. } => env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        Compiler::BuildStd { cargo, .. } => cargo.into(),
    });
    cargo.args([verb, "--release", "--locked", "--package", program.package]);
    cargo.args(["--bin", program.bin, "--target", target]);
    cargo.arg("--target-dir").arg(build_dir);
    if !program.features.is_empty() {
        cargo.args(["--features", &program.features.join(",")]);
    }
    if let Compiler::BuildStd { .. } = toolchain.compiler {
        cargo.arg("-Zbuild-std=core");
    }
    for name in environment::inherited_to_remove(env::vars_os().map(|(name, _)| name)) {
        cargo.env_remove(name);
    }
    cargo.envs(environment::for_bpf(toolchain, arch));
    cargo
}

/// Names the program's sources to Cargo, from the list its compiler wrote.
fn rerun_if_sources_change(workspace: &Path, built: &Path) -> Result<(), Error> {
    let list = built.with_extension("d");
    let text = fs::read_to_string(&list)
        .map_err(|e| Error::Io(format!("cannot read {}", list.display()), e))?;
    let sources = depinfo::sources(&text);
    let manifests = depinfo::manifests(workspace, &sources);
    for path in sources.iter().chain(&manifests) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    Ok(())
}

/// The folder with the workspace's `Cargo.lock`, above `package`.
fn workspace_root(package: &Path) -> Result<PathBuf, Error> {
    package.ancestors().find(|dir| dir.join("Cargo.lock").is_file()).map(Path::to_owned).ok_or_else(
        || {
            Error::Io(
                format!("no Cargo.lock in {} or above it", package.display()),
                io::ErrorKind::NotFound.into(),
            )
        },
    )
}

/// A variable that Cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this from a build script"))
}
