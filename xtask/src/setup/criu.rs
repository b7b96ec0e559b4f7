//! CRIU, which moves processes: whether there is one that is new enough, and
//! how to bring one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bpf_build::toolchain;

use crate::workspace;

/// The oldest version that works: older ones fail on the TCP sockets of Linux
/// 6.16 and later.
const OLDEST: (u32, u32) = (4, 2);

/// Where setup puts the program. Its files are in the folder `criu` beside this
/// one's.
fn program() -> PathBuf {
    toolchain::tools_dir(&workspace::target_dir()).join("bin/criu")
}

/// Whether setup has brought CRIU, or a new enough one is on `path`.
pub(super) fn is_there(path: &[PathBuf]) -> bool {
    let candidates = path.iter().map(|dir| dir.join("criu"));
    std::iter::once(program()).chain(candidates).any(|program| serves(&program))
}

/// The command that brings it.
pub(super) fn bring() -> Command {
    let program = program();
    let mut sh = Command::new("sh");
    sh.args(["-c", concat!(include_str!("suite.sh"), include_str!("criu.sh")), "setup"]);
    sh.arg(toolchain::tools_dir(&workspace::target_dir()).join("criu")).arg(program);
    sh
}

fn serves(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
    output.is_ok_and(|output| is_new_enough(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads what `criu --version` writes.
fn is_new_enough(said: &str) -> bool {
    let version = said.lines().find_map(|line| line.strip_prefix("Version: "));
    let mut numbers = version.unwrap_or_default().split('.').map_while(|n| n.trim().parse().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for new in [
            "Version: 4.2.1\n",
            "Version: 4.2\n",
            "Version: 4.10\nGitID: v4.10\n",
            "Version: 5.0\n",
        ] {
            assert!(is_new_enough(new), "{new}");
        }
        for old in ["Version: 4.1.1\n", "Version: 3.17.1\n", "Version: 4\n", "criu 4.2\n", ""] {
            assert!(!is_new_enough(old), "{old}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_does_not_serve() {
        assert!(!serves(Path::new("/nonexistent/criu")));
    }
}
