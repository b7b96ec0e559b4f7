//! What home is told of a move, and what it says: `redirect move` step by step.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result};
use redirectd::{
    api::{
        moves::{ConnectionView, ReturnReport},
        types::FlowView,
    },
    migrate::criu::{
        datagrams::Datagram,
        images::{readdress::readdress, sockets::sockets},
        names,
    },
};
use serde_json::Value;
use xtask::lab::Daemon;

use crate::scene::Place;

/// A move of one process.
pub(crate) struct Move<'a> {
    daemon: &'a Daemon,
    id: String,
    from: names::Place,
    to: names::Place,
    /// The old place's → the new one's.
    addresses: BTreeMap<IpAddr, IpAddr>,
}

impl<'a> Move<'a> {
    /// Of the one that `redirects` lead to.
    pub(crate) fn begin(
        daemon: &'a Daemon,
        redirects: &[&str],
        from: &Place,
        to: &Place,
    ) -> Result<Self> {
        let begin = [&["move", "begin"], redirects, &["--to", to.name()]].concat();
        let begun = daemon.json(&begin)?;
        let id = begun["id"].as_u64().context("a move has a number")?.to_string();
        let addresses = from.addresses().into_iter().zip(to.addresses()).collect();
        Ok(Self { daemon, id, from: from.as_place(), to: to.as_place(), addresses })
    }

    pub(crate) fn park(&self) -> Result<()> {
        self.step("park", &[]).map(drop)
    }

    pub(crate) fn commit(&self) -> Result<()> {
        self.step("commit", &[]).map(drop)
    }

    pub(crate) fn abort(&self, why: &str) -> Result<()> {
        self.step("abort", &["--why", why]).map(drop)
    }

    /// `image` and waiting datagrams with the names that the sockets have at the
    /// new place; their way back is prepared.
    pub(crate) fn readdress(
        &self,
        image: &[u8],
        waiting: Vec<Datagram>,
    ) -> Result<(Vec<u8>, Vec<Datagram>)> {
        let flows = self.daemon.json(&["flows"])?["flows"].take();
        let flows: Vec<FlowView> = serde_json::from_value(flows)?;
        let mut all = sockets(image)?;
        all.extend(waiting.iter().map(Datagram::as_socket));
        let named = names::named(&all, &self.from, &flows)?;
        let addresses = self.addresses.clone();
        let relocation = match self.to {
            names::Place::Home(_) => names::at_home(&named, addresses),
            names::Place::Host(_) => names::on_host(&named, &self.prepare(&named)?, addresses)?,
        };
        let renamed = waiting.into_iter().map(|datagram| {
            let connection = datagram.as_socket().connection().expect("it is one");
            datagram.renamed(&relocation.connections[&connection])
        });
        Ok((readdress(image, &relocation)?, renamed.collect()))
    }

    /// Prepares the way back of these connections.
    fn prepare(&self, named: &[names::Named]) -> Result<ReturnReport> {
        let text = |view: &ConnectionView| {
            format!("--connection={},{},{}", view.protocol, view.peer, view.home)
        };
        let connections: Vec<String> = named.iter().map(|one| text(&one.at_home)).collect();
        if connections.is_empty() {
            return Ok(ReturnReport::default());
        }
        let connections: Vec<&str> = connections.iter().map(String::as_str).collect();
        Ok(serde_json::from_value(self.step("return", &connections)?)?)
    }

    fn step(&self, step: &str, options: &[&str]) -> Result<Value> {
        self.daemon.json(&[&["move", step, &self.id], options].concat())
    }
}
