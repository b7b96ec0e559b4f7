//! Links by their pins: `link-tc-<interface>` and `link-xdp-<interface>`.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use crate::error::{Error, Kind};

pub(super) const TC_PIN: &str = "link-tc-";
pub(super) const XDP_PIN: &str = "link-xdp-";

/// Commands of the system call bpf (linux/bpf.h).
const BPF_OBJ_GET: libc::c_int = 7;
/// Since Linux 5.9.
const BPF_LINK_DETACH: libc::c_int = 34;

/// Where the pins of an interface are.
pub(super) fn pin(directory: &Path, prefix: &str, interface: &str) -> PathBuf {
    // A dot is not allowed in names on a BPF file system.
    directory.join(format!("{prefix}{}", interface.replace('.', "%")))
}

/// The interfaces that have pins with `prefix`.
pub(super) fn pinned(directory: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix(prefix)?.replace('%', "."))
        })
        .collect()
}

/// Takes the program of the link that is pinned at `path` off its interface, and the pin
/// away; nothing where there is none.
///
/// It is off when this returns: a link that has only lost its pin goes when the kernel
/// gets round to it, or when all others who have opened it have let go.
///
/// # Errors
/// The pin cannot be removed.
pub(super) fn take_off(path: &Path) -> Result<(), Error> {
    // If the kernel does not know how, the link goes with its pin.
    let _ = open(path).and_then(|link| detach(&link));
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::new(Kind::Failed, format!("cannot remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// The members of `union bpf_attr` that [`BPF_OBJ_GET`] reads.
#[repr(C)]
struct Get {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Those that [`BPF_LINK_DETACH`] reads.
#[repr(C)]
struct Detach {
    link_fd: libc::c_int,
}

/// The link that is pinned at `path`.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let get = Get { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `path` outlives the call, which reads it to its end.
    let fd = unsafe { bpf(BPF_OBJ_GET, &get) }?;
    // SAFETY: the kernel has just made it, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn detach(link: &OwnedFd) -> io::Result<()> {
    let detach = Detach { link_fd: link.as_raw_fd() };
    // SAFETY: the attribute has no pointers.
    unsafe { bpf(BPF_LINK_DETACH, &detach) }.map(drop)
}

/// The system call bpf.
///
/// # Safety
/// `attr` must be what the kernel reads for `command`, and its pointers valid.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<libc::c_int> {
    // SAFETY: as the caller says; the size is that of `attr`.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
