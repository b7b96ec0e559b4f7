//! `redirect stats`

use std::{collections::HashMap, time::Duration};

use anstream::println;
use clap::Args;
use tokio::time::{Instant, sleep};

use super::{
    Context,
    output::{self, BOLD},
    table::{self, Table, number, text},
    units,
};
use crate::{
    api::types::{RedirectStats, Stats as Counters},
    dataplane::Traffic,
    error::Error,
};

/// Print counters: per redirect, in total, and every reason for passing or
/// dropping packets
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Go on, and print rates every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: Option<u64>,
}

impl Stats {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let counters = get(context).await?;
        match self.interval {
            None if context.json => output::json(&counters),
            None => print(&counters),
            Some(seconds) => follow(context, counters, Duration::from_secs(seconds)).await?,
        }
        Ok(())
    }
}

async fn get(context: &Context) -> Result<Counters, Error> {
    context.client.get("/v1/stats").await
}

fn print(counters: &Counters) {
    let mut table =
        Table::new(&["REDIRECT", "STATE", "OPEN", "OPENED", "REFUSED", "TO HOST", "TO PEER"]);
    for redirect in &counters.redirects {
        table.row([
            text(&redirect.name).style(BOLD),
            table::state(redirect.state),
            number(units::count(redirect.open_flows)),
            number(units::count(redirect.counters.flows_opened)),
            number(units::count(redirect.counters.flows_refused)),
            number(units::traffic(redirect.counters.to_host)),
            number(units::traffic(redirect.counters.to_peer)),
        ]);
    }
    let total = &counters.total;
    table.row([
        text("total"),
        text(""),
        number(units::count(counters.open_flows)),
        number(units::count(total.flows_opened)),
        number(units::count(total.flows_refused)),
        number(units::traffic(total.to_host)),
        number(units::traffic(total.to_peer)),
    ]);
    table.print();
    print_reasons(counters);
    println!();
    let mut table = Table::new(&["TABLE", "USED", "SIZE"]);
    for one in &counters.tables {
        table.row([text(&one.table), number(one.used), number(one.size)]);
    }
    table.print();
}

/// The reasons that occurred; --json has the others too.
fn print_reasons(counters: &Counters) {
    if counters.reasons.iter().all(|count| count.traffic.packets == 0) {
        return;
    }
    println!();
    let mut table = Table::new(&["VERDICT", "REASON", "PACKETS", "BYTES", "MEANING"]);
    for count in counters.reasons.iter().filter(|count| count.traffic.packets > 0) {
        table.row([
            text(&count.verdict),
            text(&count.reason),
            number(units::count(count.traffic.packets)),
            number(units::bytes(count.traffic.bytes)),
            text(&count.meaning).style(output::DIM),
        ]);
    }
    table.print();
}

async fn follow(context: &Context, first: Counters, interval: Duration) -> Result<(), Error> {
    let (mut before, mut then) = (first, Instant::now());
    loop {
        sleep(interval).await;
        let (after, now) = (get(context).await?, Instant::now());
        if context.json {
            output::json_line(&after);
        } else {
            rates(&before, &after, (now - then).as_secs_f64()).print();
            println!();
        }
        (before, then) = (after, now);
    }
}

/// What went through each redirect in `seconds`, by the second.
pub(super) fn rates(before: &Counters, after: &Counters, seconds: f64) -> Table {
    let mut table = Table::new(&[
        "REDIRECT",
        "STATE",
        "OPEN",
        "NEW/s",
        "PKT/s TO HOST",
        "BIT/s TO HOST",
        "PKT/s TO PEER",
        "BIT/s TO PEER",
    ]);
    let earlier: HashMap<&str, &RedirectStats> =
        before.redirects.iter().map(|stats| (stats.name.as_str(), stats)).collect();
    let rate = |after: u64, before: u64| {
        units::count((after.saturating_sub(before) as f64 / seconds).round() as u64)
    };
    for stats in &after.redirects {
        let then = earlier.get(stats.name.as_str()).map(|then| then.counters).unwrap_or_default();
        let now = &stats.counters;
        let traffic = |now: Traffic, then: Traffic| {
            [
                number(rate(now.packets, then.packets)),
                number(rate(now.bytes.saturating_mul(8), then.bytes.saturating_mul(8))),
            ]
        };
        let mut row = vec![
            text(&stats.name).style(BOLD),
            table::state(stats.state),
            number(units::count(stats.open_flows)),
            number(rate(now.flows_opened, then.flows_opened)),
        ];
        row.extend(traffic(now.to_host, then.to_host));
        row.extend(traffic(now.to_peer, then.to_peer));
        table.row(row);
    }
    table
}
