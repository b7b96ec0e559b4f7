//! The daemon's own thread, and the way to it.

use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::{Daemon, Events};
use crate::error::{Error, Kind};

/// How many jobs may wait; whoever comes then waits to be let in.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Daemon) + Send>;

/// Sends jobs to the daemon's thread; clones send to the same daemon. The thread
/// ends when the last one is dropped.
#[derive(Clone)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    events: Events,
}

/// Gives `daemon` a thread of its own.
///
/// # Errors
/// No thread can be made.
pub fn spawn(mut daemon: Daemon) -> Result<(Handle, JoinHandle<()>), Error> {
    let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
    let handle = Handle { jobs, events: daemon.events().clone() };
    let thread = thread::Builder::new()
        .name("dataplane".to_owned())
        .spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut daemon);
            }
        })
        .map_err(|error| Error::new(Kind::Failed, format!("cannot make a thread: {error}")))?;
    Ok((handle, thread))
}

impl Handle {
    /// Has `job` done by the daemon, after all jobs before it, even if the
    /// caller goes away meanwhile.
    ///
    /// # Errors
    /// The daemon's thread is gone, or what the job returns.
    pub async fn call<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Daemon) -> Result<T, Error> + Send + 'static,
    {
        call(self.jobs.clone(), job).await
    }

    /// For those who outlive whoever runs the daemon.
    #[must_use]
    pub fn weak(&self) -> WeakHandle {
        WeakHandle(self.jobs.downgrade())
    }

    /// Has `job` done by the daemon, before all jobs that come later, without waiting
    /// for it.
    ///
    /// # Errors
    /// The daemon's thread is gone.
    pub async fn queue<F>(&self, job: F) -> Result<(), Error>
    where
        F: FnOnce(&mut Daemon) + Send + 'static,
    {
        self.jobs.send(Box::new(job)).await.map_err(|_| gone())
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }
}

/// The same, and does not keep the daemon's thread.
#[derive(Clone)]
pub struct WeakHandle(mpsc::WeakSender<Job>);

impl WeakHandle {
    /// As [`Handle::call`].
    ///
    /// # Errors
    /// As there.
    pub async fn call<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Daemon) -> Result<T, Error> + Send + 'static,
    {
        call(self.0.upgrade().ok_or_else(gone)?, job).await
    }
}

async fn call<T, F>(jobs: mpsc::Sender<Job>, job: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&mut Daemon) -> Result<T, Error> + Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let job: Job = Box::new(move |daemon| {
        let _ = answer.send(job(daemon));
    });
    jobs.send(job).await.map_err(|_| gone())?;
    drop(jobs);
    result.await.map_err(|_| gone())?
}

fn gone() -> Error {
    Error::new(Kind::Failed, "the thread that owns the dataplane has ended")
}
