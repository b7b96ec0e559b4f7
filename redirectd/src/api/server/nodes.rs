//! The paths about nodes.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    routing::{get, post},
};

use super::{Answer, Api, answer, read};
use crate::{
    api::nodes::{
        InitReport, InitRequest, Invitation, InviteRequest, JoinReport, JoinRequest, NodeList,
        RemoveNodeReport, RemoveNodeRequest,
    },
    error::{Error, Kind},
};

/// Those that change something.
pub(super) fn changes() -> Router<Api> {
    Router::new()
        .route("/v1/nodes/init", post(init))
        .route("/v1/nodes/invite", post(invite))
        .route("/v1/nodes/join", post(join))
        .route("/v1/nodes/remove", post(remove))
}

/// Those that only show.
pub(super) fn views() -> Router<Api> {
    Router::new().route("/v1/nodes", get(list))
}

async fn list(State(api): State<Api>) -> Answer<NodeList> {
    answer(api.nodes.list().await)
}

async fn init(State(api): State<Api>, body: Bytes) -> Answer<InitReport> {
    let request: InitRequest = read(&body)?;
    let new = api.nodes.init(&request).await?;
    let this = api.nodes.this().await?;
    answer(Ok(InitReport { new, this }))
}

async fn invite(State(api): State<Api>, body: Bytes) -> Answer<Invitation> {
    let request: InviteRequest = read(&body)?;
    answer(api.nodes.invite(&request))
}

async fn join(State(api): State<Api>, body: Bytes) -> Answer<JoinReport> {
    let request: JoinRequest = read(&body)?;
    // A caller that goes away does not leave the two nodes half joined.
    let joining = tokio::spawn(async move { api.nodes.join(&request).await });
    let joined = joining.await.map_err(|why| Error::new(Kind::Failed, why.to_string()))?;
    answer(joined.map(|joined| JoinReport { joined }))
}

async fn remove(State(api): State<Api>, body: Bytes) -> Answer<RemoveNodeReport> {
    let RemoveNodeRequest { name } = read(&body)?;
    api.nodes.remove(&name).await?;
    answer(Ok(RemoveNodeReport { removed: name }))
}
