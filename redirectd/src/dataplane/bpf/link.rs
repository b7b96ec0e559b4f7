//! What rtnetlink tells of an interface: whether a driver or the kernel provides
//! it, and the XDP program on it, of which there can be one at a time.

use std::fmt;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::{
    error::{Error, Kind},
    netlink::{ask, dump},
};

/// `XDP_FLAGS_SKB_MODE` of linux/if_link.h.
const SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE` of linux/if_link.h.
const DRV_MODE: u32 = 1 << 2;
/// `XDP_FLAGS_HW_MODE` of linux/if_link.h.
const HW_MODE: u32 = 1 << 3;

/// An XDP program on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    id: u32,
    name: Option<String>,
    mode: XdpAttached,
}

impl fmt::Display for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}` (program {})", self.id),
            None => write!(f, "program {}", self.id),
        }
    }
}

fn failed(interface: &str, what: &dyn fmt::Display) -> Error {
    Error::new(Kind::Failed, format!("cannot ask the kernel about {interface}: {what}"))
}

/// What is known of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Whether a device's own driver provides it: the kernel names a kind (veth,
    /// bridge, vlan, …) for those that it makes up itself.
    pub physical: bool,
    /// Its MAC address.
    pub mac: Option<[u8; 6]>,
    /// The XDP program on it.
    pub xdp: Option<Present>,
}

/// Looks at `interface`.
pub(super) fn link(interface: &str) -> Result<Link, Error> {
    let mut message = LinkMessage::default();
    message.header.index = index(interface)?;
    let answer = ask(NETLINK_ROUTE, RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)
        .map_err(|error| failed(interface, &error))?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload else {
        return Err(failed(interface, &"an answer of another kind"));
    };
    let loopback = link.header.flags.contains(LinkFlags::Loopback);
    let mut made_up = false;
    let mut mac = None;
    let mut xdp = Vec::new();
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::LinkInfo(info) => {
                made_up = info.iter().any(|info| matches!(info, LinkInfo::Kind(_)));
            }
            LinkAttribute::Address(address) => mac = address.try_into().ok(),
            LinkAttribute::Xdp(attributes) => xdp = attributes,
            _ => {}
        }
    }
    Ok(Link { physical: !loopback && !made_up, mac, xdp: present(xdp) })
}

fn present(attributes: Vec<LinkXdp>) -> Option<Present> {
    let mut id = 0;
    let mut mode = XdpAttached::None;
    for attribute in attributes {
        match attribute {
            LinkXdp::ProgId(program) if id == 0 => id = program,
            LinkXdp::Attached(attached) => mode = attached,
            _ => {}
        }
    }
    (id != 0).then(|| Present { id, name: name_of(id), mode })
}

fn name_of(id: u32) -> Option<String> {
    aya::programs::loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
}

/// Takes `program` off `interface`.
pub(super) fn remove(interface: &str, program: &Present) -> Result<(), Error> {
    let flags = match program.mode {
        XdpAttached::SocketBuffer => SKB_MODE,
        XdpAttached::Hardware => HW_MODE,
        _ => DRV_MODE,
    };
    let mut message = LinkMessage::default();
    message.header.index = index(interface)?;
    message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(-1), LinkXdp::Flags(flags)]));
    let answer =
        ask(NETLINK_ROUTE, RouteNetlinkMessage::SetLink(message), NLM_F_REQUEST | NLM_F_ACK)
            .map_err(|error| failed(interface, &error))?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(Error::new(
            Kind::Conflict,
            format!("cannot push {program} off {interface}: {}", error.to_io()),
        )
        .cure("it is held by a BPF link; stop the program that owns it")),
        _ => Ok(()),
    }
}

fn index(interface: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(interface)
        .map_err(|_| Error::new(Kind::NotFound, format!("there is no interface `{interface}`")))
}

/// The classic filters at the ingress hook of `interface`, by program or kind.
pub(super) fn filters(interface: &str) -> Result<Vec<String>, Error> {
    let mut message = TcMessage::default();
    message.header.index = index(interface)? as i32;
    message.header.parent =
        TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };
    let answers = dump(NETLINK_ROUTE, RouteNetlinkMessage::GetTrafficFilter(message))
        .map_err(|error| failed(interface, &error))?;
    let filters = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(filter) => Some(describe(&filter.attributes)),
        _ => None,
    });
    // Each filter is preceded by a bare entry for its priority.
    Ok(filters.flatten().collect())
}

fn describe(attributes: &[TcAttribute]) -> Option<String> {
    let mut kind = None;
    let mut program = None;
    let mut has_options = false;
    for attribute in attributes {
        match attribute {
            TcAttribute::Kind(found) => kind = Some(found.clone()),
            TcAttribute::Options(options) => {
                has_options = !options.is_empty();
                program = options.iter().find_map(|option| match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let kind = kind.filter(|_| has_options)?;
    Some(match program {
        Some(id) => format!("clsact {id} {}", name_of(id).as_deref().unwrap_or("?")),
        None => format!("clsact {kind}"),
    })
}
