//! The paths about processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    routing::{get, post},
};
use tokio::{task::JoinSet, time::timeout};
use tracing::warn;

use super::{Answer, Api, answer, read};
use crate::{
    api::processes::{
        AwayView, EvictReport, EvictRequest, GuestView, LockRequest, NotEvicted, ProcessList,
    },
    conduct::eviction,
    error::{Error, Kind},
    migrate::{
        away::Traveller,
        handover::{GUESTS, SERVICE},
        record::Moment,
    },
    node::Nodes,
};

/// How long a node may take to say which guests it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// One that has left so recently may not be on its host's list yet.
const RECENT: Duration = Duration::from_secs(10);

/// Those that change something.
pub(super) fn changes() -> Router<Api> {
    Router::new().route("/v1/lock", post(lock)).route("/v1/evict", post(evict))
}

/// Those that only show.
pub(super) fn views() -> Router<Api> {
    Router::new().route("/v1/processes", get(list))
}

async fn list(State(api): State<Api>) -> Answer<ProcessList> {
    let mut away = api.daemon.call(|daemon| Ok(daemon.away())).await?;
    let locked = api.daemon.call(|daemon| Ok(daemon.locked())).await?;
    let dependent = api.daemon.call(|daemon| Ok(daemon.dependent())).await?;
    let guests = api.guests.all()?.into_iter().map(Into::into).collect();
    look_after(&api.nodes, &mut away).await;
    for ended in away.iter().filter(|away| away.running == Some(false)) {
        let ended = ended.clone();
        if let Err(error) = api.daemon.call(move |daemon| daemon.has_ended(&ended)).await {
            warn!(error = error.one_line(), "a process that has ended is not forgotten");
        }
    }
    answer(Ok(ProcessList { away, guests, locked, dependent }))
}

/// Asks the nodes where the processes are whether they run.
async fn look_after(nodes: &Nodes, away: &mut [AwayView]) {
    let places: BTreeSet<String> = away.iter().map(|away| away.place.clone()).collect();
    let mut asked = JoinSet::new();
    for place in places {
        let nodes = nodes.clone();
        asked.spawn(async move {
            let guests = timeout(PATIENCE, guests_of(&nodes, &place)).await;
            (place, guests.ok().and_then(Result::ok))
        });
    }
    let there: BTreeMap<String, Option<BTreeSet<i32>>> =
        asked.join_all().await.into_iter().collect();
    let now = Moment::now();
    for one in away {
        let guests = there.get(&one.place).and_then(Option::as_ref);
        one.running = runs(one, guests, now);
    }
}

/// Whether `away` runs on its host, which has `guests`, if it says so.
fn runs(away: &AwayView, guests: Option<&BTreeSet<i32>>, now: Moment) -> Option<bool> {
    match guests?.contains(&away.process.pid) {
        false if now.since(away.since) < RECENT => None,
        running => Some(running),
    }
}

async fn guests_of(nodes: &Nodes, place: &str) -> Result<BTreeSet<i32>, Error> {
    nodes.connect(place).await?.request(SERVICE, GUESTS, &()).await
}

async fn lock(State(api): State<Api>, body: Bytes) -> Answer<Traveller> {
    let request: LockRequest = read(&body)?;
    answer(api.daemon.call(move |daemon| daemon.set_lock(request)).await)
}

async fn evict(State(api): State<Api>, body: Bytes) -> Answer<EvictReport> {
    let EvictRequest { pid } = read(&body)?;
    let all: Vec<GuestView> = api.guests.all()?.into_iter().map(Into::into).collect();
    let chosen: Vec<_> =
        all.into_iter().filter(|one| pid.is_none_or(|pid| one.process.pid == pid)).collect();
    if let Some(pid) = pid.filter(|_| chosen.is_empty()) {
        return Err(Error::new(Kind::NotFound, format!("there is no guest {pid} here"))
            .cure("`redirect ps` shows the guests")
            .into());
    }
    // A caller that goes away leaves no guest behind that was to go.
    let nodes = api.nodes.clone();
    let going = tokio::spawn(async move { send_home(&nodes, chosen).await });
    answer(going.await.map_err(|why| Error::new(Kind::Failed, why.to_string())))
}

/// One after the other: each needs the whole link while it is frozen.
async fn send_home(nodes: &Nodes, guests: Vec<GuestView>) -> EvictReport {
    let mut report = EvictReport::default();
    for guest in guests {
        match eviction::evict(nodes, &guest.home, guest.process.pid).await {
            Ok(_) => report.gone.push(guest),
            Err(error) => report.failed.push(NotEvicted { guest, error }),
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_believed_that_one_has_ended_once_it_must_know_it() {
        let process = Traveller { pid: 7, name: "nginx".to_owned() };
        let (place, redirects, since) = ("c".to_owned(), Vec::new(), Moment(1_000_000));
        let away = AwayView { process, place, redirects, r#move: 1, since, running: None };
        let (later, recent) = (Moment(11_000_000), Moment(10_999_999));
        for (guests, now, running) in [
            (None, later, None),
            (Some(vec![7]), recent, Some(true)),
            (Some(vec![8]), recent, None),
            (Some(vec![8]), later, Some(false)),
        ] {
            let guests = guests.map(BTreeSet::from_iter);
            assert_eq!(runs(&away, guests.as_ref(), now), running, "{guests:?}");
        }
    }
}
