//! Memory in huge pages, before it is left behind.
//!
//! While a process is frozen, CRIU has the kernel go through all of its memory several
//! times: to tell its mappings, to find its pages, to keep them, to end it. The kernel
//! does that page by page, for some 0.1 s each GB in pages of 4 KiB, and for next to
//! nothing in huge ones. So while the process still runs, the kernel is asked to put
//! its memory together (`MADV_COLLAPSE`, Linux 6.1). The process notices nothing but
//! that a page it reaches for may take half a millisecond.
//!
//! Only what is all there and nobody else's is put together, so that no memory is
//! added, and none is shared less than before. Nothing depends on it: what the kernel
//! refuses stays as it is.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
    thread,
    time::Duration,
};

use procfs::process::{MMPermissions, MMapPath, Process as Mapped};
use tracing::debug;

use super::descriptors::Process;

/// What the administrator says of huge pages; not there in kernels without.
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// The bytes of a huge page.
const SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
const PAGE: u64 = 4096;
/// So much is put together at once, in bytes, until is looked whether that is wanted
/// still.
const AT_ONCE: u64 = 32 << 20;

/// So often may there be no huge page left, for one process, until no more are looked
/// for.
const ATTEMPTS: u32 = 64;
/// How long the next attempt waits.
const MOMENT: Duration = Duration::from_millis(10);

/// `madvise(2)`: put into huge pages now.
const MADV_COLLAPSE: i32 = 25;

/// What `/proc/PID/pagemap` says of a page (`Documentation/admin-guide/mm/pagemap.rst`).
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;

/// Puts the memory of the running processes `pids` together, for as long as it is
/// `wanted`.
pub fn gather(pids: impl IntoIterator<Item = i32>, wanted: &dyn Fn() -> bool) {
    let Some(size) = size() else { return };
    for pid in pids {
        match gather_one(pid, size, wanted) {
            Ok(0) => {}
            Ok(bytes) => debug!(pid, bytes, "memory is in huge pages"),
            Err(why) => debug!(pid, %why, "memory stays in small pages"),
        }
    }
}

/// The bytes of a huge page, if the administrator lets there be some.
fn size() -> Option<u64> {
    let enabled = fs::read_to_string(ENABLED).ok()?;
    let size = fs::read_to_string(SIZE).ok()?.trim().parse().ok()?;
    (!enabled.contains("[never]") && size > PAGE).then_some(size)
}

/// How many bytes are in huge pages then.
fn gather_one(pid: i32, size: u64, wanted: &dyn Fn() -> bool) -> io::Result<u64> {
    let process = Process::open(pid)?;
    let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
    let maps = Mapped::new(pid).and_then(|process| process.maps()).map_err(io::Error::other)?;
    let (mut gathered, mut attempts) = (0, ATTEMPTS);
    for map in maps.iter().filter(|map| is_its_own(map.perms, &map.pathname)) {
        let (start, end) = map.address;
        let (mut at, end) = (start.next_multiple_of(size), end - end % size);
        while at < end {
            let piece = AT_ONCE.max(size).min(end - at);
            for (address, length) in whole(&pagemap, (at, piece), size)? {
                if !wanted() {
                    return Ok(gathered);
                }
                if collapse_patiently(&process, (address, length), &mut attempts)? {
                    gathered += length;
                }
            }
            at += piece;
        }
    }
    Ok(gathered)
}

/// Memory that only the process has, and no file.
fn is_its_own(permissions: MMPermissions, path: &MMapPath) -> bool {
    permissions.contains(MMPermissions::PRIVATE | MMPermissions::WRITE)
        && match path {
            MMapPath::Anonymous | MMapPath::Heap => true,
            // It has a name by prctl(2), PR_SET_VMA_ANON_NAME.
            MMapPath::Other(name) => name.starts_with("anon:"),
            _ => false,
        }
}

/// The parts of `piece`, an address and a length, of which each page is there and
/// nobody else's; as many huge pages side by side as there are.
fn whole(pagemap: &File, piece: (u64, u64), size: u64) -> io::Result<Vec<(u64, u64)>> {
    let (start, length) = piece;
    let entry = size_of::<u64>() as u64;
    let mut entries = vec![0; usize::try_from(length / PAGE * entry).map_err(io::Error::other)?];
    pagemap.read_exact_at(&mut entries, start / PAGE * entry)?;
    let block = usize::try_from(size / PAGE * entry).map_err(io::Error::other)?;
    let mut found: Vec<(u64, u64)> = Vec::new();
    for (address, block) in (start..).step_by(block / 8 * 4096).zip(entries.chunks_exact(block)) {
        if !block.chunks_exact(8).all(is_there_alone) {
            continue;
        }
        match found.last_mut() {
            Some((start, length)) if *start + *length == address => *length += size,
            _ => found.push((address, size)),
        }
    }
    Ok(found)
}

fn is_there_alone(entry: &[u8]) -> bool {
    let entry = u64::from_ne_bytes(entry.try_into().expect("an entry has eight bytes"));
    entry & (PRESENT | OF_FILE | EXCLUSIVE) == PRESENT | EXCLUSIVE
}

/// Has the kernel put a part of the memory of `process` together: whether it has. What
/// it has no room for at first, it often has when it has tried.
///
/// # Errors
/// It is no better elsewhere in the process.
fn collapse_patiently(
    process: &Process,
    (address, length): (u64, u64),
    attempts: &mut u32,
) -> io::Result<bool> {
    loop {
        let why = match collapse(process, address, length) {
            Ok(()) => return Ok(true),
            Err(why) => why,
        };
        match why.raw_os_error() {
            Some(libc::ENOMEM) if *attempts > 0 => {
                *attempts -= 1;
                // It makes room in the background, and refuses at once meanwhile.
                thread::sleep(MOMENT);
            }
            // It is gone, or the kernel is too old, refuses, or has no room.
            Some(libc::ESRCH | libc::ENOSYS | libc::EPERM | libc::ENOMEM) => return Err(why),
            // The process has changed it, or wants no huge pages there.
            _ => return Ok(false),
        }
    }
}

/// Has the kernel put a part of the memory of `process` together, which runs.
fn collapse(process: &Process, address: u64, length: u64) -> io::Result<()> {
    let number = |bytes| usize::try_from(bytes).map_err(io::Error::other);
    let part = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(number(address)?),
        iov_len: number(length)?,
    };
    // SAFETY: the kernel reads one iovec, and follows its address in the other process
    // only.
    let done = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_fd().as_raw_fd(),
            &raw const part,
            1,
            MADV_COLLAPSE,
            0,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
