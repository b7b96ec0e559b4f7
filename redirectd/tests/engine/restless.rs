//! A server with much memory, some of which it writes to all the time, and that can
//! tell whether it is right.

use anyhow::Result;
use xtask::lab::Machine;

use crate::programs;

/// Answers each line with how many of its pages are right, and how often it has written
/// to one; those that it writes to are the first 4 MiB. Each page is unlike all others.
pub(crate) const PROGRAM: &str = "
import mmap, os, socket, sys, threading, time, zlib
PAGES, HOT, MIB = int(sys.argv[2]) << 8, 1024, 1 << 20
memory = mmap.mmap(-1, PAGES << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
block = os.urandom(MIB)
for at in range(0, PAGES << 12, MIB):
    memory[at:at + MIB] = block
def stamp(page, number):
    memory[page << 12:(page << 12) + 8] = number.to_bytes(8, 'little')
def sum(page):
    return zlib.crc32(memory[page << 12:page + 1 << 12])
for page in range(PAGES):
    stamp(page, page)
sums = [sum(page) for page in range(PAGES)]
lock, changes = threading.Lock(), 0
def change():
    global changes
    while True:
        for page in range(HOT):
            with lock:
                changes += 1
                stamp(page, PAGES + changes)
                sums[page] = sum(page)
        time.sleep(.001)
threading.Thread(target=change, daemon=True).start()
listener = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
while True:
    connection = listener.accept()[0]
    while connection.recv(4096):
        with lock:
            right = [sum(page) == sums[page] for page in range(PAGES)].count(True)
        connection.sendall(b'%d %d\\n' % (right, changes))
    connection.close()
";

/// Starts one with so many MiB on `machine`.
pub(crate) fn start(machine: &Machine, mib: u32) -> Result<i32> {
    programs::start_with(machine, PROGRAM, &["0.0.0.0", &mib.to_string()])
}
