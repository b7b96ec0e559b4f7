//! What was held while a process was frozen, and of which flows.

use anstream::println;

use crate::{
    api::moves::{HeldFlowView, HeldView},
    cmd::{
        output,
        table::{Table, number, text},
        units,
    },
    rule::Protocol,
};

/// More flows than these are not listed for people.
const MOST_ROWS: usize = 20;

/// Prints all flows' sums.
pub(in crate::cmd) fn print_sums(held: &HeldView) {
    output::field("held", units::traffic(held.traffic));
    output::field("overflow", units::traffic(held.overflow));
    output::field("lost", format!("{} packets", held.lost));
    output::field("retransmitted", format!("{} TCP segments", held.retransmissions));
    if let Some(seconds) = held.replay_seconds {
        output::field("delivering", units::short(seconds));
    }
}

/// Prints a table of the flows, if there are any.
pub(in crate::cmd) fn print_flows(held: &HeldView) {
    if held.flows.is_empty() {
        return;
    }
    println!();
    let header = ["PROTO", "PEER", "HOME", "PACKETS", "BYTES", "OVERFLOW", "RETRANSMITTED"];
    let mut table = Table::new(&header);
    for flow in held.flows.iter().take(MOST_ROWS) {
        table.row([
            text(flow.protocol),
            text(flow.peer),
            text(flow.home),
            number(units::count(flow.traffic.packets)),
            number(units::bytes(flow.traffic.bytes)),
            number(units::count(flow.overflow.packets)),
            number(retransmissions(flow)),
        ]);
    }
    table.print();
    let (listed, all) = (held.flows.len(), held.flow_count);
    match all.saturating_sub(listed.min(MOST_ROWS)) {
        0 => {}
        more if listed > MOST_ROWS => {
            println!("… and {more} flows more, of which less was held; `--json` lists {listed}");
        }
        more => println!("… and {more} flows more"),
    }
}

fn retransmissions(flow: &HeldFlowView) -> String {
    match flow.protocol {
        Protocol::Tcp => units::count(flow.retransmissions),
        Protocol::Udp => "-".to_owned(),
    }
}
