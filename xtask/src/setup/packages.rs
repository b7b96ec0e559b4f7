//! The Debian packages that redirectd's building, tests and demonstrations
//! take, and how to see that what they bring is there.

use std::path::{Path, PathBuf};

/// One package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name in Debian 12.
    pub(super) name: &'static str,
    /// What shows that it, or something as good, is there: each of these.
    evidence: &'static [Evidence],
    /// A service it starts, which setup does not want.
    pub(super) service: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
enum Evidence {
    /// A program on PATH, or where Debian keeps the administrator's programs.
    Program(&'static str),
    /// A file.
    File(&'static str),
}

use Evidence::{File, Program};

const fn tool(name: &'static str, evidence: &'static [Evidence]) -> Package {
    Package { name, evidence, service: None }
}

const fn server(
    name: &'static str,
    evidence: &'static [Evidence],
    service: &'static str,
) -> Package {
    Package { name, evidence, service: Some(service) }
}

/// What tests, demonstrations and measurements run.
pub(super) const TOOLS: &[Package] = &[
    tool("bind9-dnsutils", &[Program("dig")]),
    tool("bpftool", &[Program("bpftool")]),
    tool("curl", &[Program("curl")]),
    tool("dnsmasq-base", &[Program("dnsmasq")]),
    tool("ethtool", &[Program("ethtool")]),
    server("haproxy", &[Program("haproxy")], "haproxy"),
    tool("iperf3", &[Program("iperf3")]),
    tool("iproute2", &[Program("ip"), Program("tc")]),
    tool("iptables", &[Program("iptables")]),
    tool("iputils-ping", &[Program("ping")]),
    tool("nftables", &[Program("nft")]),
    server("nginx-light", &[Program("nginx")], "nginx"),
    tool("openssh-client", &[Program("ssh"), Program("ssh-keygen")]),
    server("openssh-server", &[Program("sshd")], "ssh"),
    server("postgresql-15", &[File("/usr/lib/postgresql/15/bin/postgres")], "postgresql"),
    tool("procps", &[Program("ps"), Program("sysctl")]),
    tool("python3", &[Program("python3")]),
    server("redis-server", &[Program("redis-server")], "redis-server"),
    tool("runc", &[Program("runc")]),
    tool("socat", &[Program("socat")]),
    tool("systemd", &[Program("systemd-analyze"), Program("systemd-socket-activate")]),
    tool("tcpdump", &[Program("tcpdump")]),
    tool("util-linux", &[Program("nsenter"), Program("setpriv"), Program("unshare")]),
];

/// What building bpf-linker takes, besides LLVM.
pub(super) const LINKER_LIBRARIES: &[Package] = &[
    tool("g++", &[Program("c++")]),
    tool("libzstd-dev", &[File("/usr/include/zstd.h")]),
    tool("zlib1g-dev", &[File("/usr/include/zlib.h")]),
];

/// The compiler for BPF; `find_compiler` sees whether it is there.
pub(super) const COMPILER: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

/// Clippy of the same version as [`COMPILER`].
pub(super) const COMPILERS_CLIPPY: &str = "rust-web-clippy";

impl Package {
    /// Whether what it brings is in one of the folders `path`.
    pub(super) fn is_there(&self, path: &[PathBuf]) -> bool {
        self.evidence.iter().all(|evidence| match evidence {
            Program(name) => path.iter().any(|dir| dir.join(name).is_file()),
            File(path) => Path::new(path).is_file(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, process};

    #[test]
    fn a_package_is_there_only_with_all_its_programs() {
        let dir = env::temp_dir().join(format!("xtask-packages-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = [PathBuf::from("/nonexistent"), dir.clone()];
        let package = tool("iproute2", &[Program("ip"), Program("tc")]);
        let mut seen = vec![package.is_there(&path)];
        for program in ["ip", "tc"] {
            fs::write(dir.join(program), "").unwrap();
            seen.push(package.is_there(&path));
        }
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(seen, [false, false, true]);
    }

    #[test]
    fn no_package_is_listed_twice() {
        let mut names: Vec<_> = TOOLS.iter().chain(LINKER_LIBRARIES).map(|p| p.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
