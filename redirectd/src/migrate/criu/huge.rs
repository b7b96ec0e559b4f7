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
    time::{Duration, Instant},
};

use nix::unistd::{SysconfVar, sysconf};
use procfs::process::{MMPermissions, MMapPath, Process as Mapped};
use tracing::debug;

use super::descriptors::Process;

/// What the administrator says of huge pages; not there in kernels without.
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// The bytes of a huge page.
const SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
/// So much is put together at once, in bytes, until is looked whether that is wanted
/// still.
const AT_ONCE: u64 = 32 << 20;

/// So often may there be no huge page left, for one process, until no more are looked
/// for.
const ATTEMPTS: u32 = 64;
/// How long the next attempt waits.
const MOMENT: Duration = Duration::from_millis(10);

/// How long it may take for all processes of a move together: what is still in small
/// pages then costs a longer pause, and no more.
pub const LONGEST: Duration = Duration::from_secs(10);

/// `madvise(2)`: put into huge pages now.
const MADV_COLLAPSE: i32 = 25;

/// The bytes in `/proc/PID/pagemap` for each page.
const ENTRY: u64 = 8;
/// What it says of a page (`Documentation/admin-guide/mm/pagemap.rst`).
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;

/// The sizes of pages, in bytes.
#[derive(Clone, Copy)]
struct Sizes {
    page: u64,
    huge: u64,
}

/// Puts the memory of the running processes `pids` together, for as long as it is
/// `wanted`, and no longer than `longest`.
pub fn gather(pids: impl IntoIterator<Item = i32>, longest: Duration, wanted: &dyn Fn() -> bool) {
    let Some(sizes) = sizes() else { return };
    let begun = Instant::now();
    let wanted = &|| wanted() && begun.elapsed() < longest;
    for pid in pids {
        match gather_one(pid, sizes, wanted) {
            Ok(0) => {}
            Ok(bytes) => debug!(pid, bytes, "memory is in huge pages"),
            Err(why) => debug!(pid, %why, "memory stays in small pages"),
        }
    }
}

/// None if the administrator lets there be no huge pages.
fn sizes() -> Option<Sizes> {
    let enabled = fs::read_to_string(ENABLED).ok()?;
    let huge = fs::read_to_string(SIZE).ok()?.trim().parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??.try_into().ok()?;
    (!enabled.contains("[never]") && huge > page).then_some(Sizes { page, huge })
}

/// How many bytes are in huge pages then.
fn gather_one(pid: i32, sizes: Sizes, wanted: &dyn Fn() -> bool) -> io::Result<u64> {
    let process = Process::open(pid)?;
    let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
    let maps = Mapped::new(pid).and_then(|process| process.maps()).map_err(io::Error::other)?;
    let (mut gathered, mut attempts) = (0, ATTEMPTS);
    for map in maps.iter().filter(|map| is_its_own(map.perms, &map.pathname)) {
        let (start, end) = map.address;
        let (mut at, end) = (start.next_multiple_of(sizes.huge), end - end % sizes.huge);
        while at < end {
            // Of memory that is not there, much may be looked through for nothing.
            if !wanted() {
                return Ok(gathered);
            }
            let piece = AT_ONCE.max(sizes.huge).min(end - at);
            for (address, length) in whole(&pagemap, (at, piece), sizes)? {
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
fn whole(pagemap: &File, piece: (u64, u64), sizes: Sizes) -> io::Result<Vec<(u64, u64)>> {
    let (start, length) = piece;
    let Sizes { page, huge } = sizes;
    let entries = |bytes: u64| usize::try_from(bytes / page * ENTRY).map_err(io::Error::other);
    let mut all = vec![0; entries(length)?];
    pagemap.read_exact_at(&mut all, start / page * ENTRY)?;
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut address = start;
    for block in all.chunks_exact(entries(huge)?) {
        if block.chunks_exact(entries(page)?).all(is_there_alone) {
            match found.last_mut() {
                Some((start, length)) if *start + *length == address => *length += huge,
                _ => found.push((address, huge)),
            }
        }
        address += huge;
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
