//! What goes over the API about nodes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    node::{abilities::Abilities, fingerprint::Fingerprint, members::Member},
};

/// `POST /v1/nodes/init`: this machine becomes a node, or changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitRequest {
    /// What to call it; the machine's name if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where to listen from now on, unless the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitReport {
    /// Whether it was none before.
    pub new: bool,
    /// What it is now.
    #[serde(flatten)]
    pub this: ThisNode,
}

/// `POST /v1/nodes/invite`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// The address the other node shall call, if not the one this node listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How long the invitation is open, in seconds.
    #[serde(default = "default_expiry")]
    pub expires_seconds: f64,
}

/// How long an invitation is open if nobody says otherwise, in seconds.
pub const DEFAULT_EXPIRY: f64 = 900.0;

fn default_expiry() -> f64 {
    DEFAULT_EXPIRY
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The line for `redirect node join`; good for one node, and secret until it is
    /// used.
    pub token: String,
    /// Until when, as in RFC 3339.
    pub expires: String,
}

/// `POST /v1/nodes/join`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// What `redirect node invite` printed on the other machine.
    pub token: String,
    /// What this machine becomes, if it is no node yet.
    #[serde(default)]
    pub init: InitRequest,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReport {
    /// The node that was joined.
    pub joined: Member,
}

/// `POST /v1/nodes/remove`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveNodeRequest {
    /// The node.
    pub name: String,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveNodeReport {
    /// The node that is a stranger now.
    pub removed: String,
}

/// `GET /v1/nodes`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeList {
    /// This machine, if it is a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub this: Option<ThisNode>,
    /// The nodes it knows, by name.
    pub nodes: Vec<NodeView>,
}

/// This machine as a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThisNode {
    /// Its name.
    pub name: String,
    /// What it is recognised by.
    pub fingerprint: Fingerprint,
    /// Where it listens, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// What it can do.
    pub abilities: Abilities,
}

/// A node that is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// It.
    #[serde(flatten)]
    pub member: Member,
    /// Whether it can be reached, as of now.
    pub state: NodeState,
    /// Since when that is so, as in RFC 3339; not before the daemon's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why it cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Error>,
    /// When anything was last heard of it, as in RFC 3339, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact: Option<String>,
    /// What it said last that it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abilities: Option<Abilities>,
}

/// Whether a node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It answered.
    Reachable,
    /// It did not.
    Unreachable,
    /// It listens nowhere, and only calls.
    Calling,
}
