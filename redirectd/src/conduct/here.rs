//! Home itself as the one or the other side of a move: the same conversation as
//! with another node, within this program.

use std::sync::Arc;

use tokio::{io::duplex, task::JoinHandle};

use super::{ends::Ways, journal::OwnJournal};
use crate::{
    api::client::Client,
    error::Error,
    migrate::{
        arrival::Arrival, departure::Departure, fate::Patience, handover::Way, memory,
        pages_way::Expected, papers::Papers,
    },
};

/// How many bytes may be under way within this program.
const UNDER_WAY: usize = 1 << 20;

/// One side of a move, at home.
#[derive(Debug)]
pub struct Here {
    task: JoinHandle<()>,
}

impl Here {
    /// The process of `papers` leaves home, by the ways that are given.
    ///
    /// # Errors
    /// There is no room for its images.
    pub fn leave(client: &Client, papers: Papers) -> Result<(Self, Ways), Error> {
        let arbiter = OwnJournal { client: client.clone(), id: papers.passage.r#move };
        let (pages, expected) = pages(&papers);
        let departure = Departure::new(papers, expected, Arc::new(arbiter), Patience::endless())?;
        let (near, far) = duplex(UNDER_WAY);
        let task = tokio::spawn(async move {
            departure.leave(Box::new(far)).await;
        });
        Ok((Self { task }, Ways { way: Box::new(near), pages }))
    }

    /// The process of `papers` comes home, by the ways that are given.
    ///
    /// # Errors
    /// There is no room for its images.
    pub fn take_in(client: &Client, papers: Papers) -> Result<(Self, Ways), Error> {
        let arbiter = OwnJournal { client: client.clone(), id: papers.passage.r#move };
        let (pages, expected) = pages(&papers);
        let arrival = Arrival::new(papers, expected, Arc::new(arbiter), Patience::endless())?;
        let (near, far) = duplex(UNDER_WAY);
        let task = tokio::spawn(async move {
            arrival.take_in(Box::new(far), |_| ()).await;
        });
        Ok((Self { task }, Ways { way: Box::new(near), pages }))
    }

    /// Waits until there is nothing left to do.
    pub async fn end(self) {
        // It has logged whatever went wrong.
        let _ = self.task.await;
    }
}

/// Both ends of the way for memory, if it follows the process of `papers`.
fn pages(papers: &Papers) -> (Option<Way>, Option<Expected>) {
    if papers.passage.memory != memory::Way::Lazy {
        return (None, None);
    }
    let (near, far) = duplex(UNDER_WAY);
    (Some(Box::new(near)), Some(Expected::there(Box::new(far), papers.passage.pid)))
}
