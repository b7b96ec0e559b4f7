//! The smallest BPF programs, written as instructions: what a lab needs of
//! them is less than a compiler is worth.

use std::{
    ffi::CString,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result};

use super::{Inner, cleanup};

/// bpf(2) commands, from linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_LINK_CREATE: libc::c_long = 28;
/// `enum bpf_attach_type`.
const BPF_TCX_INGRESS: u32 = 46;
/// Helper functions, from linux/bpf.h.
const SKB_VLAN_PUSH: i32 = 18;
const SKB_VLAN_POP: i32 = 19;
const REDIRECT: i32 = 23;
/// Offsets in `struct __sk_buff`.
const SKB_VLAN_PRESENT: i16 = 20;
const SKB_VLAN_TCI: i16 = 24;
const SKB_VLAN_PROTO: i16 = 28;
/// What the programs return.
const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
const XDP_PASS: i32 = 2;
/// `BPF_F_INGRESS`: as if received.
const F_INGRESS: i32 = 1;
/// Room for what the verifier says.
const LOG_SIZE: usize = 16 * 1024;

static PIN: AtomicU32 = AtomicU32::new(0);

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramType {
    /// `BPF_PROG_TYPE_SCHED_CLS`.
    Tc = 3,
    /// `BPF_PROG_TYPE_XDP`.
    Xdp = 6,
}

/// A loaded program.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// A program's name in the BPF file system; it goes when this is dropped, while
/// the program stays as long as it is attached.
pub(super) struct Pin {
    path: PathBuf,
    _removal: cleanup::Token,
}

impl Pin {
    pub(super) fn path(&self) -> &str {
        self.path.to_str().expect("the lab's names are plain")
    }
}

impl Program {
    /// Lets every packet pass; at tc, to the next program.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn pass(kind: ProgramType) -> Result<Self> {
        let verdict = match kind {
            ProgramType::Tc => TC_ACT_UNSPEC,
            ProgramType::Xdp => XDP_PASS,
        };
        Self::load(kind, "lab_pass", &[mov(0, verdict), EXIT])
    }

    /// For tc egress: puts an 802.1Q tag (`ether_type` 0x8100) or a service tag
    /// (0x88a8) with this VLAN before every packet.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn tag(ether_type: u16, vlan: u16) -> Result<Self> {
        let code = [
            mov(2, i32::from(ether_type.to_be())),
            mov(3, i32::from(vlan)),
            call(SKB_VLAN_PUSH),
            mov(0, TC_ACT_UNSPEC),
            EXIT,
        ];
        Self::load(ProgramType::Tc, "lab_tag", &code)
    }

    /// For tc ingress: takes that tag off; packets without it are dropped.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn untag(ether_type: u16, vlan: u16) -> Result<Self> {
        let code = [
            move_register(6, 1),
            load_word(2, 6, SKB_VLAN_PRESENT),
            jump_if_equal(2, 0, 8),
            load_word(2, 6, SKB_VLAN_PROTO),
            jump_unless_equal(2, i32::from(ether_type.to_be()), 6),
            load_word(2, 6, SKB_VLAN_TCI),
            and(2, 0xfff),
            jump_unless_equal(2, i32::from(vlan), 3),
            call(SKB_VLAN_POP),
            mov(0, TC_ACT_UNSPEC),
            EXIT,
            mov(0, TC_ACT_SHOT),
            EXIT,
        ];
        Self::load(ProgramType::Tc, "labuntag", &code)
    }

    /// For tc: sends every packet out of the interface of that index, or makes it
    /// look as if received there.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn redirect(interface: u32, received: bool) -> Result<Self> {
        let code = [
            mov(1, i32::try_from(interface)?),
            mov(2, if received { F_INGRESS } else { 0 }),
            call(REDIRECT),
            EXIT,
        ];
        Self::load(ProgramType::Tc, "labsends", &code)
    }

    fn load(kind: ProgramType, name: &str, code: &[u64]) -> Result<Self> {
        let licence = c"GPL";
        let mut log = vec![0_u8; LOG_SIZE];
        // union bpf_attr as BPF_PROG_LOAD reads it: type and count, then the
        // addresses, the log's level and size, version and flags, the name.
        let attributes: [u64; 8] = [
            pair(kind as u32, code.len()),
            code.as_ptr().addr() as u64,
            licence.as_ptr().addr() as u64,
            pair(1, log.len()),
            log.as_mut_ptr().addr() as u64,
            0,
            label(name),
            0,
        ];
        // SAFETY: the attributes are as BPF_PROG_LOAD wants them, and what they
        // point to outlives the call.
        let loaded = unsafe { descriptor(BPF_PROG_LOAD, &attributes) };
        loaded.map(Self).with_context(|| {
            let said = String::from_utf8_lossy(&log);
            let said = said.trim_end_matches('\0');
            format!("the kernel refuses the program `{name}`:\n{said}")
        })
    }

    /// Puts it on the tcx ingress hook of the interface of that index, in the
    /// network namespace of this thread; it goes with the descriptor.
    pub(super) fn link_tcx(&self, interface: u32) -> Result<OwnedFd> {
        let attributes: [u64; 8] = [
            pair(self.0.as_raw_fd().cast_unsigned(), usize::try_from(interface)?),
            pair(BPF_TCX_INGRESS, 0),
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        // SAFETY: the attributes are as BPF_LINK_CREATE wants them; they have no
        // addresses.
        let linked = unsafe { descriptor(BPF_LINK_CREATE, &attributes) };
        linked.context("the kernel does not attach a program at tcx")
    }

    /// Gives it a name in the BPF file system, for programs that take one.
    pub(super) fn pin(&self, lab: &Arc<Inner>) -> Result<Pin> {
        let number = PIN.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new("/sys/fs/bpf").join(format!("{}-program{number}", lab.id));
        let removal = cleanup::Token::folder(&folder);
        std::fs::create_dir(&folder).context("cannot write to /sys/fs/bpf; is it mounted?")?;
        let path = folder.join("program");
        let name = CString::new(path.to_str().context("the lab's names are plain")?)?;
        let attributes: [u64; 2] =
            [name.as_ptr().addr() as u64, pair(self.0.as_raw_fd().cast_unsigned(), 0)];
        // SAFETY: the attributes are as BPF_OBJ_PIN wants them, and the name
        // outlives the call.
        let done = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, attributes.as_ptr(), size_of_val(&attributes))
        };
        if done < 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot pin a program at {}", path.display()));
        }
        Ok(Pin { path, _removal: removal })
    }
}

/// Calls bpf(2) for something that gives a new descriptor.
///
/// # Safety
/// `attributes` must be what `command` takes, with valid addresses.
unsafe fn descriptor(command: libc::c_long, attributes: &[u64]) -> std::io::Result<OwnedFd> {
    let (address, size) = (attributes.as_ptr(), size_of_val(attributes));
    // SAFETY: the caller vouches for the attributes.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, address, size) };
    match i32::try_from(fd) {
        // SAFETY: the call gave a new descriptor, which nobody else holds.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The first half of a program's name, which these do not exceed.
fn label(name: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    u64::from_ne_bytes(bytes)
}

/// Two 32-bit fields, the first at the lower address.
fn pair(first: u32, second: usize) -> u64 {
    let second = u32::try_from(second).expect("sizes here are small");
    u64::from_ne_bytes(
        [first.to_ne_bytes(), second.to_ne_bytes()].concat().try_into().expect("8 bytes"),
    )
}

const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

const fn mov(register: u8, value: i32) -> u64 {
    instruction(0xb7, register, 0, 0, value)
}

const fn move_register(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

const fn and(register: u8, value: i32) -> u64 {
    instruction(0x57, register, 0, 0, value)
}

const fn load_word(to: u8, base: u8, offset: i16) -> u64 {
    instruction(0x61, to, base, offset, 0)
}

const fn jump_if_equal(register: u8, value: i32, skip: i16) -> u64 {
    instruction(0x15, register, 0, skip, value)
}

const fn jump_unless_equal(register: u8, value: i32, skip: i16) -> u64 {
    instruction(0x55, register, 0, skip, value)
}

const fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

/// `struct bpf_insn`: code, the two registers, offset, immediate.
const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    let (offset, value) = (offset.to_ne_bytes(), value.to_ne_bytes());
    u64::from_ne_bytes([
        code, registers, offset[0], offset[1], value[0], value[1], value[2], value[3],
    ])
}
