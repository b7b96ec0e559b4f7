//! What nodes ask of each other when a process moves: those it leaves and goes to
//! answer home, and home answers what became of a move.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    arbiters::{Own, Remote},
    arrival::Arrival,
    criu::{
        Criu,
        workdir::{self, PLACES},
    },
    departure::Departure,
    errands::Errands,
    fate::{Arbiter, Patience},
    guests::Guests,
    handover::{
        ARRIVE, DELIVER, DEPART, FATE, GUESTS, INVENTORY, OFFER, PAGES, Passage, SERVICE, SETTLE,
        Welcome,
    },
    memory,
    pages_way::{Expected, PagesWays},
    papers::Papers,
    record::Id,
    rights,
};
use crate::{
    daemon::WeakHandle,
    error::{Error, Kind},
    node::{
        members::Member,
        service::{Later, NodeService, Taker, no_such},
    },
    process::{Inventory, Needs, Offer},
};

/// The service.
pub struct Migration {
    daemon: WeakHandle,
    guests: Guests,
    /// Where memory is to come by, of processes that come or leave.
    pages: PagesWays,
    errands: Errands,
    /// Where this node's key is.
    state_dir: PathBuf,
    stopping: watch::Receiver<bool>,
}

impl Migration {
    /// That of the daemon with this `state_dir`, which sees `errands` through, until
    /// `stopping`.
    #[must_use]
    pub fn new(
        daemon: WeakHandle,
        guests: Guests,
        state_dir: &Path,
        (errands, stopping): (Errands, watch::Receiver<bool>),
    ) -> Self {
        let pages = PagesWays::new(errands.clone());
        Self { daemon, guests, pages, errands, state_dir: state_dir.to_owned(), stopping }
    }

    async fn answer(&self, from: &Member, name: &str, body: Value) -> Result<Value, Error> {
        match name {
            OFFER => {
                let needs: Needs = read(body)?;
                let mut welcome = blocking(move || welcome(&needs)).await?;
                welcome.refusal = self.errands.may_begin().err().or(welcome.refusal);
                write(&welcome)
            }
            INVENTORY => {
                let pid = self.guests.named(read(body)?, &from.name)?.pid;
                write(&blocking(move || Inventory::of(pid, true)).await?)
            }
            GUESTS => {
                let guests = self.guests.all()?.into_iter();
                let its = guests.filter(|guest| guest.home == from.name);
                write(&its.map(|guest| guest.pid).collect::<Vec<_>>())
            }
            FATE => write(&self.own(from, read(body)?).await?.state().await?),
            DELIVER => write(&self.own(from, read(body)?).await?.deliver().await?),
            SETTLE => write(&self.own(from, read(body)?).await?.abort().await?),
            _ => Err(no_such("request", SERVICE, name)),
        }
    }

    /// The move `id` of this home, if it is the business of the node `from`.
    async fn own(&self, from: &Member, id: Id) -> Result<Own, Error> {
        let node = from.name.clone();
        self.daemon.call(move |daemon| daemon.must_concern(id, &node)).await?;
        Ok(Own { daemon: self.daemon.clone(), id })
    }

    /// A process comes from the node `from`.
    fn arrive(&self, from: &Member, passage: Passage) -> Result<Taker, Error> {
        self.errands.may_begin()?;
        rights::check()?;
        self.guests.room()?;
        let arbiter = self.arbiter(from, passage.r#move);
        let pages = self.expected(from, &passage);
        let papers = Papers::coming(passage, Some(&from.name), &self.state_dir);
        let came = self.guests.arriving(&papers);
        let arrival = Arrival::new(papers, pages, arbiter, self.patience())?;
        Ok(Box::new(move |stream| {
            Box::pin(async move {
                arrival.take_in(Box::new(stream), came).await;
            })
        }))
    }

    /// A guest from the node `from` leaves.
    fn depart(&self, from: &Member, passage: Passage) -> Result<Taker, Error> {
        self.errands.may_begin()?;
        self.guests.named(passage.pid, &from.name)?;
        rights::check()?;
        let arbiter = self.arbiter(from, passage.r#move);
        let pages = self.expected(from, &passage);
        let papers = Papers::leaving(passage, Some(&from.name), &self.state_dir);
        let departure = Departure::new(papers.clone(), pages, arbiter, self.patience())?;
        let guests = self.guests.clone();
        Ok(Box::new(move |stream| {
            // It is to come to its end even if the node is forgotten meanwhile.
            let leaving = tokio::spawn(async move {
                let left = departure.leave(Box::new(stream)).await;
                guests.left(&papers, left);
            });
            Box::pin(async move {
                let _ = leaving.await;
            })
        }))
    }

    /// The memory of a process of the node `from` is to follow it.
    fn pages(&self, from: &Member, passage: &Passage) -> Result<Taker, Error> {
        let hand_over = self.pages.come(&from.name, passage.r#move)?;
        Ok(Box::new(move |stream| {
            hand_over(Box::new(stream));
            Box::pin(async {})
        }))
    }

    /// The way for that, if it is to come.
    fn expected(&self, from: &Member, passage: &Passage) -> Option<Expected> {
        let lazily = passage.memory == memory::Way::Lazy;
        lazily.then(|| self.pages.expect(&from.name, passage))
    }

    fn arbiter(&self, home: &Member, id: Id) -> Arc<dyn Arbiter> {
        Arc::new(Remote { state_dir: self.state_dir.clone(), name: home.name.clone(), id })
    }

    fn patience(&self) -> Patience {
        Patience::until(self.stopping.clone())
    }
}

impl NodeService for Migration {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn request<'a>(
        &'a self,
        from: &'a Member,
        name: &'a str,
        body: Value,
    ) -> Later<'a, Result<Value, Error>> {
        Box::pin(self.answer(from, name, body))
    }

    fn stream<'a>(
        &'a self,
        from: &'a Member,
        purpose: &'a str,
        body: Value,
    ) -> Later<'a, Result<(Value, Taker), Error>> {
        Box::pin(async move {
            let taker = match purpose {
                ARRIVE => self.arrive(from, read(body)?)?,
                DEPART => self.depart(from, read(body)?)?,
                PAGES => self.pages(from, &read(body)?)?,
                _ => return Err(no_such("stream", SERVICE, purpose)),
            };
            Ok((Value::Null, taker))
        })
    }
}

/// What this machine has for a process.
///
/// # Errors
/// The kernel does not tell.
pub fn welcome(needs: &Needs) -> Result<Welcome, Error> {
    let criu = Criu::new("criu");
    let engine = criu.version().ok().map(|version| version.to_string());
    let offer = Offer::for_needs(needs, engine)?;
    let (refusal, features) = (rights::check().err(), criu.features().ok());
    Ok(Welcome { offer, refusal, features, room: workdir::room(&PLACES) })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.map_err(|why| lost(&why))?
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, Error> {
    serde_json::from_value(body).map_err(|why| {
        Error::new(Kind::Usage, format!("what is asked of `{SERVICE}` makes no sense: {why}"))
            .cure("run the same release of redirectd on both nodes")
    })
}

fn write(answer: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(answer).map_err(|why| lost(&why))
}

fn lost(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Failed, format!("this machine cannot say what it has: {why}"))
}
