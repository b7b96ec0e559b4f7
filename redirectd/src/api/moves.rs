//! What goes over the API about moves.

use std::net::SocketAddr;

use humantime::format_rfc3339_micros;
use serde::{Deserialize, Serialize};

use crate::{
    dataplane::{Connection, HeldFlow, Traffic},
    migrate::{
        away::Traveller,
        carried::Carried,
        handover::Follows,
        ledger::Move,
        machine::{MoveState, Owner},
        memory::Choice,
        record::{Moment, Outcome},
    },
    rule::{AT_HOME, Protocol, Redirect},
};

/// `POST /v1/moves`: a process is about to move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginRequest {
    /// The redirects that lead to it, at least one; a name also stands for those
    /// that were made with it for other home addresses.
    pub redirects: Vec<String>,
    /// Where it goes: a host of the configuration, a name or an address, with a
    /// port if it is not to keep its own; or `home`.
    pub to: String,
    /// What to call the move, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The process, if the engine tells which one it is; home remembers where it is
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Traveller>,
    /// The process goes though it is locked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub though_locked: bool,
    /// The move is led by the process that begins it, and aborted if that ends
    /// before the commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub led: bool,
    /// Those of the redirects, by their full names, that were made for the move, and
    /// go with it if it is aborted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<String>,
    /// How the memory of the process goes, if the engine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Choice>,
    /// How long it may stay parked before it is aborted by itself, in seconds.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: f64,
    /// Say whether it can begin, with the move as it would be, and change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl BeginRequest {
    /// The move of a process, by `redirects`, to `to`, and nothing more said of it.
    #[must_use]
    pub fn new(redirects: Vec<String>, to: impl Into<String>) -> Self {
        Self {
            redirects,
            to: to.into(),
            label: None,
            process: None,
            though_locked: false,
            led: false,
            made: Vec::new(),
            memory: None,
            timeout_seconds: DEFAULT_TIMEOUT,
            dry_run: false,
        }
    }
}

/// How long a move may stay parked if nobody says otherwise, in seconds.
pub const DEFAULT_TIMEOUT: f64 = 60.0;

fn default_timeout() -> f64 {
    DEFAULT_TIMEOUT
}

/// `POST /v1/moves/{id}/return`: the connections that the process has, as they
/// will be at the new host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnRequest {
    /// All of them.
    pub connections: Vec<ConnectionView>,
}

/// The answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnReport {
    /// The same, in the same order, with their hosts' endpoints and home's ports
    /// towards them: what the process must see as its peers.
    pub connections: Vec<ConnectionView>,
}

/// One connection of a process that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionView {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The peer's endpoint.
    pub peer: SocketAddr,
    /// The home endpoint that the peer sends to.
    pub home: SocketAddr,
    /// The endpoint on the new host; if it is not given, where the redirect leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<SocketAddr>,
    /// Home's port towards the host; 0, or none given, lets the daemon choose.
    #[serde(default)]
    pub snat_port: u16,
}

impl From<Connection> for ConnectionView {
    fn from(connection: Connection) -> Self {
        let Connection { protocol, peer, home, host, snat_port } = connection;
        let host = Some(host.into());
        Self { protocol, peer: peer.into(), home: home.into(), host, snat_port }
    }
}

/// `POST /v1/moves/{id}/commit`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitRequest {
    /// Packets go on being held, until `deliver` or for as long as the process may be
    /// parked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
}

/// The answer to `POST /v1/moves/{id}/deliver`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliverReport {
    /// Nothing had come to the new host before: neither what was held nor anything later.
    pub first: bool,
    /// The move.
    pub r#move: MoveView,
}

/// `POST /v1/moves/{id}/abort`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortRequest {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `GET /v1/moves`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveList {
    /// The first one first; without what was held of each flow.
    pub moves: Vec<MoveView>,
}

/// `GET /v1/moves/{id}`, and the answer to every request that changes a move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveView {
    /// Its number.
    pub id: u32,
    /// What it was called when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The process, if the engine told which one it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Traveller>,
    /// How far it is.
    pub state: MoveState,
    /// Whose the process is: of the old host, or of the new one.
    pub owner: Owner,
    /// Where the old host is: a name, an address, or `home`.
    pub from: String,
    /// Where the new host is.
    pub to: String,
    /// Its redirects.
    pub redirects: Vec<MovedRedirect>,
    /// How long it may stay parked.
    pub timeout_seconds: f64,
    /// When it began, as in RFC 3339.
    pub begun: String,
    /// When packets began to be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<String>,
    /// When the new host's way back was prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<String>,
    /// When it was committed or aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// When all that was held had been delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<String>,
    /// From parking until all that was held was delivered, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_seconds: Option<f64>,
    /// From the request to commit until the kernel had flipped, in seconds; none if a
    /// daemon that was started again has finished it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_seconds: Option<f64>,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What was held; so far, while it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldView>,
    /// How the memory of the process goes, if the engine told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Choice>,
    /// How far memory is that follows the process, as long as it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    /// How the process was carried over, if our own engine did that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

/// A redirect of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRedirect {
    /// As it was when the move began.
    pub from: Redirect,
    /// As it is from the commit on.
    pub to: Redirect,
}

/// What was held while a process was frozen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldView {
    /// Packets and bytes (of whole frames) held.
    pub traffic: Traffic,
    /// Dropped for want of room to hold them.
    pub overflow: Traffic,
    /// Packets held that could not be delivered.
    pub lost: u64,
    /// TCP segments that peers sent again meanwhile, of all flows.
    #[serde(default)]
    pub retransmissions: u64,
    /// How long delivering took, in seconds, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_seconds: Option<f64>,
    /// Flows of which something was held.
    pub flow_count: usize,
    /// These flows; if there are very many, those of which most was held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<HeldFlowView>,
}

/// What was held of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFlowView {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The peer's endpoint.
    pub peer: SocketAddr,
    /// The home endpoint.
    pub home: SocketAddr,
    /// Packets and bytes held.
    pub traffic: Traffic,
    /// Dropped for want of room to hold them. A flood of them is not noted by flow to
    /// the last, so that all flows' may be less than those of the move.
    #[serde(default)]
    pub overflow: Traffic,
    /// TCP segments with sequence numbers that had come already since it was parked:
    /// the peer has sent them again.
    #[serde(default)]
    pub retransmissions: u64,
}

impl HeldView {
    /// What `outcome` says, or, while the move goes on, would say now.
    #[must_use]
    pub fn new(outcome: &Outcome, delivered: bool) -> Self {
        let flow = |flow: &HeldFlow| HeldFlowView {
            protocol: flow.protocol,
            peer: flow.peer.into(),
            home: flow.home.into(),
            traffic: flow.traffic,
            overflow: flow.overflow,
            retransmissions: flow.retransmissions,
        };
        Self {
            traffic: outcome.held,
            overflow: outcome.overflow,
            lost: outcome.lost,
            retransmissions: outcome.retransmissions,
            replay_seconds: delivered.then_some(outcome.replay_us as f64 / 1e6),
            flow_count: outcome.flow_count,
            flows: outcome.flows.iter().map(flow).collect(),
        }
    }
}

impl MoveView {
    /// `there`, with what is held for it, and when that was delivered, if it was.
    #[must_use]
    pub fn new(there: &Move, held: Option<&Outcome>, delivered: Option<Moment>) -> Self {
        let text = |moment: Moment| format_rfc3339_micros(moment.time()).to_string();
        let shifts = &there.plan.shifts;
        let held_for = delivered.zip(there.parked).map(|(end, begin)| end.since(begin));
        Self {
            id: there.id,
            label: there.plan.label.clone(),
            process: there.plan.process.clone(),
            state: there.state,
            owner: there.owner(),
            from: place(shifts.iter().map(|shift| &shift.from)),
            to: place(shifts.iter().map(|shift| &shift.to)),
            redirects: shifts
                .iter()
                .map(|shift| MovedRedirect { from: shift.from.clone(), to: shift.to.clone() })
                .collect(),
            timeout_seconds: there.plan.timeout_ms as f64 / 1e3,
            begun: text(there.begun),
            parked: there.parked.map(text),
            returned: there.returned.map(text),
            decided: there.decided.map(text),
            delivered: delivered.map(text),
            held_seconds: held_for.map(|held| held.as_secs_f64()),
            flip_seconds: held.and_then(|held| Some(held.flip_us? as f64 / 1e6)),
            why: there.why.clone(),
            held: held.map(|held| HeldView::new(held, delivered.is_some())),
            memory: there.plan.memory.clone(),
            follows: None,
            carried: there.carried.clone(),
        }
    }

    /// The same without the single flows.
    #[must_use]
    pub fn in_short(mut self) -> Self {
        if let Some(held) = &mut self.held {
            held.flows.clear();
        }
        self
    }

    /// Where the process is.
    #[must_use]
    pub fn place(&self) -> &str {
        match self.owner {
            Owner::Old => &self.from,
            Owner::New => &self.to,
        }
    }
}

/// Where redirects lead: the host's name, or its addresses, or `home`.
fn place<'a>(redirects: impl Iterator<Item = &'a Redirect>) -> String {
    let mut places: Vec<String> = Vec::new();
    for redirect in redirects {
        let place = match &redirect.host {
            _ if redirect.is_at_home() => AT_HOME.to_owned(),
            Some(host) => host.clone(),
            None => redirect.target.to_string(),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.join(", ")
}
