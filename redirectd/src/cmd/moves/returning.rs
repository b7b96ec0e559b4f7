//! `redirect move return`

use std::net::SocketAddr;

use clap::Args;
use clap_complete::ArgValueCompleter;
use hyper::Method;

use super::path;
use crate::{
    api::moves::{ConnectionView, ReturnReport, ReturnRequest},
    cmd::{
        Context, completions, output,
        table::{Table, number, text},
    },
    error::Error,
};

/// Prepare the open connections of a process at its new host
///
/// What the new host sends on them passes to the peers from now on; what the peers
/// send goes there with the commit. Printed is what each connection must look like
/// on the new host: its own endpoint, and home's port that it has for a peer. To be
/// told before the process is restored, for its sockets speak up as soon as they
/// are there; with all connections at once. UDP needs it only where home's port
/// matters.
#[derive(Debug, Args)]
pub(super) struct Return {
    /// The number of the move
    #[arg(add = ArgValueCompleter::new(completions::move_ids))]
    id: u32,

    /// A connection: its protocol, the peer's endpoint, and the home endpoint; may
    /// be given more than once
    #[arg(long = "connection", value_name = "PROTOCOL,PEER,HOME", value_parser = connection)]
    connections: Vec<ConnectionView>,
}

impl Return {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let request = ReturnRequest { connections: self.connections };
        let path = path(self.id, "/return");
        let report: ReturnReport = context.client.send_to(Method::POST, &path, &request).await?;
        if context.json {
            output::json(&report);
        } else {
            table(&report).print();
        }
        Ok(())
    }
}

fn table(report: &ReturnReport) -> Table {
    let mut table = Table::new(&["PROTO", "PEER", "HOME", "ON THE HOST", "HOME'S PORT"]);
    for connection in &report.connections {
        table.row([
            text(connection.protocol),
            text(connection.peer),
            text(connection.home),
            text(connection.host.map_or_else(|| "-".to_owned(), |host| host.to_string())),
            number(connection.snat_port),
        ]);
    }
    table
}

fn connection(text: &str) -> Result<ConnectionView, String> {
    const FORM: &str = "write it as tcp,198.51.100.7:40000,192.0.2.1:80";
    let parts: Vec<&str> = text.split(',').collect();
    let [protocol, peer, home] = parts[..] else { return Err(FORM.to_owned()) };
    let endpoint = |text: &str| {
        text.parse::<SocketAddr>().map_err(|_| format!("`{text}` is not an endpoint; {FORM}"))
    };
    let protocol = protocol.parse().map_err(|_| format!("`{protocol}` is no protocol; {FORM}"))?;
    let (peer, home) = (endpoint(peer)?, endpoint(home)?);
    Ok(ConnectionView { protocol, peer, home, host: None, snat_port: 0 })
}
