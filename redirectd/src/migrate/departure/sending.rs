//! What is written down on its way to home: memory that goes ahead while it is copied in
//! rounds, and the rest while it is written.

use std::path::Path;

use tokio::{
    io::WriteHalf,
    sync::{mpsc, oneshot},
};

use super::{
    dump::{Halt, Halted, Written},
    ended_early, given_up,
    lazily::Giving,
};
use crate::{
    error::Error,
    migrate::{
        criu::stream::send::Sender,
        handover::{Leaving, Way},
        pages_way::PagesWay,
    },
    node,
};

/// Where the dump waits for the end.
pub(super) type Answer = oneshot::Sender<Result<(), Error>>;

/// Sends what is written, and says so; begins to give what was left behind by `pages`.
/// What goes ahead is sent first, then that the process is frozen, and the rest once home
/// `proceeds`.
pub(super) async fn send(
    images: &Path,
    to: &mut WriteHalf<Way>,
    proceeds: Option<oneshot::Receiver<()>>,
    pages: Option<PagesWay>,
    coming: &mut mpsc::Receiver<Halt>,
) -> Result<(Answer, Option<Giving>), Error> {
    let mut sender = Sender::new(images, &mut *to).await?;
    let mut halt = None;
    if let Some(proceeds) = proceeds {
        let frozen = ahead(&mut sender, coming).await?;
        sender.frozen().await?;
        proceeds.await.map_err(|_| given_up())?;
        let _ = frozen.send(Ok(()));
    }
    sender.follow(async { halt = coming.recv().await }).await?;
    let Some(Halt { stage: Halted::Written(Written { remains, behind }), answer }) = halt else {
        return Err(ended_early());
    };
    // The destination may ask for some of it as soon as it has the images.
    let giving = match (behind, pages) {
        (Some(behind), Some(pages)) => Some(Giving::begin(images, &remains.pids, behind, pages)?),
        _ => None,
    };
    sender.finish(|image| Ok(image.to_vec())).await?;
    node::say(to, &Leaving::Written(remains)).await?;
    Ok((answer, giving))
}

/// Sends what is copied ahead, until the process is frozen.
async fn ahead(
    sender: &mut Sender<&mut WriteHalf<Way>>,
    coming: &mut mpsc::Receiver<Halt>,
) -> Result<Answer, Error> {
    loop {
        let mut halt = None;
        sender.follow(async { halt = coming.recv().await }).await?;
        match halt {
            Some(Halt { stage: Halted::Copied, answer }) => {
                sender.rounds().await?;
                let _ = answer.send(Ok(()));
            }
            Some(Halt { stage: Halted::Frozen, answer }) => return Ok(answer),
            _ => return Err(ended_early()),
        }
    }
}
