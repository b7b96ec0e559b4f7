//! Whether the kernel tells which pages were written to, tried out without CRIU.

use std::{
    env,
    fs::File,
    io::Read as _,
    os::unix::fs::FileExt as _,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};

/// The bit of a page that was written to, in `/proc/PID/pagemap`
/// (`Documentation/admin-guide/mm/soft-dirty.rst`).
const SOFT_DIRTY: u64 = 1 << 55;
/// With this variable, the kernel has to tell: `cargo xtask test --kernel debian`
/// sets it.
const DEMANDED: &str = "REDIRECTD_TEST_TRACKS_MEMORY";

/// What is forgotten is forgotten for the whole process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether it tells.
pub(crate) fn memory_is_tracked() -> Result<bool> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut zeros = vec![0; 4 << 12];
    // This page of it is nobody else's.
    let page = (zeros.as_ptr().addr() >> 12) + 2;
    File::open("/dev/zero")?.read_exact(&mut zeros)?;
    std::fs::write("/proc/self/clear_refs", "4").context("cannot forget what was written to")?;
    let before = is_written_to(page)?;
    File::open("/dev/zero")?.read_exact(&mut zeros)?;
    let tracked = !before && is_written_to(page)?;
    ensure!(
        tracked || env::var_os(DEMANDED).is_none(),
        "{DEMANDED} is set, and nothing is tracked"
    );
    Ok(tracked)
}

fn is_written_to(page: usize) -> Result<bool> {
    let mut entry = [0; 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, page as u64 * 8)?;
    Ok(u64::from_ne_bytes(entry) & SOFT_DIRTY != 0)
}
