//! Reading a whole map in few system calls (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6).

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

use aya::{Pod, maps::MapData};

/// Entries asked for at a time. A hash bucket that holds more than fits makes
/// the kernel refuse; buckets are short.
const AT_A_TIME: u32 = 4096;

/// The command's number in linux/bpf.h.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Calls `visit` for each entry of the hash map `map`. Entries that come or go
/// meanwhile may be missed; one that stays is seen at least once.
pub(super) fn each<K: Pod, V: Pod>(map: &MapData, mut visit: impl FnMut(K, V)) -> io::Result<()> {
    let fd = map.fd().as_fd().as_raw_fd() as u32;
    let mut keys = Vec::<MaybeUninit<K>>::with_capacity(AT_A_TIME as usize);
    let mut values = Vec::<MaybeUninit<V>>::with_capacity(AT_A_TIME as usize);
    // The kernel's own place in the map: as long as a key, at least a u32.
    let mut from = vec![0u8; size_of::<K>().max(4)];
    let mut to = from.clone();
    let mut started = false;
    loop {
        let mut attr = Batch {
            in_batch: if started { from.as_ptr() as u64 } else { 0 },
            out_batch: to.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: AT_A_TIME,
            map_fd: fd,
            elem_flags: 0,
            flags: 0,
        };
        let done = match call(&mut attr) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            Err(error) => return Err(error),
        };
        for index in 0..attr.count as usize {
            // SAFETY: the kernel has filled `count` keys and values, and any
            // bytes are valid for a `Pod`.
            let (key, value) =
                unsafe { (keys.as_ptr().add(index).read(), values.as_ptr().add(index).read()) };
            // SAFETY: as above.
            unsafe { visit(key.assume_init(), value.assume_init()) };
        }
        if done {
            return Ok(());
        }
        std::mem::swap(&mut from, &mut to);
        started = true;
    }
}

fn call(attr: &mut Batch) -> io::Result<()> {
    // SAFETY: the attribute is whole and its pointers are to buffers of the
    // sizes that `count` and the map's key and value sizes ask for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            std::ptr::from_mut(attr),
            size_of::<Batch>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
