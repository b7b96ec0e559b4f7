//! The way of a process from home to a host: frozen, written down, carried over
//! while it is written, ended here, given to the host.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use hyper::Method;
use serde::Serialize;
use tokio::{runtime::Handle, sync::oneshot, task::spawn_blocking};

use crate::{
    api::{client::Client, moves::MoveView},
    cmd::hook::criu::images::relocation,
    error::{Error, Kind},
    migrate::{
        criu::{
            Criu, Dump, DumpStage, Restore, RestoreStage,
            datagrams::{self, Datagram},
            gone,
            images::{FILES, TREE, readdress::readdress, sockets::sockets, tree},
            sockopts,
            stream::{Sum, send::Sender},
            workdir::{PLACES, WorkDir},
        },
        handover::{ARRIVE, Belongings, SERVICE, Told, Word},
        machine::{MoveState, Owner},
    },
    node::{self, link::Link, service::Stream},
};

/// How long killed processes may take to go, until that is told.
const GOING: Duration = Duration::from_secs(5);

/// What became of a move that went well.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The processes that moved.
    pub(super) pids: Vec<i32>,
    /// The files and bytes that went over.
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) seconds: Times,
    /// What has been lost on the way.
    pub(super) lost: Vec<String>,
    /// The move, as home has it.
    pub(super) r#move: MoveView,
}

/// How long each stage took, in seconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Times {
    /// From the freeze until all was written.
    pub(super) dump: f64,
    /// From then until all was on the host, and revived there.
    pub(super) transfer_and_restore: f64,
    /// From then until the process was ended here.
    pub(super) end: f64,
    /// From then until home's tables led to the host, and all held was delivered.
    pub(super) flip_and_replay: f64,
    /// From then until the process ran there.
    pub(super) resume: f64,
    /// All of these.
    pub(super) frozen: f64,
}

/// Why a process has not moved, or is not known to.
pub(super) struct Failed {
    pub(super) error: Error,
    /// Home knows already what became of the move.
    pub(super) decided: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, decided: false }
    }
}

/// What is known of the processes while they are frozen.
struct Frozen {
    pids: Vec<i32>,
    options: Vec<(i32, Vec<sockopts::Kept>)>,
    waiting: Vec<Datagram>,
}

/// What the thread of the dump says and hears.
struct Side {
    client: Client,
    id: u32,
    written: Option<oneshot::Sender<Frozen>>,
    revived: Option<oneshot::Receiver<Result<(), Error>>>,
    frozen_at: Option<Instant>,
    written_at: Option<Instant>,
    revived_at: Option<Instant>,
}

/// Moves process `pid` to the node of `link`, by `moved`, which has just begun.
pub(super) async fn depart(
    client: &Client,
    moved: &MoveView,
    pid: i32,
    link: Link,
) -> Result<Report, Failed> {
    let folder = WorkDir::create(&PLACES, &format!("leaving-{}", moved.id))?;
    let ((), stream) = link.open_stream(SERVICE, ARRIVE, &pid).await?;
    let (written, all_written) = oneshot::channel();
    let (tell_revived, revived) = oneshot::channel();
    let side = Side {
        client: client.clone(),
        id: moved.id,
        written: Some(written),
        revived: Some(revived),
        frozen_at: None,
        written_at: None,
        revived_at: None,
    };
    let (images, runtime) = (folder.path().to_owned(), Handle::current());
    let dumping = spawn_blocking(move || side.dump(pid, &images, &runtime));
    let sending = async {
        let sent = send(client, moved, folder.path(), stream, all_written).await;
        // The thread may have ended already, for a reason of its own.
        let (told, sent) = match sent {
            Ok(sent) => (Ok(()), Some(sent)),
            Err(error) => (Err(error), None),
        };
        let _ = tell_revived.send(told);
        sent
    };
    let (dumped, sent) = tokio::join!(dumping, sending);
    let (mut times, revived_at) = dumped.map_err(|why| failed(&why.to_string()))??;
    // It is revived, or the dump would have failed.
    let (mut stream, sum, pids) = sent.ok_or_else(|| failed("the host has fallen silent"))?;
    let ended_at = Instant::now();
    if let Err(error) = commit(client, moved.id).await {
        return Err(stay(client, moved.id, folder, &pids, error).await);
    }
    let committed_at = Instant::now();
    let lost = match go(&mut stream).await {
        Ok(lost) => lost,
        Err(error) => return Err(unknown(error, folder, moved)),
    };
    let running_at = Instant::now();
    let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
    times.end = seconds(revived_at, ended_at);
    times.flip_and_replay = seconds(ended_at, committed_at);
    times.resume = seconds(committed_at, running_at);
    times.frozen =
        times.dump + times.transfer_and_restore + times.end + times.flip_and_replay + times.resume;
    let mut lost = lost;
    lost.extend(gone_from_here(&pids).await);
    let r#move = client.get(&format!("/v1/moves/{}", moved.id)).await.unwrap_or(moved.clone());
    Ok(Report { pids, files: sum.files, bytes: sum.bytes, seconds: times, lost, r#move })
}

impl Side {
    /// Writes the processes down, and ends them once they are revived on the host.
    /// Gives what that took, and when they were revived.
    fn dump(
        mut self,
        pid: i32,
        images: &Path,
        runtime: &Handle,
    ) -> Result<(Times, Instant), Error> {
        let dump = Dump { pid, images: images.to_owned(), shell_job: false };
        Criu::new("criu").dump(&dump, &mut |stage| match stage {
            DumpStage::Running => Ok(()),
            DumpStage::Frozen => {
                self.frozen_at = Some(Instant::now());
                let path = format!("/v1/moves/{}/park", self.id);
                let park = self.client.send_to(Method::POST, &path, &());
                runtime.block_on(park).map(|_: MoveView| ())
            }
            DumpStage::Written => self.hand_over(images),
        })?;
        let (Some(frozen), Some(written), Some(revived)) =
            (self.frozen_at, self.written_at, self.revived_at)
        else {
            return Err(failed("CRIU has left out a stage"));
        };
        let times = Times {
            dump: (written - frozen).as_secs_f64(),
            transfer_and_restore: (revived - written).as_secs_f64(),
            ..Times::default()
        };
        Ok((times, revived))
    }

    /// All is written: waits until it is revived on the host.
    fn hand_over(&mut self, images: &Path) -> Result<(), Error> {
        self.written_at = Some(Instant::now());
        let tree = read(&images.join(TREE))?;
        let tree = tree::processes(&tree).map_err(|why| failed(&why.to_string()))?;
        let pids: Vec<i32> = tree.iter().map(|process| process.pid).collect();
        let mut options = Vec::new();
        for pid in &pids {
            options.push((*pid, sockopts::keep(*pid)?));
        }
        let waiting = datagrams::waiting(&pids)?;
        let (written, revived) = self
            .written
            .take()
            .zip(self.revived.take())
            .ok_or_else(|| failed("CRIU has written everything twice"))?;
        // If nobody takes it, the sender has failed, and said why.
        let _ = written.send(Frozen { pids, options, waiting });
        revived.blocking_recv().map_err(|_| failed("the images were not sent"))??;
        self.revived_at = Some(Instant::now());
        Ok(())
    }
}

/// Sends what is written, and waits until it is revived.
async fn send(
    client: &Client,
    moved: &MoveView,
    images: &Path,
    mut stream: Stream,
    all_written: oneshot::Receiver<Frozen>,
) -> Result<(Stream, Sum, Vec<i32>), Error> {
    let mut sender = Sender::new(images, &mut stream).await?;
    let mut frozen = None;
    sender.follow(async { frozen = all_written.await.ok() }).await?;
    let Frozen { pids, options, waiting } =
        frozen.ok_or_else(|| failed("the process was not written down"))?;
    let image = read(&images.join(FILES))?;
    let unfit = |why: &dyn std::fmt::Display| failed(&format!("{FILES} cannot be used: {why}"));
    let mut all = sockets(&image).map_err(|why| unfit(&why))?;
    all.extend(waiting.iter().map(Datagram::as_socket));
    let relocation = relocation(client, moved, &all).await?;
    let image = readdress(&image, &relocation).map_err(|why| unfit(&why))?;
    let datagrams = waiting.into_iter().filter_map(|datagram| {
        // One of an address that does not move is nobody's there.
        let names = relocation.connections.get(&datagram.as_socket().connection()?)?;
        Some(datagram.renamed(names))
    });
    let belongings = Belongings { options, datagrams: datagrams.collect() };
    let sum = sender.finish(|_| Ok(image)).await?;
    node::say(&mut stream, &belongings).await?;
    match node::hear(&mut stream).await? {
        Told::Revived => Ok((stream, sum, pids)),
        Told::Failed(error) => Err(error),
        Told::Running { .. } => Err(failed("the host has let it run without the word")),
    }
}

/// Commits the move; if the answer is lost, finds out whether it is committed.
async fn commit(client: &Client, id: u32) -> Result<(), Error> {
    let path = format!("/v1/moves/{id}/commit");
    let Err(error) = client.send_to::<_, MoveView>(Method::POST, &path, &()).await else {
        return Ok(());
    };
    match client.get::<MoveView>(&format!("/v1/moves/{id}")).await {
        Ok(moved) if moved.owner == Owner::New => Ok(()),
        _ => Err(error),
    }
}

/// The move is not committed, but the process is ended here: revives it here, as
/// the host does not let it run without the word.
async fn stay(client: &Client, id: u32, folder: WorkDir, pids: &[i32], why: Error) -> Failed {
    let (client, pids, runtime) = (client.clone(), pids.to_vec(), Handle::current());
    let restore = Restore { images: folder.path().to_owned(), shell_job: false };
    let revived = spawn_blocking(move || {
        gone::wait(Path::new("/proc"), &pids, GOING)?;
        Criu::new("criu").restore(&restore, &mut |stage| match stage {
            RestoreStage::Revived { .. } => runtime.block_on(must_be_aborted(&client, id)),
            _ => Ok(()),
        })
    });
    match revived.await.map_err(|why| failed(&why.to_string())).flatten() {
        Ok(_) => Failed { error: why, decided: true },
        Err(error) => {
            let what = format!(
                "{}; and the process could not be revived here: {}",
                why.what,
                error.one_line()
            );
            let images = folder.keep();
            let error = Error::new(Kind::Failed, what)
                .cure(format!("its images are in {}: `criu restore`", images.display()));
            Failed { error, decided: true }
        }
    }
}

/// Aborts the move, or refuses if it is not known to be aborted.
async fn must_be_aborted(client: &Client, id: u32) -> Result<(), Error> {
    let path = format!("/v1/moves/{id}/abort");
    let request = crate::api::moves::AbortRequest { why: Some("it could not be committed".into()) };
    let moved: MoveView = client.send_to(Method::POST, &path, &request).await?;
    if moved.state == MoveState::Aborted {
        return Ok(());
    }
    Err(failed("the move was committed after all"))
}

/// Lets the process run on the host; gives what it has lost.
async fn go(stream: &mut Stream) -> Result<Vec<String>, Error> {
    node::say(stream, &Word::Go).await?;
    match node::hear(stream).await? {
        Told::Running { lost } => Ok(lost),
        Told::Failed(error) => Err(error),
        Told::Revived => Err(failed("the host says twice that it is revived")),
    }
}

/// The process is the host's, which does not say that it runs.
fn unknown(why: Error, folder: WorkDir, moved: &MoveView) -> Failed {
    let (to, images) = (&moved.to, folder.keep());
    let what =
        format!("the process is {to}'s now, but {to} does not say that it runs: {}", why.what);
    let error = Error::new(Kind::Failed, what).cure(format!(
        "see the log of redirectd on {to}; if it does not run there it has ended, and what it was \
         is in {}",
        images.display()
    ));
    Failed { error, decided: true }
}

/// Reaps what is left here; says so if something stays.
async fn gone_from_here(pids: &[i32]) -> Option<String> {
    let pids = pids.to_vec();
    let wait = spawn_blocking(move || gone::wait(Path::new("/proc"), &pids, GOING));
    wait.await.ok()?.err().map(|error| error.one_line())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|why| failed(&format!("cannot read {}: {why}", path.display())))
}

fn failed(what: &str) -> Error {
    Error::new(Kind::Failed, what)
}
