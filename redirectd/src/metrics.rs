//! Numbers for Prometheus, and whether the daemon is alive, over HTTP on an
//! address of the local machine; only if the configuration asks for it.

use std::{fmt::Write, net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    api::types::Stats,
    daemon::{Handle, MoveTotals},
    error::{Error, Kind},
    node::Nodes,
};

/// How long the daemon's thread may be busy and still count as alive.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens on `address`.
///
/// # Errors
/// It is not an address of the local machine alone, or it is taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        let what = format!("`metrics: {address}` would show the metrics to the network");
        return Err(Error::new(Kind::Failed, what)
            .cure("give a loopback address such as 127.0.0.1:9310, and a proxy if need be"));
    }
    TcpListener::bind(address).await.map_err(|error| {
        Error::new(Kind::Failed, format!("cannot serve metrics on {address}: {error}"))
            .cure("choose another port under `metrics:` in the configuration")
    })
}

/// `/metrics`, `/live` and `/ready` of the daemon behind `handle`, and of `nodes`.
pub fn router(handle: Handle, nodes: Nodes) -> Router {
    Router::new()
        .route("/metrics", get(move |daemon| metrics(daemon, nodes.clone())))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .with_state(handle)
}

async fn metrics(State(daemon): State<Handle>, nodes: Nodes) -> Response {
    let numbers = daemon.call(|daemon| Ok((daemon.stats()?, daemon.move_totals()?))).await;
    match numbers.and_then(|(stats, moves)| text(&stats, moves, &nodes)) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The thread that owns the dataplane takes jobs.
async fn live(State(daemon): State<Handle>) -> Response {
    match timeout(PATIENCE, daemon.call(|_| Ok(()))).await {
        Ok(Ok(())) => "live\n".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the daemon's thread hangs\n").into_response(),
    }
}

/// The kernel has what is desired.
async fn ready(State(daemon): State<Handle>) -> Response {
    match timeout(PATIENCE, daemon.call(|daemon| daemon.in_force())).await {
        Ok(Ok(())) => "ready\n".into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the daemon's thread hangs\n").into_response(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    redirect: String,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    redirect: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
    verdict: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Table {
    table: String,
}

/// `stats`, `moves` and `nodes` in the text format of OpenMetrics.
fn text(stats: &Stats, moves: MoveTotals, nodes: &Nodes) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("redirectd");
    register_redirects(&mut registry, stats);
    register_reasons(&mut registry, stats);
    register_moves(&mut registry, moves);
    register_nodes(&mut registry, nodes);
    let mut text = String::new();
    encode(&mut text, &registry)
        .and_then(|()| text.write_str(""))
        .map_err(|error| Error::new(Kind::Failed, format!("cannot write the metrics: {error}")))?;
    Ok(text)
}

fn register_redirects(registry: &mut Registry, stats: &Stats) {
    let packets = Family::<Direction, Counter>::default();
    let bytes = Family::<Direction, Counter>::default();
    let opened = Family::<Named, Counter>::default();
    let refused = Family::<Named, Counter>::default();
    let open = Family::<Named, Gauge>::default();
    for stats in &stats.redirects {
        let both = [("to_host", stats.counters.to_host), ("to_peer", stats.counters.to_peer)];
        for (direction, traffic) in both {
            let labels = Direction { redirect: stats.name.clone(), direction };
            packets.get_or_create(&labels).inc_by(traffic.packets);
            bytes.get_or_create(&labels).inc_by(traffic.bytes);
        }
        let labels = Named { redirect: stats.name.clone() };
        opened.get_or_create(&labels).inc_by(stats.counters.flows_opened);
        refused.get_or_create(&labels).inc_by(stats.counters.flows_refused);
        open.get_or_create(&labels).inc_by(i64::try_from(stats.open_flows).unwrap_or(i64::MAX));
    }
    registry.register("redirect_packets", "Packets of a redirect, by direction", packets);
    let help = "Bytes of a redirect, by direction (IP length)";
    registry.register_with_unit("redirect", help, Unit::Bytes, bytes);
    registry.register("flows_opened", "Flows taken", opened);
    registry.register("flows_refused", "New flows refused for want of room or ports", refused);
    registry.register("flows_open", "Flows that are open now, half-open ones included", open);
}

fn register_reasons(registry: &mut Registry, stats: &Stats) {
    let packets = Family::<Reason, Counter>::default();
    for count in &stats.reasons {
        let labels = Reason { reason: count.reason.clone(), verdict: count.verdict.clone() };
        packets.get_or_create(&labels).inc_by(count.traffic.packets);
    }
    let used = Family::<Table, Gauge>::default();
    let size = Family::<Table, Gauge>::default();
    for table in &stats.tables {
        let labels = Table { table: table.table.clone() };
        used.get_or_create(&labels).set(i64::try_from(table.used).unwrap_or(i64::MAX));
        size.get_or_create(&labels).set(i64::try_from(table.size).unwrap_or(i64::MAX));
    }
    registry.register("packets", "Packets by what was done with them, and why", packets);
    registry.register("table_entries", "Entries in a table", used);
    registry.register("table_size", "Entries a table can hold", size);
}

fn register_nodes(registry: &mut Registry, nodes: &Nodes) {
    let known = Gauge::<i64>::default();
    known.set(i64::try_from(nodes.count()).unwrap_or(i64::MAX));
    registry.register("nodes", "Other nodes that are known", known);
    let refused = Family::<Refusal, Counter>::default();
    for (why, count) in nodes.refusals() {
        refused.get_or_create(&Refusal { reason: why.word() }).inc_by(count);
    }
    registry.register("node_refused", "Connections of nodes that were refused, and why", refused);
}

fn register_moves(registry: &mut Registry, totals: MoveTotals) {
    let moves = Family::<Outcome, Counter>::default();
    moves.get_or_create(&Outcome { outcome: "committed" }).inc_by(totals.committed);
    moves.get_or_create(&Outcome { outcome: "aborted" }).inc_by(totals.aborted);
    registry.register("moves", "Moves that are over since the start, by outcome", moves);
    registry.register("moves_open", "Moves that are not over", gauge(totals.open));
    registry.register("held_packets", "Packets held by moves", counter(totals.held_packets));
    let help = "Bytes held by moves (whole frames)";
    registry.register_with_unit("held", help, Unit::Bytes, counter(totals.held_bytes));
    let help = "Packets dropped by moves for want of room to hold them";
    registry.register("held_overflow_packets", help, counter(totals.overflow_packets));
    let help = "Packets held by moves that could not be delivered";
    registry.register("held_lost_packets", help, counter(totals.lost_packets));
    let help = "TCP segments that peers sent again while packets were held";
    registry.register("held_retransmissions", help, counter(totals.retransmissions));
    let help = "Processes some of whose memory is where they came from";
    registry.register("processes_dependent", help, gauge(totals.dependent));
    let help = "Memory that is still where its process came from";
    registry.register_with_unit("memory_behind", help, Unit::Bytes, gauge(totals.behind_bytes));
    let help = "Memory that has followed processes";
    let followed = counter(totals.followed_bytes);
    registry.register_with_unit("memory_followed", help, Unit::Bytes, followed);
    let help = "Processes that have ended as their memory did not come";
    registry.register("processes_lost", help, counter(totals.lost_processes));
    let help = "For how long moves held packets, until all were delivered";
    registry.register_with_unit("move_held", help, Unit::Seconds, totals.held_seconds);
    let help = "For how long processes were frozen that `redirect migrate` or evictions moved";
    registry.register_with_unit("move_frozen", help, Unit::Seconds, totals.frozen_seconds);
}

fn counter(count: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(count);
    counter
}

fn gauge(now: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(now).unwrap_or(i64::MAX));
    gauge
}
