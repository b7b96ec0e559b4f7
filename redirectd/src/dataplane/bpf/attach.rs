//! Programs on interfaces: put there, adopted, replaced, taken off.
//!
//! Links are pinned, so the programs stay when the daemon goes, and the next one
//! replaces them in place.

use std::{io, path::Path};

use aya::{
    Ebpf,
    maps::MapError,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, XdpMode,
        links::{FdLink, PinnedLink},
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
        xdp::XdpLink,
    },
};

use redirectd_ebpf::abi::{Station, XDP_INTERFACES};

use super::{
    Bpf,
    link::{Present, filters, link, remove},
    load::{REPLAY, TC, is_of_kind, refused, tc_program, xdp_program},
    maps::{Maps, chain, failed},
    pins::{TC_PIN, XDP_PIN, pin, pinned, take_off},
};
use crate::{
    dataplane::{Attach, Attached},
    error::{Error, Kind},
};

/// Our place among classic filters: in front of most others, which see what we
/// leave alone.
pub(super) const PRIORITY: u16 = 10;
/// By which our filter is found again.
pub(super) const HANDLE: TcHandle = TcHandle::new(0, 1);

/// Takes over the links of an earlier daemon: its programs are replaced by ours
/// without a packet in between. Links of interfaces that are gone are removed.
pub(super) fn adopt(ebpf: &mut Ebpf, directory: &Path) -> Result<Vec<Attached>, Error> {
    let mut attached = Vec::new();
    for interface in pinned(directory, XDP_PIN) {
        let path = pin(directory, XDP_PIN, &interface);
        if index(&interface).is_none() {
            take_off(&path)?;
            continue;
        }
        let link = from_pin(&path)?;
        let program = xdp_program(ebpf)?;
        let link = XdpLink::try_from(link).map_err(|error| foreign(&path, &error))?;
        let id =
            program.attach_to_link(link).map_err(|error| refused("replace a program", &error))?;
        // The pin holds the link; ours may go.
        drop(program.take_link(id));
    }
    for interface in pinned(directory, TC_PIN) {
        let path = pin(directory, TC_PIN, &interface);
        if index(&interface).is_none() {
            take_off(&path)?;
            continue;
        }
        let link = from_pin(&path)?;
        let program = tc_program(ebpf, TC)?;
        let link = SchedClassifierLink::try_from(link).map_err(|error| foreign(&path, &error))?;
        let id =
            program.attach_to_link(link).map_err(|error| refused("replace a program", &error))?;
        drop(program.take_link(id));
        let xdp = pin(directory, XDP_PIN, &interface).exists();
        attached.push(Attached {
            asked: if xdp { Attach::Xdp } else { Attach::Tc },
            running: (if xdp { "xdp+tcx" } else { "tcx" }).to_owned(),
            neighbours: neighbours(ebpf, &interface),
            interface,
        });
    }
    for interface in filtered() {
        remove_replay(&interface);
        attach_clsact(tc_program(ebpf, TC)?, &interface)?;
        let xdp = pin(directory, XDP_PIN, &interface).exists();
        attached.push(Attached {
            asked: if xdp { Attach::Xdp } else { Attach::Tc },
            running: (if xdp { "xdp+clsact" } else { "clsact" }).to_owned(),
            neighbours: neighbours(ebpf, &interface),
            interface,
        });
    }
    Ok(attached)
}

fn from_pin(path: &Path) -> Result<FdLink, Error> {
    PinnedLink::from_pin(path)
        .map(FdLink::from)
        .map_err(|error| refused(&format!("adopt the link {}", path.display()), &error))
}

fn foreign(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::new(
        Kind::Failed,
        format!("{} is not one of redirectd's links: {}", path.display(), chain(error)),
    )
    .cure("remove it, or use another --pin-dir")
}

fn index(interface: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(interface).ok()
}

/// Puts the programs on `interface`, or brings what is there to what is asked.
pub(super) fn attach(
    bpf: &mut Bpf,
    interface: &str,
    asked: Attach,
    replace: bool,
) -> Result<Attached, Error> {
    let Some(index) = index(interface) else {
        return Err(Error::new(Kind::NotFound, format!("there is no interface `{interface}`"))
            .cure("`ip link` lists the interfaces; set the right one under `interfaces:`"));
    };
    let link = link(interface)?;
    let wants_xdp = match asked {
        Attach::Tc => false,
        Attach::Xdp => true,
        Attach::Auto => link.physical,
    };
    // tc first: from the moment XDP runs, it leaves packets to tc.
    let tc = attach_tc(bpf, interface)?;
    let xdp = if wants_xdp {
        match attach_xdp(bpf, interface, link.xdp.as_ref(), replace) {
            Ok(()) => true,
            // Not every driver has it; `auto` takes what there is.
            Err(error) if asked == Attach::Auto && error.kind != Kind::Conflict => false,
            Err(error) => {
                if !bpf.attached.iter().any(|attached| attached.interface == interface) {
                    let _ = detach(bpf, interface);
                }
                return Err(error);
            }
        }
    } else {
        detach_xdp(bpf, interface)?;
        false
    };
    set_xdp(&mut bpf.maps, index, link.mac.filter(|_| xdp))?;
    let attached = Attached {
        interface: interface.to_owned(),
        asked,
        running: if xdp { format!("xdp+{tc}") } else { tc.to_owned() },
        neighbours: neighbours(&bpf.ebpf, interface),
    };
    bpf.attached.retain(|attached| attached.interface != interface);
    bpf.attached.push(attached.clone());
    Ok(attached)
}

/// Tells the programs whether XDP runs on the interface, whose MAC address is
/// `mac`.
fn set_xdp(maps: &mut Maps, index: u32, mac: Option<[u8; 6]>) -> Result<(), Error> {
    let station = match mac {
        Some([a, b, c, d, e, f]) => {
            Station { mac: [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes), on: 1 }
        }
        None => Station::default(),
    };
    match maps.xdp_interfaces.set(index, station, 0) {
        Err(MapError::OutOfBounds { .. }) if mac.is_none() => Ok(()),
        Err(MapError::OutOfBounds { .. }) => Err(Error::new(
            Kind::Failed,
            format!("the interface's index is {index}; XDP is used up to {}", XDP_INTERFACES - 1),
        )
        .cure("set `attach: tc` for this interface")),
        result => result.map_err(|error| failed("write", "XDP_INTERFACES", &error)),
    }
}

/// Puts the tc program on; returns `tcx`, or `clsact` on kernels before 6.6.
fn attach_tc(bpf: &mut Bpf, interface: &str) -> Result<&'static str, Error> {
    let path = pin(&bpf.options.pin_dir, TC_PIN, interface);
    if path.exists() {
        return Ok("tcx");
    }
    let program = tc_program(&mut bpf.ebpf, TC)?;
    if bpf.options.clsact {
        return attach_clsact(program, interface);
    }
    let tcx = program.attach_with_options(
        interface,
        TcAttachType::Ingress,
        TcAttachOptions::TcxOrder(LinkOrder::first()),
    );
    match tcx {
        Ok(id) => {
            let link = program.take_link(id).map_err(|error| refused("keep a link", &error))?;
            keep(FdLink::try_from(link), &path)?;
            Ok("tcx")
        }
        Err(error) if is_unknown_to_kernel(&error) => attach_clsact(program, interface),
        Err(error) => Err(refused(&format!("attach to {interface} at tc"), &error)),
    }
}

/// Whether the kernel does not know TCX (Linux before 6.6).
pub(super) fn is_unknown_to_kernel(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error)
        if error.io_error.raw_os_error() == Some(libc::EINVAL))
}

/// Puts the program on as a classic filter, in the place of an earlier daemon's
/// if there is one: the kernel changes the one for the other between two packets.
fn attach_clsact(program: &mut SchedClassifier, interface: &str) -> Result<&'static str, Error> {
    match aya::programs::tc::qdisc_add_clsact(interface) {
        Ok(()) | Err(TcError::AlreadyAttached) => {}
        Err(error) if is_of_kind(&error, io::ErrorKind::AlreadyExists) => {}
        Err(error) => return Err(refused(&format!("add clsact to {interface}"), &error)),
    }
    let at = format!("attach to {interface} at clsact");
    let id = if has_filter(interface) {
        let ingress = TcAttachType::Ingress;
        let old = SchedClassifierLink::attached(interface, ingress, PRIORITY, HANDLE, None)
            .map_err(|error| refused(&at, &error))?;
        program.attach_to_link(old)
    } else {
        let options = NlOptions { priority: PRIORITY, handle: HANDLE, ..NlOptions::default() };
        let options = TcAttachOptions::Netlink(options);
        program.attach_with_options(interface, TcAttachType::Ingress, options)
    };
    let id = id.map_err(|error| refused(&at, &error))?;
    // The filter is to outlive this process, so its guard must not run.
    std::mem::forget(program.take_link(id));
    Ok("clsact")
}

/// Whether a filter of ours is on the interface.
fn has_filter(interface: &str) -> bool {
    filters(interface).is_ok_and(|filters| filters.iter().any(|filter| filter.ends_with(TC)))
}

/// Removes the egress filter that a daemon has left which died during a move.
fn remove_replay(interface: &str) {
    // Mostly there is none.
    let _ = aya::programs::tc::qdisc_detach_program(interface, TcAttachType::Egress, REPLAY);
}

/// All interfaces with a filter of ours.
fn filtered() -> Vec<String> {
    let interfaces = nix::net::if_::if_nameindex();
    let names = interfaces.iter().flat_map(|all| all.iter());
    names
        .filter_map(|interface| interface.name().to_str().ok().map(str::to_owned))
        .filter(|name| has_filter(name))
        .collect()
}

fn attach_xdp(
    bpf: &mut Bpf,
    interface: &str,
    present: Option<&Present>,
    replace: bool,
) -> Result<(), Error> {
    let path = pin(&bpf.options.pin_dir, XDP_PIN, interface);
    if path.exists() {
        return Ok(());
    }
    if let Some(present) = present {
        if !replace {
            return Err(Error::new(
                Kind::Conflict,
                format!("another XDP program is on {interface}: {present}"),
            )
            .cure("start redirectd with --replace to push it out, or set `attach: tc`"));
        }
        remove(interface, present)?;
    }
    let program = xdp_program(&mut bpf.ebpf)?;
    let id = program.attach(interface, XdpMode::Driver).map_err(|error| {
        refused(&format!("attach to {interface} at XDP in the driver"), &error)
            .cure("set `attach: tc` for this interface: its driver has no XDP")
    })?;
    let link = program.take_link(id).map_err(|error| refused("keep a link", &error))?;
    keep(FdLink::try_from(link), &path)
}

/// Pins a link, so that it outlives this process.
fn keep<E: std::error::Error + 'static>(link: Result<FdLink, E>, path: &Path) -> Result<(), Error> {
    let link = link.map_err(|error| refused("keep a link", &error))?;
    link.pin(path).map_err(|error| refused(&format!("pin {}", path.display()), &error))?;
    Ok(())
}

/// Other programs at the tc ingress hook: TCX by id and name, then classic
/// filters by kind and name. What cannot be asked for is left out.
fn neighbours(ebpf: &Ebpf, interface: &str) -> Vec<String> {
    let own = ebpf.program(TC).and_then(|program| program.info().ok()).map(|info| info.id());
    let tcx = SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
    let programs = tcx.map(|(_, programs)| programs).unwrap_or_default();
    let mut neighbours: Vec<String> = programs
        .iter()
        .filter(|program| Some(program.id()) != own)
        .map(|program| format!("tcx {} {}", program.id(), program.name_as_str().unwrap_or("?")))
        .collect();
    let filters = filters(interface).unwrap_or_default();
    neighbours.extend(filters.into_iter().filter(|filter| !filter.ends_with(TC)));
    neighbours
}

fn detach_xdp(bpf: &mut Bpf, interface: &str) -> Result<(), Error> {
    take_off(&pin(&bpf.options.pin_dir, XDP_PIN, interface))
}

/// Takes the programs off.
pub(super) fn detach(bpf: &mut Bpf, interface: &str) -> Result<(), Error> {
    if let Some(index) = index(interface) {
        set_xdp(&mut bpf.maps, index, None)?;
    }
    detach_xdp(bpf, interface)?;
    take_off(&pin(&bpf.options.pin_dir, TC_PIN, interface))?;
    let _ = aya::programs::tc::qdisc_detach_program(interface, TcAttachType::Ingress, TC);
    bpf.attached.retain(|attached| attached.interface != interface);
    Ok(())
}

/// Takes the programs of all pins in `directory` off; returns what went wrong.
pub(super) fn detach_all(directory: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for prefix in [XDP_PIN, TC_PIN] {
        for interface in pinned(directory, prefix) {
            if let Err(error) = take_off(&pin(directory, prefix, &interface)) {
                problems.push(error.what);
            }
        }
    }
    for interface in filtered() {
        remove_replay(&interface);
        let removed =
            aya::programs::tc::qdisc_detach_program(&interface, TcAttachType::Ingress, TC);
        if let Err(error) = removed {
            problems.push(format!("{interface}: {error}"));
        }
    }
    problems
}
