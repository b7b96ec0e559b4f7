//! What the machine must offer, checked before anything is touched, each with
//! the cure; and what of it deserves a warning.

pub mod sysctl;

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use caps::{CapSet, Capability};
use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sys::{
        statfs::{BPF_FS_MAGIC, statfs},
        utsname::uname,
    },
};

use crate::{
    error::{Error, Kind},
    rule::Redirect,
};

/// The oldest kernel that has all the programs call for: `bpf_loop` came last,
/// with 5.17.
pub(crate) const OLDEST_KERNEL: (u32, u32) = (5, 17);

/// Checks kernel, privileges and the BPF file system.
///
/// # Errors
/// The first that is missing.
pub fn check(pin_dir: &Path) -> Result<(), Error> {
    check_kernel(&uname_release())?;
    check_privileges(|capability| {
        caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
    })?;
    check_bpf_fs(pin_dir)
}

fn uname_release() -> String {
    uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// `release` as `uname -r` prints it.
fn check_kernel(release: &str) -> Result<(), Error> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    // A release that cannot be read is left to the kernel to refuse.
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Ok(());
    };
    if (major, minor) >= OLDEST_KERNEL {
        return Ok(());
    }
    let (oldest_major, oldest_minor) = OLDEST_KERNEL;
    Err(Error::new(
        Kind::Failed,
        format!(
            "Linux {release} is too old: redirectd needs {oldest_major}.{oldest_minor} or newer"
        ),
    )
    .cure("boot a newer kernel"))
}

fn check_privileges(has: impl Fn(Capability) -> bool) -> Result<(), Error> {
    let needed = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];
    // CAP_SYS_ADMIN has always included CAP_BPF and CAP_PERFMON.
    let includes = |capability| {
        has(capability)
            || (capability != Capability::CAP_NET_ADMIN && has(Capability::CAP_SYS_ADMIN))
    };
    let missing: Vec<String> = needed
        .into_iter()
        .filter(|&capability| !includes(capability))
        .map(|capability| capability.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("redirectd may not load programs: it lacks {}", missing.join(", "));
    Err(Error::new(Kind::NotPermitted, what)
        .cure("run it as root, or by its systemd unit, which grants exactly these"))
}

fn check_bpf_fs(pin_dir: &Path) -> Result<(), Error> {
    let there = pin_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match statfs(there) {
        Ok(fs) if fs.filesystem_type() == BPF_FS_MAGIC => Ok(()),
        Ok(_) => {
            let what = format!("{} is not on a BPF file system", pin_dir.display());
            Err(Error::new(Kind::Failed, what)
                .cure("`mount -t bpf bpf /sys/fs/bpf`, or name a folder on one with --pin-dir"))
        }
        Err(error) => {
            let what = format!("cannot look at {}: {error}", there.display());
            Err(Error::new(Kind::Failed, what))
        }
    }
}

/// Checks that all of `interfaces` are there.
///
/// # Errors
/// Names those that are not.
pub fn check_interfaces<'a>(interfaces: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let missing: Vec<&str> = interfaces
        .filter(|name| if_nametoindex(name.as_str()).is_err())
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("this machine has no interface {}", missing.join(", "));
    Err(Error::new(Kind::NotFound, what)
        .cure("`ip link` lists those it has; correct `interfaces:` in the configuration"))
}

/// What of `redirects` is allowed but likely a mistake: home addresses that this
/// machine does not have, so that no packets for them come here.
pub fn warnings<'a>(redirects: impl IntoIterator<Item = &'a Redirect>) -> Vec<String> {
    let homes: BTreeSet<IpAddr> = redirects.into_iter().map(|redirect| redirect.home).collect();
    let Some(own) = own_addresses() else { return Vec::new() };
    let mut foreign = homes.into_iter().filter(|home| !own.contains(home));
    let Some(first) = foreign.next() else { return Vec::new() };
    let more = match foreign.count() {
        0 => String::new(),
        more => format!(" (and {more} others)"),
    };
    vec![format!(
        "home address {first}{more} is on no interface of this machine; its packets may not come \
         here"
    )]
}

fn own_addresses() -> Option<BTreeSet<IpAddr>> {
    let addresses = getifaddrs().ok()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    });
    Some(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_number_not_by_text() {
        for good in ["5.17.0", "6.1.0-18-cloud-amd64", "6.18.3", "10.0", "5.100.1", "unknown"] {
            assert_eq!(check_kernel(good), Ok(()), "{good}");
        }
        for bad in ["5.16.20", "5.14.9", "4.19.0-27-amd64", "5.9.16"] {
            let error = check_kernel(bad).unwrap_err();
            assert!(error.what.contains(bad) && error.cure.is_some(), "{error}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        let error = check_privileges(|c| c == Capability::CAP_NET_ADMIN).unwrap_err();
        assert_eq!(error.kind, Kind::NotPermitted);
        assert!(error.what.ends_with("CAP_BPF, CAP_PERFMON"), "{error}");
        assert_eq!(check_privileges(|_| true), Ok(()));
        let sys_admin = [Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN];
        assert_eq!(check_privileges(|c| sys_admin.contains(&c)), Ok(()));
    }

    #[test]
    fn a_plain_folder_is_no_bpf_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_bpf_fs(&folder.path().join("not/there")).unwrap_err();
        assert!(error.cure.unwrap().contains("mount -t bpf"));
    }

    #[test]
    fn interfaces_that_are_not_there_are_named() {
        let names = ["lo".to_owned(), "no-such-if0".to_owned()];
        let error = check_interfaces(names.iter()).unwrap_err();
        assert!(error.what.ends_with("no interface no-such-if0"), "{error}");
        assert_eq!(check_interfaces(names[..1].iter()), Ok(()));
    }

    #[test]
    fn only_foreign_home_addresses_are_warned_of() {
        let redirect = |home: &str| Redirect {
            name: "web".to_owned(),
            protocols: vec![crate::rule::Protocol::Tcp],
            home: home.parse().unwrap(),
            ports: crate::rule::PortRange::new(80, 80).unwrap(),
            target: "192.0.2.3".parse().unwrap(),
            target_port: 80,
            host: None,
            peers: Vec::new(),
            mode: Default::default(),
            flows: Default::default(),
        };
        assert_eq!(warnings(&[redirect("127.0.0.1")]), Vec::<String>::new());
        assert!(warnings(&[redirect("192.0.2.77")])[0].contains("192.0.2.77"));
    }
}
