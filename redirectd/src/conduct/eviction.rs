//! A guest goes home, by the word of whoever runs the machine it is on: that
//! machine's daemon asks home's, which leads the move as any other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{journey::Journey, report::Report};
use crate::{
    api::client::Client,
    error::{Error, Kind},
    migrate::memory::Wish,
    node::{
        Nodes,
        members::Member,
        service::{Later, NodeService, no_such},
    },
    rule::AT_HOME,
};

/// What nodes call the service.
const SERVICE: &str = "eviction";

/// The request to home to take a process back.
const TAKE_BACK: &str = "take-back";

/// Which one.
#[derive(Debug, Serialize, Deserialize)]
struct TakeBack {
    pid: i32,
}

/// Asks `home` to take back its process `pid`; how that went.
///
/// # Errors
/// Home is not reached, or cannot; the process goes on here then, unless the error
/// says otherwise.
pub async fn evict(nodes: &Nodes, home: &str, pid: i32) -> Result<Report, Error> {
    nodes.connect(home).await?.request(SERVICE, TAKE_BACK, &TakeBack { pid }).await
}

/// Takes back what others evict.
#[derive(Debug, Clone)]
pub struct Evictions {
    client: Client,
    state_dir: PathBuf,
}

impl Evictions {
    /// Those of processes whose home is the daemon behind `client`.
    #[must_use]
    pub fn new(client: Client, state_dir: PathBuf) -> Self {
        Self { client, state_dir }
    }

    async fn take_back(&self, from: &Member, pid: i32) -> Result<Report, Error> {
        let journey = Journey {
            pid,
            from: Some(from.name.clone()),
            to: AT_HOME.to_owned(),
            timeout: None,
            // Its home may want it to stay; whose machine it is on has the say.
            though_locked: true,
            memory: Wish::Auto,
            state_dir: self.state_dir.clone(),
        };
        let prepared = journey.prepare(&self.client).await?;
        prepared.must_be_free()?;
        let redirects = prepared.redirects.clone();
        prepared
            .go(&self.client, (redirects, Vec::new()), &|_| ())
            .await
            .map_err(|failed| failed.error)
    }
}

impl NodeService for Evictions {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn request<'a>(
        &'a self,
        from: &'a Member,
        name: &'a str,
        body: Value,
    ) -> Later<'a, Result<Value, Error>> {
        Box::pin(async move {
            if name != TAKE_BACK {
                return Err(no_such("request", SERVICE, name));
            }
            let failed = |why: serde_json::Error| Error::new(Kind::Failed, why.to_string());
            let TakeBack { pid } = serde_json::from_value(body).map_err(failed)?;
            // It is to come to its end whoever still listens.
            let (evictions, from) = (self.clone(), from.clone());
            let taking = tokio::spawn(async move { evictions.take_back(&from, pid).await });
            let report =
                taking.await.map_err(|why| Error::new(Kind::Failed, why.to_string()))??;
            serde_json::to_value(report).map_err(failed)
        })
    }
}
