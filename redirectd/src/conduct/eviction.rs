//! A guest goes home, by the word of whoever runs the machine it is on: that
//! machine's daemon asks home's, which leads the move as any other.

use std::{path::PathBuf, sync::OnceLock};

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use super::{Now, journey::Journey, report::Report};
use crate::{
    api::{
        client::Client,
        processes::{LockRequest, ProcessList},
    },
    error::{Error, Kind},
    migrate::{away::Traveller, errands::Errands, living::started, memory::Wish},
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
    errands: Errands,
}

impl Evictions {
    /// Those of processes whose home is the daemon behind `client`, which sees `errands`
    /// through.
    #[must_use]
    pub fn new(client: Client, state_dir: PathBuf, errands: Errands) -> Self {
        Self { client, state_dir, errands }
    }

    async fn take_back(&self, from: &Member, pid: i32) -> Result<Report, Error> {
        self.errands.may_begin()?;
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
        // From before the commit on. One for which this comes too late is not committed.
        let errand = OnceLock::new();
        let watch = |now: Now| {
            if let Now::Follows(now) = now
                && let Some(errand) = errand.get_or_init(|| self.errands.begin(pid).ok())
            {
                errand.tell(now);
            }
        };
        let gone = prepared.go(&self.client, (redirects, Vec::new()), &watch).await;
        let report = gone.map_err(|failed| failed.error)?;
        if let Err(error) = self.lock_anew(pid).await {
            warn!(pid, error = error.one_line(), "its lock does not end with it");
        }
        Ok(report)
    }

    /// A lock of the process `pid`, which has come, ends with it from now on.
    async fn lock_anew(&self, pid: i32) -> Result<(), Error> {
        let list: ProcessList = self.client.get("/v1/processes").await?;
        let Some(process) = list.locked.into_iter().find(|process| process.pid == pid) else {
            return Ok(());
        };
        let (name, started) = (Some(process.name), started(pid));
        let request = LockRequest { pid, name, locked: true, started };
        let locked: Result<Traveller, Error> =
            self.client.send_to(Method::POST, "/v1/lock", &request).await;
        locked.map(drop)
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
