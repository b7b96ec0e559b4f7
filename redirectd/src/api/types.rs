//! What goes over the API, and what the command line prints with `--json`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Spec,
    dataplane::{
        Attached, Change, FlowInfo, FlowState, ReasonCount, RedirectCounters, Removal, State,
        TableUse, Traffic,
    },
    desired::{Origin, Placement},
    error::Error,
    migrate::machine::MoveState,
    rule::{Protocol, Redirect},
};

/// The version of everything in this file.
pub const VERSION: u32 = 1;

/// A body with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document<T> {
    /// [`VERSION`].
    pub version: u32,
    /// What it is about.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Document<T> {
    /// `body` under today's version.
    pub fn new(body: T) -> Self {
        Self { version: VERSION, body }
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
}

/// A redirect with what it did so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedirectView {
    /// What it is.
    #[serde(flatten)]
    pub redirect: Redirect,
    /// Where it was asked for.
    pub origin: Origin,
    /// What the configuration file says of it, if a move has led it elsewhere since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The move that has it in its hands.
    #[serde(rename = "move", default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
    /// What it does now.
    pub state: State,
    /// Flows that are open now, half-open ones included.
    pub open_flows: u64,
    /// Since it was added.
    pub counters: RedirectCounters,
}

/// The move that a redirect is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// Its number.
    pub id: u32,
    /// How far it is.
    pub state: MoveState,
}

/// `GET /v1/redirects`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedirectList {
    /// By name; draining ones after the others.
    pub redirects: Vec<RedirectView>,
}

/// `POST /v1/redirects`: what `redirect add` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// Its name.
    pub name: String,
    /// The redirect as people write it; read with the daemon's hosts and home
    /// addresses, as in a rule file.
    pub redirect: Spec,
    /// Change the redirect of this name if there is one.
    #[serde(default)]
    pub replace: bool,
    /// Refuse a TCP target that takes no connection within two seconds.
    #[serde(default)]
    pub check: bool,
    /// Say what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// `POST /v1/add`: several redirects in one change, all of them or none; what
/// `redirect add --pid` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddAllRequest {
    /// At least one.
    pub additions: Vec<Addition>,
    /// Change redirects of these names where there are some.
    #[serde(default)]
    pub replace: bool,
    /// Say what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// One of several redirects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addition {
    /// Its name.
    pub name: String,
    /// The redirect as people write it; read as that of an [`AddRequest`].
    pub redirect: Spec,
    /// Refuse a TCP target that takes no connection within two seconds.
    #[serde(default)]
    pub check: bool,
}

impl From<AddRequest> for AddAllRequest {
    fn from(request: AddRequest) -> Self {
        let AddRequest { name, redirect, replace, check, dry_run } = request;
        Self { additions: vec![Addition { name, redirect, check }], replace, dry_run }
    }
}

/// `POST /v1/remove`: all of them or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// At least one.
    pub names: Vec<String>,
    /// What becomes of their open flows.
    #[serde(default)]
    pub removal: Removal,
}

/// `POST /v1/apply`: read the configuration files anew, or replace all
/// redirects that came through the API by those of `rules`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// A rule file; without it the daemon reads its own files.
    #[serde(default)]
    pub rules: Option<RulesText>,
    /// Say what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// A rule file as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesText {
    /// What to call it in messages: its path, or `standard input`.
    pub source: String,
    /// Its contents.
    pub text: String,
}

/// What a change did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// Whether nothing was done because a dry run was asked for.
    pub dry_run: bool,
    /// In the order in which they are done; empty when all is as asked already.
    pub changes: Vec<Step>,
    /// What ought to be looked at, though it was done.
    pub warnings: Vec<String>,
}

/// One change of a redirect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Step {
    /// It is new.
    Add {
        /// It.
        redirect: Redirect,
    },
    /// It changes.
    Update {
        /// As it was.
        from: Redirect,
        /// As it is from then on.
        redirect: Redirect,
    },
    /// It goes.
    Remove {
        /// As it was.
        redirect: Redirect,
        /// What becomes of its open flows.
        removal: Removal,
    },
}

impl From<Change> for Step {
    fn from(change: Change) -> Self {
        match change {
            Change::Add(redirect) => Self::Add { redirect },
            Change::Update { from, to } => Self::Update { from, redirect: to },
            Change::Remove { redirect, removal } => Self::Remove { redirect, removal },
        }
    }
}

impl From<Step> for Change {
    fn from(step: Step) -> Self {
        match step {
            Step::Add { redirect } => Self::Add(redirect),
            Step::Update { from, redirect } => Self::Update { from, to: redirect },
            Step::Remove { redirect, removal } => Self::Remove { redirect, removal },
        }
    }
}

/// `GET /v1/flows`, the query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowQuery {
    /// Only those of this redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// Only those of this peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// `GET /v1/flows`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowList {
    /// How many match, whether listed or not.
    pub matching: u64,
    /// In no particular order.
    pub flows: Vec<FlowView>,
}

/// One flow, both directions together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowView {
    /// The redirect that made it.
    pub redirect: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The peer's endpoint.
    pub peer: SocketAddr,
    /// The home endpoint the peer sends to.
    pub home: SocketAddr,
    /// The endpoint on the host.
    pub host: SocketAddr,
    /// Home's port towards the host.
    pub snat_port: u16,
    /// Its state.
    pub state: FlowState,
    /// Seconds since the last packet in either direction.
    pub idle_seconds: f64,
    /// From the peer to the host.
    pub to_host: Traffic,
    /// From the host to the peer.
    pub to_peer: Traffic,
}

impl FlowView {
    /// `flow` of the redirect of that name.
    #[must_use]
    pub fn new(flow: &FlowInfo, redirect: &str) -> Self {
        Self {
            redirect: redirect.to_owned(),
            protocol: flow.protocol,
            peer: flow.peer.into(),
            home: flow.home.into(),
            host: flow.host.into(),
            snat_port: flow.snat_port,
            state: flow.state,
            idle_seconds: flow.idle.as_secs_f64(),
            to_host: flow.to_host,
            to_peer: flow.to_peer,
        }
    }
}

/// `GET /v1/stats`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Of all redirects together.
    pub total: RedirectCounters,
    /// Flows that are open now, half-open ones included.
    pub open_flows: u64,
    /// Each redirect.
    pub redirects: Vec<RedirectStats>,
    /// What was done with packets, and why.
    pub reasons: Vec<ReasonCount>,
    /// How full the tables are.
    pub tables: Vec<TableUse>,
}

/// What one redirect did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedirectStats {
    /// Its name.
    pub name: String,
    /// What it does now.
    pub state: State,
    /// Flows that are open now.
    pub open_flows: u64,
    /// Since it was added.
    pub counters: RedirectCounters,
}

/// `GET /v1/status`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon.
    pub daemon: DaemonStatus,
    /// The files it reads.
    pub configuration: ConfigurationStatus,
    /// How many redirects there are.
    pub redirects: RedirectTotals,
    /// Where the programs run.
    pub interfaces: Vec<Attached>,
    /// How full the tables are.
    pub tables: Vec<TableUse>,
    /// What ought to be looked at.
    pub warnings: Vec<String>,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The program's version, not the API's.
    pub release: String,
    /// Its process.
    pub pid: u32,
    /// For how long it has been running.
    pub uptime_seconds: u64,
}

/// The daemon's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// The main file.
    pub path: PathBuf,
    /// When it was last read and accepted, as in RFC 3339.
    pub loaded: String,
    /// Why the last attempt to read it was refused; what was in force stayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Error>,
}

/// How many redirects there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectTotals {
    /// In force, from files.
    pub file: usize,
    /// In force, from `redirect add` or `apply -f`.
    pub api: usize,
    /// Removed, with flows still open.
    pub draining: usize,
}

/// `GET` and `PUT /v1/log`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFilter {
    /// Such as `info` or `redirectd=debug,hyper=warn`.
    pub filter: String,
}
