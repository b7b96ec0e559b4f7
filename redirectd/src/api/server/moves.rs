//! The paths about moves.

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    routing::{get, post},
};

use super::{Answer, Api, answer, probe, read};
use crate::{
    api::{
        access::Caller,
        moves::{
            AbortRequest, BeginRequest, CommitRequest, DeliverReport, MoveList, MoveView,
            ReturnReport, ReturnRequest,
        },
    },
    daemon::{Daemon, Deliver, read_id},
    migrate::{carried::Carried, handover::Follows},
};

/// Those that change something.
pub(super) fn changes() -> Router<Api> {
    Router::new()
        .route("/v1/moves", post(begin))
        .route("/v1/moves/{id}/park", post(park))
        .route("/v1/moves/{id}/return", post(prepare_return))
        .route("/v1/moves/{id}/commit", post(commit))
        .route("/v1/moves/{id}/deliver", post(deliver))
        .route("/v1/moves/{id}/abort", post(abort))
        .route("/v1/moves/{id}/follow", post(follow))
        .route("/v1/moves/{id}/report", post(report))
}

/// Those that only show.
pub(super) fn views() -> Router<Api> {
    Router::new().route("/v1/moves", get(list)).route("/v1/moves/{id}", get(show))
}

async fn list(State(api): State<Api>) -> Answer<MoveList> {
    answer(api.daemon.call(|daemon| daemon.list_moves()).await)
}

async fn show(State(api): State<Api>, Path(id): Path<String>) -> Answer<MoveView> {
    let id = read_id(&id)?;
    answer(api.daemon.call(move |daemon| daemon.show_move(id)).await)
}

async fn begin(
    State(api): State<Api>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer<MoveView> {
    let request: BeginRequest = read(&body)?;
    // One that cannot be watched is not waited for: the move's timeout ends it.
    let leader = caller.leader().filter(|_| request.led);
    let asked = request.clone();
    let unresolved = api.daemon.call(move |daemon| Ok(daemon.unresolved_destination(&asked)));
    let resolved = match unresolved.await? {
        Some(host) => Some((host.clone(), probe::resolve(&host).await?)),
        None => None,
    };
    let begin = move |daemon: &mut Daemon| {
        let moved = daemon.begin_move(&request, resolved)?;
        if let Some(leader) = leader
            && !request.dry_run
        {
            daemon.lead_move(moved.id, leader);
        }
        Ok(moved)
    };
    answer(api.daemon.call(begin).await)
}

async fn park(State(api): State<Api>, Path(id): Path<String>) -> Answer<MoveView> {
    let id = read_id(&id)?;
    answer(api.daemon.call(move |daemon| daemon.park_move(id)).await)
}

async fn prepare_return(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<ReturnReport> {
    let id = read_id(&id)?;
    let request: ReturnRequest = read(&body)?;
    answer(api.daemon.call(move |daemon| daemon.return_move(id, &request)).await)
}

async fn commit(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Answer<MoveView> {
    let id = read_id(&id)?;
    // Whoever does not know of `hold` may send nothing, or `null`.
    let request: Option<CommitRequest> = if body.is_empty() { None } else { read(&body)? };
    let CommitRequest { hold } = request.unwrap_or_default();
    let deliver = if hold { Deliver::WhenTold } else { Deliver::AtOnce };
    let committed = api.daemon.call(move |daemon| daemon.commit_move(id, deliver)).await;
    // Before anything else is asked, but the process need not wait for it.
    api.daemon.queue(|daemon| daemon.settle_moves()).await?;
    answer(committed)
}

async fn deliver(State(api): State<Api>, Path(id): Path<String>) -> Answer<DeliverReport> {
    let id = read_id(&id)?;
    let deliver = move |daemon: &mut Daemon| {
        let first = daemon.deliver_move(id)?;
        Ok(DeliverReport { first, r#move: daemon.show_move(id)? })
    };
    let delivered = api.daemon.call(deliver).await;
    api.daemon.queue(|daemon| daemon.settle_moves()).await?;
    answer(delivered)
}

async fn abort(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Answer<MoveView> {
    let id = read_id(&id)?;
    let AbortRequest { why } = if body.is_empty() { AbortRequest::default() } else { read(&body)? };
    let why = why.unwrap_or_else(|| "whoever moved the process said so".to_owned());
    answer(api.daemon.call(move |daemon| daemon.abort_move(id, &why)).await)
}

async fn follow(
    State(api): State<Api>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<MoveView> {
    let id = read_id(&id)?;
    let now: Follows = read(&body)?;
    let leader = caller.leader();
    answer(api.daemon.call(move |daemon| daemon.follow_move(id, now, leader)).await)
}

async fn report(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Answer<MoveView> {
    let id = read_id(&id)?;
    let carried: Carried = read(&body)?;
    answer(api.daemon.call(move |daemon| daemon.report_move(id, carried)).await)
}
