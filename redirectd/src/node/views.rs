//! What is told of the nodes, and the calls that find it out.

use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Nodes, ROUND,
    abilities::{Abilities, REQUEST, SERVICE},
    identity::Identity,
    link::Link,
    members::Member,
    stopped,
};
use crate::{
    api::nodes::{NodeList, NodeState, NodeView, ThisNode},
    error::{Error, Kind},
};

/// How long a node may take to say what it can do.
const PATIENCE: Duration = Duration::from_secs(8);

impl Nodes {
    /// This node and those it knows, each called for the occasion.
    ///
    /// # Errors
    /// This machine does not tell what it can do.
    pub async fn list(&self) -> Result<NodeList, Error> {
        self.call_all().await;
        let this = match self.identity() {
            Some(_) => Some(self.this().await?),
            None => None,
        };
        let nodes = self.inner.members.all().into_iter().map(|member| self.view(member)).collect();
        Ok(NodeList { this, nodes })
    }

    /// This node.
    ///
    /// # Errors
    /// It is none, or does not tell what it can do.
    pub async fn this(&self) -> Result<ThisNode, Error> {
        let identity = self.own()?;
        Ok(ThisNode {
            name: identity.name().to_owned(),
            fingerprint: identity.fingerprint(),
            listen: self.address(),
            abilities: Abilities::ask().await?,
        })
    }

    fn view(&self, member: Member) -> NodeView {
        let contact = self.inner.contacts.of(member.fingerprint);
        let time = |time: SystemTime| format_rfc3339_seconds(time).to_string();
        let (state, since, why) = match contact.reached {
            _ if member.address.is_none() => (NodeState::Calling, None, None),
            None => (NodeState::Unreachable, None, None),
            Some((Ok(()), since)) => (NodeState::Reachable, Some(since), None),
            Some((Err(error), since)) => (NodeState::Unreachable, Some(since), Some(error)),
        };
        NodeView {
            member,
            state,
            since: since.map(time),
            why,
            last_contact: contact.last.map(time),
            abilities: contact.abilities,
        }
    }

    /// Calls all nodes that listen, at the same time, to see how they are.
    async fn call_all(&self) {
        let Some(identity) = self.identity() else { return };
        let mut calls = JoinSet::new();
        for member in self.inner.members.all() {
            if member.address.is_some() {
                calls.spawn(self.clone().call(identity.clone(), member));
            }
        }
        while calls.join_next().await.is_some() {}
    }

    async fn call(self, identity: Identity, member: Member) {
        let (node, name) = (member.fingerprint, member.name.clone());
        let asking =
            async { Link::open(&identity, member).await?.request(SERVICE, REQUEST, &()).await };
        let late = |_| {
            let what = format!("{name} takes too long to answer");
            Err(Error::new(Kind::Failed, what).cure(format!("see redirectd's log on {name}")))
        };
        let outcome = timeout(PATIENCE, asking).await.unwrap_or_else(late);
        // It may have been removed meanwhile.
        if self.recognise(node).is_some() {
            self.inner.contacts.called(node, outcome);
        }
    }

    /// Calls all of them every now and then, until the daemon stops.
    pub(super) async fn call_round(self) {
        let mut stopping = self.inner.stopping.clone();
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => self.call_all().await,
                () = stopped(&mut stopping) => return,
            }
        }
    }
}
