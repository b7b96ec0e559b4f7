//! The images on their way past home, which gives the sockets in them their next
//! addresses.

use std::time::Instant;

use tokio::io::split;

use super::{Now, Watch, failed, relocation};
use crate::{
    api::{client::Client, moves::MoveView},
    error::Error,
    migrate::{
        criu::{
            datagrams::Datagram,
            images::{FILES, readdress::readdress, sockets::sockets},
            stream::{
                Sum,
                relay::{Passed, Relay, Relayed},
            },
        },
        handover::{Belongings, Remains, Told, Way},
    },
    node,
};

/// Passes the images on, as far as they come of themselves; tells `watch` of memory that
/// goes ahead. Should the destination fail meanwhile, nothing more is sent.
///
/// # Errors
/// The destination's, or one of the ways is cut.
pub(super) async fn pass(
    relay: &mut Relay,
    source: &mut Way,
    destination: &mut Way,
    watch: &Watch<'_>,
) -> Result<Passed, Error> {
    let (mut from, mut to) = split(destination);
    let said = node::hear::<Told>(&mut from);
    let on_ahead = |round, bytes| watch(Now::Ahead { round, bytes });
    tokio::select! {
        passed = relay.pass(source, &mut to, &on_ahead) => passed,
        said = said => Err(unexpected(said?)),
    }
}

/// Ends the images with the addresses at the destination, hands the rest over, and
/// waits until the process is revived; tells when all was there, if the destination
/// says so.
///
/// # Errors
/// The destination's, the way is cut, or a connection would break.
pub(super) async fn hand_over(
    client: &Client,
    moved: &MoveView,
    relayed: Relayed,
    remains: &Remains,
    destination: &mut Way,
) -> Result<(Sum, Option<Instant>), Error> {
    let unfit = |why: &dyn std::fmt::Display| failed(format!("{FILES} cannot be used: {why}"));
    let mut all = sockets(&relayed.open_files).map_err(|why| unfit(&why))?;
    all.extend(remains.waiting.iter().map(Datagram::as_socket));
    let relocation = relocation(client, moved, &all).await?;
    let open_files = readdress(&relayed.open_files, &relocation).map_err(|why| unfit(&why))?;
    let datagrams = remains.waiting.iter().filter_map(|datagram| {
        // One of an address that does not move is nobody's there.
        let names = relocation.connections.get(&datagram.as_socket().connection()?)?;
        Some(datagram.clone().renamed(names))
    });
    let belongings =
        Belongings { options: remains.options.clone(), datagrams: datagrams.collect() };
    let sum = relayed.finish(destination, &open_files).await?;
    node::say(destination, &belongings).await?;
    let mut received = None;
    loop {
        match node::hear(destination).await? {
            Told::Received => received = Some(Instant::now()),
            Told::Revived => return Ok((sum, received)),
            said => return Err(unexpected(said)),
        }
    }
}

fn unexpected(said: Told) -> Error {
    match said {
        Told::Failed(error) => error,
        other => failed(format!("the destination says {other:?} out of turn")),
    }
}
