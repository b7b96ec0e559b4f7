//! What the sockets of a process become by a move: home knows, and is asked.

use std::{collections::BTreeMap, net::IpAddr};

use hyper::Method;

use crate::{
    api::{
        client::Client,
        moves::{MoveView, ReturnReport, ReturnRequest},
        types::FlowList,
    },
    error::{Error, Kind},
    migrate::criu::{
        images::{readdress::Relocation, sockets::Socket},
        names::{self, Named, Place},
    },
    rule::Redirect,
};

/// What the names of `sockets` become by `moved`; the way back of their connections
/// is prepared.
///
/// # Errors
/// One of them would break, or home refuses.
pub async fn relocation(
    client: &Client,
    moved: &MoveView,
    sockets: &[Socket],
) -> Result<Relocation, Error> {
    keep_ports(moved)?;
    let from: Vec<&Redirect> = moved.redirects.iter().map(|redirect| &redirect.from).collect();
    let addresses = from.iter().map(|redirect| redirect.target).collect();
    let (place, flows) = if from.iter().all(|redirect| redirect.is_at_home()) {
        (Place::Home(addresses), Vec::new())
    } else {
        let list: FlowList = client.get("/v1/flows").await?;
        (Place::Host(addresses), list.flows)
    };
    relocate(client, moved, &names::named(sockets, &place, &flows)?).await
}

/// A restored socket listens where it did.
fn keep_ports(moved: &MoveView) -> Result<(), Error> {
    let other = moved.redirects.iter().find(|r| r.from.target_port != r.to.target_port);
    let Some(other) = other else { return Ok(()) };
    let (from, to) = (other.from.target_endpoint(), other.to.target_endpoint());
    let what = format!("redirect `{}` moves from {from} to {to}, another port", other.from.name);
    Err(Error::new(Kind::Conflict, what)
        .cure("the process keeps its ports: begin the move to a host without a port"))
}

/// What the sockets' names become, which home is told and asked.
async fn relocate(client: &Client, moved: &MoveView, named: &[Named]) -> Result<Relocation, Error> {
    let pairs = moved.redirects.iter().map(|redirect| (redirect.from.target, redirect.to.target));
    let addresses: BTreeMap<IpAddr, IpAddr> = pairs.collect();
    if moved.redirects.iter().all(|redirect| redirect.to.is_at_home()) {
        return Ok(names::at_home(named, addresses));
    }
    let connections = named.iter().map(|named| named.at_home).collect();
    let path = format!("/v1/moves/{}/return", moved.id);
    let request = ReturnRequest { connections };
    let report: ReturnReport = client.send_to(Method::POST, &path, &request).await?;
    names::on_host(named, &report, addresses)
}
