//! `redirect flows`

use std::net::IpAddr;

use anstream::{eprintln, println};
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{
    Context, completions,
    output::{self, DIM},
    table::{Table, number, text},
    units,
};
use crate::{
    api::types::{FlowList, FlowView},
    dataplane::FlowState,
    error::Error,
};

/// List open flows: who speaks with whom, through which redirect
#[derive(Debug, Args)]
pub(super) struct Flows {
    /// Only those of this redirect
    #[arg(long, value_name = "NAME")]
    #[arg(add = ArgValueCompleter::new(completions::redirect_names))]
    redirect: Option<String>,

    /// Only those of this peer
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,

    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

impl Flows {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let mut path = format!("/v1/flows?limit={}", self.limit);
        if let Some(name) = &self.redirect {
            path.push_str(&format!("&redirect={}", output::path_segment(name)));
        }
        if let Some(peer) = &self.peer {
            path.push_str(&format!("&peer={peer}"));
        }
        let list: FlowList = context.client.get(&path).await?;
        if context.json {
            output::json(&list);
            return Ok(());
        }
        if list.flows.is_empty() {
            println!("no open flows; they appear when a peer speaks to a redirected endpoint");
            return Ok(());
        }
        table(&list.flows).print();
        let hidden = list.matching.saturating_sub(list.flows.len() as u64);
        if hidden > 0 {
            eprintln!("{DIM}{hidden} more; --limit shows them{DIM:#}");
        }
        Ok(())
    }
}

fn table(flows: &[FlowView]) -> Table {
    let mut table = Table::new(&[
        "REDIRECT", "PROTO", "PEER", "HOME", "HOST", "VIA PORT", "STATE", "IDLE", "TO HOST",
        "TO PEER",
    ]);
    for flow in flows {
        table.row([
            text(&flow.redirect).style(output::BOLD),
            text(flow.protocol),
            text(flow.peer),
            text(flow.home),
            text(flow.host),
            number(flow.snat_port),
            match flow.state {
                FlowState::HalfOpen => text("half-open").style(output::WARN),
                FlowState::Established => text("established").style(output::GOOD),
                FlowState::HalfClosed => text("half-closed"),
                FlowState::Closed => text("closed").style(DIM),
            },
            number(units::duration(flow.idle_seconds)),
            number(units::bytes(flow.to_host.bytes)),
            number(units::bytes(flow.to_peer.bytes)),
        ]);
    }
    table
}
