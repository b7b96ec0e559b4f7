//! System V shared memory: the machine's, or that of an IPC namespace that goes
//! along.

use serde_json::Value;

use crate::{
    inspect::{obstacles, only},
    program::Program,
};

/// Has a segment without a name.
const SEGMENT: &str = "
libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_void_p
number = libc.shmget(0, 4096, 0o1600); libc.shmat(number, None, 0)
libc.shmctl(number, 0, None)";

#[test]
fn the_machine_s_is_in_the_way() {
    only(&obstacles(&Program::start(SEGMENT)), "system-v-memory", &["0x00000000"]);
}

/// Both segments are the first of their namespaces: their numbers are the same.
#[test]
fn a_namespace_of_its_own_goes_along() {
    let programs = [(); 2].map(|()| Program::run_by(&["unshare", "--ipc"], SEGMENT));
    for program in &programs {
        assert_eq!(obstacles(program), [Value::Null; 0]);
    }
}
