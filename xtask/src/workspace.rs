//! Where the workspace is, and how its Cargo is called.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Cargo's folder for results.
pub(crate) fn target_dir() -> PathBuf {
    bpf_build::toolchain::target_dir(root())
}

/// The Cargo that runs this, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).env("PATH", env::join_paths(search_path()).expect("it was split"));
    cargo
}

/// PATH, and where Debian keeps the administrator's programs: they are not on
/// every user's PATH, root's after `su` included.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect()
}

/// The file of `program`, or just its name when it is nowhere on the path.
pub(crate) fn program(program: &str) -> PathBuf {
    let found = search_path().into_iter().map(|dir| dir.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| program.into())
}
