//! The host's side of a move: says what it has, takes a process in, and lets it
//! run when home says so.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    io::{copy, sink},
    runtime::Handle,
    task::spawn_blocking,
};
use tracing::{info, warn};

use super::{
    criu::{
        Criu, Restore, RestoreStage, datagrams, sockopts, stream,
        workdir::{PLACES, WorkDir},
    },
    handover::{ARRIVE, Belongings, OFFER, SERVICE, Told, Welcome, Word},
    rights,
};
use crate::{
    error::{Error, Kind},
    node::{
        self,
        members::Member,
        service::{Later, NodeService, Stream, Taker, no_such},
    },
    process::{Needs, Offer},
};

/// The service that takes processes in.
#[derive(Debug)]
pub struct Arrivals;

impl NodeService for Arrivals {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn request<'a>(
        &'a self,
        _from: &'a Member,
        name: &'a str,
        body: Value,
    ) -> Later<'a, Result<Value, Error>> {
        Box::pin(async move {
            if name != OFFER {
                return Err(no_such("request", SERVICE, name));
            }
            let needs: Needs = read(body)?;
            let welcome =
                spawn_blocking(move || welcome(&needs)).await.map_err(|why| lost(&why))?;
            serde_json::to_value(welcome?).map_err(|why| lost(&why))
        })
    }

    fn stream<'a>(
        &'a self,
        from: &'a Member,
        purpose: &'a str,
        body: Value,
    ) -> Later<'a, Result<(Value, Taker), Error>> {
        Box::pin(async move {
            if purpose != ARRIVE {
                return Err(no_such("stream", SERVICE, purpose));
            }
            let pid: i32 = read(body)?;
            rights::check()?;
            let folder = WorkDir::create(&PLACES, &format!("arriving-{pid}"))?;
            let arrival = Arrival { pid, from: from.name.clone(), folder };
            let taker: Taker = Box::new(move |stream| Box::pin(arrival.take_in(stream)));
            Ok((Value::Null, taker))
        })
    }
}

/// A process on its way in.
struct Arrival {
    pid: i32,
    from: String,
    folder: WorkDir,
}

impl Arrival {
    async fn take_in(self, mut stream: Stream) {
        match self.receive(&mut stream).await {
            Ok(belongings) => {
                let runtime = Handle::current();
                // Goes on if this is dropped; then the stream is cut, and so the
                // word does not come.
                let _ = spawn_blocking(move || self.revive(stream, &belongings, &runtime)).await;
            }
            Err(error) => {
                self.warn(&error);
                let _ = node::say(&mut stream, &Told::Failed(error)).await;
                // What home still sends would be answered by a reset, on which it
                // would not hear why.
                let _ = copy(&mut stream, &mut sink()).await;
            }
        }
    }

    async fn receive(&self, stream: &mut Stream) -> Result<Belongings, Error> {
        let free = Offer::for_needs(&Needs::default(), None)?.free_memory;
        stream::receive::receive(stream, self.folder.path(), free).await?;
        node::hear(stream).await
    }

    /// Revives the process, waits for the word, and lets it run.
    fn revive(self, mut stream: Stream, belongings: &Belongings, runtime: &Handle) {
        let restore = Restore { images: self.folder.path().to_owned(), shell_job: false };
        let mut lost = Vec::new();
        let revived = Criu::new("criu").restore(&restore, &mut |stage| match stage {
            RestoreStage::Revived { .. } => {
                datagrams::deliver(&belongings.datagrams)?;
                runtime.block_on(the_word(&mut stream))
            }
            RestoreStage::Resuming { .. } => {
                lost = mend(belongings);
                Ok(())
            }
            RestoreStage::Begun | RestoreStage::Resumed { .. } => Ok(()),
        });
        let told = match revived {
            Ok(pid) => {
                info!(pid, from = self.from, "a process has come, and runs here");
                Told::Running { lost }
            }
            Err(error) => {
                self.warn(&error);
                Told::Failed(error)
            }
        };
        // Who does not hear it asks home's journal, which knows whose it is.
        let _ = runtime.block_on(node::say(&mut stream, &told));
    }

    fn warn(&self, error: &Error) {
        let (pid, from) = (self.pid, &self.from);
        warn!(pid, from, error = error.one_line(), "a process could not come here");
    }
}

/// Says that the process is there, and waits until it is this machine's.
async fn the_word(stream: &mut Stream) -> Result<(), Error> {
    node::say(stream, &Told::Revived).await?;
    let Word::Go = node::hear(stream).await?;
    Ok(())
}

/// Sets the options of sockets that CRIU has forgotten. From here on the process is
/// this machine's, so that what is lost is told and no more.
fn mend(belongings: &Belongings) -> Vec<String> {
    let mut lost = Vec::new();
    for (pid, kept) in &belongings.options {
        match sockopts::mend(*pid, kept) {
            Ok(options) => {
                lost.extend(options.iter().map(|option| format!("process {pid}: {option}")));
            }
            Err(error) => lost.push(error.one_line()),
        }
    }
    lost
}

fn welcome(needs: &Needs) -> Result<Welcome, Error> {
    let engine = Criu::new("criu").version().ok().map(|version| version.to_string());
    Ok(Welcome { offer: Offer::for_needs(needs, engine)?, refusal: rights::check().err() })
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, Error> {
    serde_json::from_value(body).map_err(|why| {
        Error::new(Kind::Usage, format!("what is asked of `{SERVICE}` makes no sense: {why}"))
            .cure("run the same release of redirectd on both nodes")
    })
}

fn lost(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Failed, format!("this machine cannot say what it has: {why}"))
}
