//! XDP programs that are on an interface already, asked for and removed by
//! rtnetlink: the kernel lets one program at a time have the driver's hook.

use std::fmt;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::error::{Error, Kind};

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

/// The XDP program on `interface`, if there is one.
pub(super) fn program_on(interface: &str) -> Result<Option<Present>, Error> {
    let mut message = LinkMessage::default();
    message.header.index = index(interface)?;
    let answer = ask(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)
        .map_err(|error| failed(interface, &error))?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload else {
        return Err(failed(interface, &"an answer of another kind"));
    };
    let xdp = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    Ok(present(xdp.unwrap_or_default()))
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
    let answer = ask(RouteNetlinkMessage::SetLink(message), NLM_F_REQUEST | NLM_F_ACK)
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

/// One request, one answer.
fn ask(
    message: RouteNetlinkMessage,
    flags: u16,
) -> std::io::Result<NetlinkMessage<RouteNetlinkMessage>> {
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    request.header.flags = flags;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    NetlinkMessage::deserialize(&answer).map_err(std::io::Error::other)
}
