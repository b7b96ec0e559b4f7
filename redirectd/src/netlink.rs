//! Questions to the kernel by netlink.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// One question, one answer. `family` is the netlink family, such as
/// `NETLINK_ROUTE`.
///
/// # Errors
/// The kernel does not answer, or what it answers cannot be read.
pub(crate) fn ask<T>(family: isize, message: T, flags: u16) -> io::Result<NetlinkMessage<T>>
where
    T: NetlinkSerializable + NetlinkDeserializable + Into<NetlinkPayload<T>>,
{
    let socket = send(family, message, flags)?;
    let (answer, _) = socket.recv_from_full()?;
    NetlinkMessage::deserialize(&answer).map_err(io::Error::other)
}

/// One question, all answers.
///
/// # Errors
/// The kernel refuses, or what it answers cannot be read.
pub(crate) fn dump<T>(family: isize, message: T) -> io::Result<Vec<T>>
where
    T: NetlinkSerializable + NetlinkDeserializable + Into<NetlinkPayload<T>>,
{
    let socket = send(family, message, NLM_F_REQUEST | NLM_F_DUMP)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<T>::deserialize(rest).map_err(io::Error::other)?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            match answer.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                // A dump that fails says so at its end.
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code));
                }
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(answers),
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn send<T>(family: isize, message: T, flags: u16) -> io::Result<Socket>
where
    T: NetlinkSerializable + Into<NetlinkPayload<T>>,
{
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), message.into());
    request.header.flags = flags;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(family)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    Ok(socket)
}
