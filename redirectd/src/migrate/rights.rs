//! Whether this process has the rights that reviving others takes: root's, and no
//! filter of system calls, which those would inherit.

use std::fs;

use crate::error::{Error, Kind};

/// What CRIU uses, by the bits of `linux/capability.h`.
const NEEDED: [(&str, u32); 16] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_NICE", 23),
    ("CAP_CHECKPOINT_RESTORE", 40),
];

/// Whether this process may revive others.
///
/// # Errors
/// It may not: what it lacks, and how it gets that.
pub fn check() -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status").map_err(|why| {
        Error::new(Kind::Failed, format!("cannot read /proc/self/status: {why}"))
            .cure("`mount -t proc proc /proc`")
    })?;
    missing(&status).map_or(Ok(()), |missing| {
        let what = format!("redirectd on this machine may not revive processes: {missing}");
        Err(Error::new(Kind::NotPermitted, what).cure(
            "install configs/systemd/migrate.conf in /etc/systemd/system/redirectd.service.d/ \
             there, then `systemctl daemon-reload && systemctl restart redirectd`",
        ))
    })
}

/// What somebody with this `/proc/PID/status` lacks.
fn missing(status: &str) -> Option<String> {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let has = u64::from_str_radix(field("CapEff").unwrap_or_default(), 16).unwrap_or(0);
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(_, bit)| has & (1 << bit) == 0).map(|(name, _)| *name).collect();
    if !lacking.is_empty() {
        return Some(format!("it lacks {}", lacking.join(", ")));
    }
    // Kernels without seccomp do not tell.
    (field("Seccomp").unwrap_or("0") != "0")
        .then(|| "it is under a filter of system calls, which they would inherit".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_may_and_the_bounded_daemon_may_not() {
        assert_eq!(missing("CapEff:\t000001ffffffffff\nSeccomp:\t0\n"), None);
        let bounded = missing("CapEff:\t000000c000003001\nSeccomp:\t0\n").unwrap();
        assert!(bounded.contains("CAP_SYS_ADMIN") && !bounded.contains("CAP_NET_RAW"), "{bounded}");
        let filtered = missing("CapEff:\t000001ffffffffff\nSeccomp:\t2\n").unwrap();
        assert!(filtered.contains("filter"), "{filtered}");
        assert!(missing("").is_some());
    }
}
