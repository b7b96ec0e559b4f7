//! The two machines of a move: where the process is, and where it goes.

use std::path::Path;

use tokio::task::spawn_blocking;

use super::here::Here;
use crate::{
    api::{
        client::Client,
        processes::{AwayView, ProcessList},
    },
    error::{Error, Kind},
    migrate::{
        handover::{ARRIVE, DEPART, INVENTORY, OFFER, PAGES, Passage, SERVICE, Way, Welcome},
        memory,
        papers::Papers,
        service::welcome,
    },
    node::{Nodes, link::Link},
    process::{Inventory, Needs, Obstacle, Process, Reason, Tree, must_be_in_this_network},
    rule::AT_HOME,
};

/// Where a process is.
#[derive(Debug)]
pub enum Source {
    /// At home.
    Home,
    /// Elsewhere, by home's records.
    Away(AwayView),
}

/// A machine that the process leaves, or goes to.
#[derive(Debug)]
pub enum End {
    /// Home.
    Home,
    /// Another node.
    Node(Box<Link>),
}

/// The ways to one side of a move.
pub struct Ways {
    /// That of the process.
    pub way: Way,
    /// That of its memory, if it follows.
    pub pages: Option<Way>,
}

impl Source {
    /// Where the process `pid` is; `from`, if the user says.
    ///
    /// # Errors
    /// There is none, or two may be meant.
    pub async fn of(pid: i32, from: Option<&str>, client: &Client) -> Result<Self, Error> {
        if from == Some(AT_HOME) {
            return Ok(Self::Home);
        }
        let list: ProcessList = client.get("/v1/processes").await?;
        if let Some(dependent) = list.dependent.iter().find(|one| one.process.pid == pid) {
            return Err(dependent.refusal());
        }
        let mut away = list.away.into_iter().filter(|away| away.process.pid == pid);
        let away = away.find(|away| from.is_none_or(|from| away.place == from));
        match (away, from) {
            (Some(away), Some(_)) => Ok(Self::Away(away)),
            (Some(away), None) if Tree::of(pid).is_ok() => Err(two_of(&away)),
            (Some(away), None) => Ok(Self::Away(away)),
            (None, Some(from)) => {
                let what = format!("process {pid} is not known to be on {from}");
                Err(Error::new(Kind::NotFound, what).cure("`redirect ps` shows what left home"))
            }
            (None, None) => Ok(Self::Home),
        }
    }

    /// What that machine is called.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Home => AT_HOME,
            Self::Away(away) => &away.place,
        }
    }

    /// The redirects that lead to it, if it is known.
    #[must_use]
    pub fn redirects(&self) -> &[String] {
        match self {
            Self::Home => &[],
            Self::Away(away) => &away.redirects,
        }
    }

    /// The way to it, and what it is made of.
    ///
    /// # Errors
    /// Its node is not reached, or it cannot be looked at.
    pub async fn look(&self, pid: i32, state_dir: &Path) -> Result<(End, Inventory), Error> {
        match self {
            Self::Home => {
                must_be_in_this_network(&Tree::of(pid)?)?;
                Ok((End::Home, Inventory::of(pid, true)?))
            }
            Self::Away(away) => {
                let mut link = Nodes::connect_beside(state_dir, &away.place).await?;
                let inventory = link.request(SERVICE, INVENTORY, &pid).await?;
                Ok((End::Node(Box::new(link)), inventory))
            }
        }
    }
}

/// Whether the process, which `at` has, is elsewhere than on `to`.
///
/// # Errors
/// It is there.
pub fn must_be_elsewhere(inventory: &Inventory, at: &Source, to: &str) -> Result<(), Error> {
    if at.name() != to {
        return Ok(());
    }
    let Process { pid, name, .. } = inventory.root();
    let what = format!("process {pid} ({}) is at {to} already", name.escape_debug());
    Err(Error::new(Kind::Usage, what).cure("name another machine with --to"))
}

/// What is in the way of `inventory` if its home has it locked.
///
/// # Errors
/// Home does not say.
pub async fn locked(client: &Client, inventory: &Inventory) -> Result<Option<Obstacle>, Error> {
    let list: ProcessList = client.get("/v1/processes").await?;
    let root = inventory.root();
    let lock = list.locked.into_iter().find(|lock| lock.pid == root.pid);
    Ok(lock.map(|lock| {
        let Error { what, cure, .. } = lock.locked(&root.name);
        let cure = cure.unwrap_or_default();
        Obstacle { reason: Reason::Locked, pid: root.pid, what, cure, stops: true }
    }))
}

fn two_of(away: &AwayView) -> Error {
    let (pid, place) = (away.process.pid, &away.place);
    let what = format!("there is a process {pid} here, and another one is on {place}");
    Error::new(Kind::Conflict, what)
        .cure(format!("say which one is meant: `--from {AT_HOME}` or `--from {place}`"))
}

impl End {
    /// The machine that is called `name`.
    ///
    /// # Errors
    /// It is not reached.
    pub async fn called(name: &str, state_dir: &Path) -> Result<Self, Error> {
        match name {
            AT_HOME => Ok(Self::Home),
            name => {
                Nodes::connect_beside(state_dir, name).await.map(|link| Self::Node(Box::new(link)))
            }
        }
    }

    /// What the machine has of `needs`.
    ///
    /// # Errors
    /// It does not tell.
    pub async fn welcome(&mut self, needs: Needs) -> Result<Welcome, Error> {
        match self {
            Self::Home => {
                let asked = spawn_blocking(move || welcome(&needs)).await;
                asked.map_err(|why| Error::new(Kind::Failed, why.to_string()))?
            }
            Self::Node(link) => link.request(SERVICE, OFFER, &needs).await,
        }
    }

    /// The ways by which the process leaves this machine, and whom to wait for.
    ///
    /// # Errors
    /// It is not reached, or cannot let it go.
    pub async fn leave(
        self,
        client: &Client,
        (passage, state_dir): (Passage, &Path),
    ) -> Result<(Option<Here>, Ways), Error> {
        match self {
            Self::Home => Here::leave(client, Papers::leaving(passage, None, state_dir))
                .map(|(here, ways)| (Some(here), ways)),
            Self::Node(link) => Ok((None, streams(*link, DEPART, &passage, state_dir).await?)),
        }
    }

    /// The ways by which it comes to this machine, and whom to wait for.
    ///
    /// # Errors
    /// It is not reached, or does not take it in.
    pub async fn take_in(
        self,
        client: &Client,
        (passage, state_dir): (Passage, &Path),
    ) -> Result<(Option<Here>, Ways), Error> {
        match self {
            Self::Home => Here::take_in(client, Papers::coming(passage, None, state_dir))
                .map(|(here, ways)| (Some(here), ways)),
            Self::Node(link) => Ok((None, streams(*link, ARRIVE, &passage, state_dir).await?)),
        }
    }
}

/// Opens the stream for `purpose`, and one more for the memory if it follows.
async fn streams(
    link: Link,
    purpose: &str,
    passage: &Passage,
    state_dir: &Path,
) -> Result<Ways, Error> {
    let node = link.member().name.clone();
    let ((), way) = link.open_stream(SERVICE, purpose, passage).await?;
    let way = Box::new(way);
    if passage.memory != memory::Way::Lazy {
        return Ok(Ways { way, pages: None });
    }
    let link = Nodes::connect_beside(state_dir, &node).await?;
    let ((), pages) = link.open_stream(SERVICE, PAGES, passage).await?;
    Ok(Ways { way, pages: Some(Box::new(pages)) })
}
