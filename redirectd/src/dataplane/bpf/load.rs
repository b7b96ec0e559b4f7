//! Getting the programs and maps into the kernel, or adopting those that are
//! there from before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapInfo},
    programs::{ProgramError, SchedClassifier, Xdp},
};
use redirectd_ebpf::abi::{ABI_VERSION, Settings, count};
use tracing::warn;

use super::{
    Options, attach,
    maps::{Maps, chain, failed},
};
use crate::{
    config::Tables,
    error::{Error, Kind},
    host::OLDEST_KERNEL,
};

/// The tc programs that are tail-called, in the order of their indices.
const TAILS: [&str; 13] = [
    "redirectd_open4",
    "redirectd_open6",
    "redirectd_icmp4",
    "redirectd_icmp6",
    "redirectd_frag4",
    "redirectd_frag6",
    "redirectd_tell4",
    "redirectd_tell6",
    "redirectd_admit4",
    "redirectd_admit6",
    "redirectd_follow4",
    "redirectd_follow6",
    "redirectd_park",
];

/// The program on the tc hook.
pub(super) const TC: &str = "redirectd_tc";
/// The program on the egress hook, while something is held.
pub(super) const REPLAY: &str = "redirectd_replay";
/// The program on the XDP hook.
pub(super) const XDP: &str = "redirectd_xdp";

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirectd.bpf.o"));

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Loads the programs, with the maps that are pinned in the pin directory where
/// there are any.
pub(super) fn load(options: &Options) -> Result<(Ebpf, Maps), Error> {
    let directory = &options.pin_dir;
    prepare(directory)?;
    check_version(directory)?;
    let sizes = Sizes::adopt(directory, Sizes::wanted(&options.tables))?;
    let mut ebpf = EbpfLoader::new()
        .default_map_pin_directory(directory)
        .map_max_entries("FLOWS4", sizes.flows)
        .map_max_entries("FLOWS6", sizes.flows)
        .map_max_entries("HALF_OPEN4", sizes.half_open)
        .map_max_entries("HALF_OPEN6", sizes.half_open)
        .map_max_entries("SLOTS", sizes.slots)
        .map_max_entries("LOCATIONS", sizes.slots * 2)
        .map_max_entries("SLOT_COUNTERS", sizes.slots)
        .map_max_entries("RECORDS", sizes.slots)
        .load(OBJECT)
        .map_err(|error| refused("load the BPF object", &error))?;
    load_programs(&mut ebpf)?;
    let mut maps = Maps::take(&mut ebpf, directory)?;
    for (index, name) in TAILS.iter().enumerate() {
        let program = tc_program(&mut ebpf, name)?;
        let fd = program.fd().map_err(|error| refused("use a program", &error))?;
        maps.programs
            .set(index as u32, fd, 0)
            .map_err(|error| failed("write", "PROGRAMS", &error))?;
    }
    let settings = Settings {
        abi_version: ABI_VERSION,
        snat_first: options.snat_ports.first(),
        snat_last: options.snat_ports.last(),
        flows_max: u64::from(sizes.flows / 2),
        held_max: u64::from(options.tables.held_mib) << 20,
    };
    maps.settings.set(0, settings, 0).map_err(|error| failed("write", "SETTINGS", &error))?;
    recount(&mut maps)?;
    Ok((ebpf, maps))
}

/// Entries of the tables, as the kernel counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    /// Two for each flow.
    flows: u32,
    /// Two for each flow.
    half_open: u32,
    /// Slot 0 stands for "none".
    slots: u32,
}

impl Sizes {
    fn wanted(tables: &Tables) -> Self {
        Self {
            flows: tables.flows.saturating_mul(2),
            half_open: tables.half_open.saturating_mul(2),
            slots: tables.redirects.saturating_add(1),
        }
    }

    /// A table that is there keeps the size it was made with.
    fn adopt(directory: &Path, wanted: Self) -> Result<Self, Error> {
        let sizes = Self {
            flows: size_of_pinned(directory, "FLOWS4")?.unwrap_or(wanted.flows),
            half_open: size_of_pinned(directory, "HALF_OPEN4")?.unwrap_or(wanted.half_open),
            slots: size_of_pinned(directory, "SLOTS")?.unwrap_or(wanted.slots),
        };
        if sizes != wanted {
            warn!(
                redirects = sizes.slots - 1,
                flows = sizes.flows / 2,
                half_open = sizes.half_open / 2,
                "the tables in the kernel keep their sizes, which differ from `tables:`; \
                 `redirectd --uninstall` makes room for new ones, and cuts all flows"
            );
        }
        Ok(sizes)
    }
}

fn size_of_pinned(directory: &Path, name: &str) -> Result<Option<u32>, Error> {
    let pin = directory.join(name);
    if !pin.exists() {
        return Ok(None);
    }
    let info = MapInfo::from_pin(&pin).map_err(|error| failed("adopt", name, &error))?;
    Ok(Some(info.max_entries()))
}

fn load_programs(ebpf: &mut Ebpf) -> Result<(), Error> {
    for name in TAILS.iter().chain([&TC, &REPLAY]) {
        tc_program(ebpf, name)?
            .load()
            .map_err(|error| refused(&format!("load the program {name}"), &error))?;
    }
    xdp_program(ebpf)?.load().map_err(|error| refused(&format!("load the program {XDP}"), &error))
}

/// A tc program of the object.
pub(super) fn tc_program<'e>(
    ebpf: &'e mut Ebpf,
    name: &str,
) -> Result<&'e mut SchedClassifier, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(|error: ProgramError| refused("use a program", &error))
}

/// The XDP program of the object.
pub(super) fn xdp_program(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = ebpf.program_mut(XDP).ok_or_else(|| missing(XDP))?;
    program.try_into().map_err(|error: ProgramError| refused("use a program", &error))
}

fn missing(name: &str) -> Error {
    Error::new(Kind::Failed, format!("the built-in BPF object has no program {name}"))
        .cure("rebuild redirectd; its two halves are of different versions")
}

/// Something the kernel refused while loading.
pub(super) fn refused(what: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let text = format!("cannot {what}: {}", chain(error));
    // The verifier refuses a program with EACCES as well, but tells why.
    if is_permission(error) && !text.contains("processed ") {
        return Error::new(Kind::NotPermitted, text)
            .cure("start redirectd as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
    }
    let (major, minor) = OLDEST_KERNEL;
    Error::new(Kind::Failed, text).cure(format!(
        "redirectd needs Linux {major}.{minor} or later, built with CONFIG_BPF_SYSCALL, \
         CONFIG_NET_CLS_BPF and CONFIG_BPF_JIT; on such a kernel, report this with `uname -r`"
    ))
}

fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    is_of_kind(error, io::ErrorKind::PermissionDenied)
}

/// Whether an I/O error of `kind` is behind `error`.
pub(super) fn is_of_kind(error: &(dyn std::error::Error + 'static), kind: io::ErrorKind) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == kind;
        }
        next = error.source();
    }
    false
}

/// Makes the pin directory, on a BPF file system.
fn prepare(directory: &Path) -> Result<(), Error> {
    let parent = existing_ancestor(directory);
    let kind = nix::sys::statfs::statfs(&parent).map_err(|error| {
        Error::new(Kind::Failed, format!("cannot look at {}: {error}", parent.display()))
    })?;
    if kind.filesystem_type().0 as i64 != BPF_FS_MAGIC {
        return Err(Error::new(
            Kind::Failed,
            format!("{} is not on a BPF file system", directory.display()),
        )
        .cure("mount one: mount -t bpf bpf /sys/fs/bpf"));
    }
    fs::create_dir_all(directory).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::new(Kind::NotPermitted, format!("cannot make {}: {error}", directory.display()))
                .cure("start redirectd as root")
        }
        _ => Error::new(Kind::Failed, format!("cannot make {}: {error}", directory.display())),
    })
}

fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Refuses pins of another version, before anything is touched.
fn check_version(directory: &Path) -> Result<(), Error> {
    let pin = directory.join("SETTINGS");
    if !pin.exists() {
        return Ok(());
    }
    let map = MapData::from_pin(&pin).map_err(|error| failed("adopt", "SETTINGS", &error))?;
    let found = Array::<_, Settings>::try_from(Map::Array(map))
        .and_then(|settings| settings.get(&0, 0))
        .map(|settings| settings.abi_version);
    match found {
        // 0: a start that died before it had written its settings.
        Ok(ABI_VERSION | 0) => Ok(()),
        Ok(other) => Err(version_error(directory, &format!("have version {other}"))),
        Err(_) => Err(version_error(directory, "have an unknown layout")),
    }
}

fn version_error(directory: &Path, have: &str) -> Error {
    Error::new(
        Kind::Failed,
        format!(
            "the maps pinned in {} {have}, this redirectd has version {ABI_VERSION}",
            directory.display()
        ),
    )
    .cure(format!(
        "keep running the redirectd that made them, or let its flows end and remove them: \
         redirectd --uninstall --pin-dir {}",
        directory.display()
    ))
}

/// Sets the count of flows to what the tables really hold.
fn recount(maps: &mut Maps) -> Result<(), Error> {
    let entries = super::flows::entries(&maps.v4)? + super::flows::entries(&maps.v6)?;
    let read = |index| maps.counts.get(&index, 0).map_err(|error| failed("read", "COUNTS", &error));
    let gone = read(count::ESTABLISHED)?.wrapping_sub(read(count::REMOVED)?);
    let expired = gone.wrapping_sub(entries / 2);
    maps.counts.set(count::EXPIRED, expired, 0).map_err(|error| failed("write", "COUNTS", &error))
}

/// Takes everything in `directory` away: programs off their interfaces, maps
/// out of the kernel. Open flows are cut.
///
/// # Errors
/// What could not be removed; the rest is.
pub fn uninstall(directory: &Path) -> Result<(), Error> {
    let mut problems = attach::detach_all(directory);
    if directory.exists()
        && let Err(error) = fs::remove_dir_all(directory)
    {
        problems.push(format!("{}: {error}", directory.display()));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Failed, format!("cannot remove everything: {}", problems.join("; "))))
}
