//! The API's paths, and what the daemon is asked for each.

mod moves;
mod nodes;
mod processes;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        ConnectInfo, DefaultBodyLimit, Path, Query, Request, State, rejection::QueryRejection,
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use futures_util::stream;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{
    access::{Access, Caller},
    events::{Event, Happening},
    probe,
    types::{
        AddAllRequest, AddRequest, ApplyRequest, ChangeReport, Document, Failure, FlowList,
        FlowQuery, LogFilter, RedirectList, RemoveRequest, Stats, Status,
    },
};
use crate::{
    daemon::Handle,
    error::{Error, Kind},
    log::Log,
    migrate::guests::Guests,
    node::Nodes,
    rule::Redirect,
};

/// The largest body taken, in bytes: a rule file of 100,000 redirects and more.
const LARGEST_BODY: usize = 64 << 20;

#[derive(Clone)]
struct Api {
    daemon: Handle,
    nodes: Nodes,
    guests: Guests,
    log: Log,
}

type Answer<T> = Result<Json<Document<T>>, Refusal>;

/// The API, to be served with [`Caller`] as connection info.
pub fn router(
    daemon: Handle,
    (nodes, guests): (Nodes, Guests),
    access: Access,
    log: Log,
) -> Router {
    let changes = Router::new()
        .route("/v1/redirects", post(add))
        .route("/v1/add", post(add_all))
        .route("/v1/remove", post(remove))
        .route("/v1/apply", post(apply))
        .merge(moves::changes())
        .merge(nodes::changes())
        .merge(processes::changes())
        .route("/v1/log", put(set_log))
        .route_layer(middleware::from_fn_with_state(access, only_permitted));
    Router::new()
        .route("/v1/redirects", get(list))
        .route("/v1/redirects/{name}", get(show))
        .route("/v1/flows", get(flows))
        .route("/v1/stats", get(stats))
        .route("/v1/status", get(status))
        .route("/v1/events", get(events))
        .merge(moves::views())
        .merge(nodes::views())
        .merge(processes::views())
        .route("/v1/log", get(log_filter))
        .merge(changes)
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(Api { daemon, nodes, guests, log })
}

async fn only_permitted(
    State(access): State<Access>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    access.check(&caller)?;
    Ok(next.run(request).await)
}

async fn no_such_path() -> Refusal {
    Refusal(
        Error::new(Kind::NotFound, "this redirectd knows no such request")
            .cure("use the `redirect` of the same release"),
    )
}

async fn list(State(api): State<Api>) -> Answer<RedirectList> {
    answer(api.daemon.call(|daemon| daemon.list(None)).await)
}

async fn show(State(api): State<Api>, Path(name): Path<String>) -> Answer<RedirectList> {
    answer(api.daemon.call(move |daemon| daemon.list(Some(&name))).await)
}

async fn add(State(api): State<Api>, body: Bytes) -> Answer<ChangeReport> {
    let request: AddRequest = read(&body)?;
    answer(carry_out(api.daemon, request.into()).await)
}

async fn add_all(State(api): State<Api>, body: Bytes) -> Answer<ChangeReport> {
    answer(carry_out(api.daemon, read(&body)?).await)
}

/// Resolves and tries the targets of `request`, which may take a while, and then
/// adds its redirects in one change.
async fn carry_out(daemon: Handle, request: AddAllRequest) -> Result<ChangeReport, Error> {
    let request = Arc::new(request);
    let asked = Arc::clone(&request);
    let unresolved = daemon.call(move |daemon| {
        let hosts = asked.additions.iter().map(|one| daemon.unresolved_host(&one.redirect));
        Ok(hosts.flatten().collect::<BTreeSet<_>>())
    });
    let mut resolved = BTreeMap::new();
    for host in unresolved.await? {
        let addresses = probe::resolve(&host).await?;
        resolved.insert(host, addresses);
    }
    let asked = Arc::clone(&request);
    let meant = daemon.call(move |daemon| {
        asked.additions.iter().map(|one| daemon.read_addition(one, &resolved)).collect()
    });
    let redirects: Vec<Vec<Redirect>> = meant.await?;
    for (addition, redirects) in request.additions.iter().zip(&redirects) {
        for redirect in redirects.iter().filter(|_| addition.check) {
            probe::answers(redirect).await?;
        }
    }
    daemon.call(move |daemon| daemon.add(&request, redirects)).await
}

async fn remove(State(api): State<Api>, body: Bytes) -> Answer<ChangeReport> {
    let request: RemoveRequest = read(&body)?;
    answer(api.daemon.call(move |daemon| daemon.remove(&request)).await)
}

async fn apply(State(api): State<Api>, body: Bytes) -> Answer<ChangeReport> {
    let ApplyRequest { rules, dry_run } = read(&body)?;
    let report = match rules {
        Some(rules) => api.daemon.call(move |daemon| daemon.apply_rules(&rules, dry_run)).await,
        None => api.daemon.call(move |daemon| daemon.reload(dry_run)).await,
    };
    answer(report)
}

async fn flows(
    State(api): State<Api>,
    query: Result<Query<FlowQuery>, QueryRejection>,
) -> Answer<FlowList> {
    let Query(query) = query.map_err(|error| usage(&error))?;
    answer(api.daemon.call(move |daemon| daemon.flows(&query)).await)
}

async fn stats(State(api): State<Api>) -> Answer<Stats> {
    answer(api.daemon.call(|daemon| daemon.stats()).await)
}

async fn status(State(api): State<Api>) -> Answer<Status> {
    answer(api.daemon.call(|daemon| daemon.status()).await)
}

async fn log_filter(State(api): State<Api>) -> Answer<LogFilter> {
    answer(api.log.filter().map(|filter| LogFilter { filter }))
}

async fn set_log(State(api): State<Api>, body: Bytes) -> Answer<LogFilter> {
    let LogFilter { filter } = read(&body)?;
    answer(api.log.set(&filter).map(|()| LogFilter { filter }))
}

/// One line of JSON for each event, until the daemon stops.
async fn events(State(api): State<Api>) -> Response {
    let listening = Some(api.daemon.events().subscribe());
    let lines = stream::unfold(listening, |listening| async {
        let mut listening = listening?;
        let event = next_event(&mut listening).await?;
        let last = event.what == Happening::Stopping;
        let mut line = serde_json::to_string(&Document::new(event)).unwrap_or_default();
        line.push('\n');
        Some((Ok::<_, Infallible>(line), (!last).then_some(listening)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn next_event(listening: &mut broadcast::Receiver<Event>) -> Option<Event> {
    match listening.recv().await {
        Ok(event) => Some(event),
        Err(RecvError::Lagged(events)) => Some(Event::now(Happening::Missed { events })),
        Err(RecvError::Closed) => None,
    }
}

fn answer<T: Serialize>(result: Result<T, Error>) -> Answer<T> {
    Ok(Json(Document::new(result?)))
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| usage(&error))
}

fn usage(error: &dyn std::error::Error) -> Refusal {
    Refusal(
        Error::new(Kind::Usage, format!("the request makes no sense: {error}"))
            .cure("use the `redirect` of the same release"),
    )
}

/// An error on its way to the caller.
struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Unreachable => StatusCode::BAD_GATEWAY,
            Kind::NotPermitted => StatusCode::FORBIDDEN,
        };
        (status, Json(Document::new(Failure { error: self.0 }))).into_response()
    }
}
