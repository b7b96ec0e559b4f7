//! `redirect hook criu`

mod images;

use std::{path::PathBuf, time::Duration};

use anstream::eprintln;
use clap::Args;
use hyper::Method;
use tokio::time::sleep;

use crate::{
    api::moves::{AbortRequest, MoveView},
    cmd::Context,
    error::{Error, Kind},
    migrate::machine::MoveState,
};

/// Be CRIU's action script: for people who call `criu` themselves
///
/// CRIU takes the path of a program without arguments, so write a script, and name
/// it with --action-script to `criu dump` and to `criu restore`:
///
///   #!/bin/sh
///   exec redirect hook criu --move 3
///
/// Before the dump, packets are held. When all is written, the connections are
/// prepared at the new host, and the sockets in the images get the addresses that
/// they have there; files.img as it was is kept as files.img.before-move. When the
/// process has been restored, and does not run yet, the move is committed. If one
/// of these fails, CRIU is told and gives up: the process goes on where it was, or
/// can be restored there.
///
/// CRIU's own network lock must be off: --network-lock skip. On the new host,
/// `redirect` must reach home's daemon, for example by its socket forwarded:
/// `ssh -fN -L /run/home.sock:/run/redirectd/redirectd.sock HOME`, and
/// `--socket /run/home.sock` in the script.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Criu {
    /// The number of the move, which has begun
    #[arg(long = "move", value_name = "ID")]
    id: u32,

    /// The process is restored where it was: then the move is aborted. Put
    /// files.img.before-move in the place of files.img first
    #[arg(long)]
    back: bool,

    /// Which moment it is; CRIU says so
    #[arg(long, value_name = "ACTION", env = "CRTOOLS_SCRIPT_ACTION", hide_env_values = true)]
    action: String,

    /// The folder of the images; CRIU says so
    #[arg(long, value_name = "DIR", env = "CRTOOLS_IMAGE_DIR", hide_env_values = true)]
    images: Option<PathBuf>,
}

/// What is to be done at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Have packets held.
    Park,
    /// Prepare the connections at the new host, and the images for it.
    Prepare,
    /// See that the move still waits.
    Look,
    /// Commit the move, or abort it if the process is back.
    Decide,
    /// There is nothing to do.
    Nothing,
}

impl Deed {
    /// What is to be done when CRIU says `action`, of a dump or of a restore.
    ///
    /// By then the process still runs at `pre-dump`; but the next moment CRIU tells
    /// of, without a network of the process's own, is when all is written, and what
    /// a socket acknowledges in between would be lost. A restore can be stopped by
    /// `post-restore`, and by nothing that comes later.
    fn of(action: &str) -> Self {
        match action {
            "pre-dump" | "network-lock" => Self::Park,
            "post-dump" => Self::Prepare,
            "pre-restore" => Self::Look,
            "post-restore" => Self::Decide,
            _ => Self::Nothing,
        }
    }
}

/// How long to wait before home is asked again.
const PAUSE: Duration = Duration::from_millis(200);

impl Criu {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match Deed::of(&self.action) {
            Deed::Park => self.park(context).await,
            Deed::Prepare => self.prepare(context).await,
            Deed::Look => self.look(context).await,
            Deed::Decide => self.decide(context).await,
            Deed::Nothing => Ok(()),
        }
    }

    async fn park(&self, context: &Context) -> Result<(), Error> {
        self.step(context, "/park").await.map(drop)
    }

    async fn prepare(&self, context: &Context) -> Result<(), Error> {
        let moved = self.show(context).await?;
        let prepared = images::prepare(context, &moved, self.images.as_deref()).await;
        if let Err(error) = &prepared {
            let why = Some(error.what.clone());
            let abort = self.send(context, "/abort", &AbortRequest { why }).await;
            if let Err(error) = abort {
                eprintln!("move {} could not be aborted either: {error}", self.id);
            }
        }
        prepared
    }

    async fn look(&self, context: &Context) -> Result<(), Error> {
        let moved = self.show(context).await?;
        let what = format!("move {} is {}, not parked", self.id, moved.state);
        let cure = match moved.state {
            MoveState::Parked => return Ok(()),
            MoveState::Aborted if self.back => return Ok(()),
            MoveState::Aborted => "the process is where it was; begin another move",
            MoveState::Committed => "the process is at its new host already",
            MoveState::Prepared => "dump the process with this action script first",
        };
        Err(Error::new(Kind::Conflict, what).cure(cure))
    }

    /// Decides the move. Only home knows whose the process is, so that home is asked
    /// until it answers.
    async fn decide(&self, context: &Context) -> Result<(), Error> {
        let (step, wanted) = match self.back {
            true => ("/abort", MoveState::Aborted),
            false => ("/commit", MoveState::Committed),
        };
        let mut told = false;
        loop {
            let Err(error) = self.step(context, step).await else { return Ok(()) };
            match self.show(context).await {
                Ok(moved) if moved.state == wanted => return Ok(()),
                Ok(_) => return Err(error),
                Err(lost) if lost.kind == Kind::Unreachable && !told => {
                    told = true;
                    eprintln!("home is asked again until it answers: {}", lost.one_line());
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn show(&self, context: &Context) -> Result<MoveView, Error> {
        context.client.get(&format!("/v1/moves/{}", self.id)).await
    }

    async fn step(&self, context: &Context, step: &str) -> Result<MoveView, Error> {
        self.send(context, step, &AbortRequest::default()).await
    }

    async fn send(
        &self,
        context: &Context,
        step: &str,
        body: &AbortRequest,
    ) -> Result<MoveView, Error> {
        let path = format!("/v1/moves/{}{step}", self.id);
        context.client.send_to(Method::POST, &path, body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CRIU 4.2.1 tells them, of a process without and with a network of its own.
    #[test]
    fn each_moment_has_its_deed() {
        let dump = ["pre-dump", "network-lock", "post-dump"].map(Deed::of);
        assert_eq!(dump, [Deed::Park, Deed::Park, Deed::Prepare]);
        let restore =
            ["pre-restore", "setup-namespaces", "post-restore", "pre-resume", "post-resume"];
        let nothing = Deed::Nothing;
        assert_eq!(restore.map(Deed::of), [Deed::Look, nothing, Deed::Decide, nothing, nothing]);
        assert_eq!(Deed::of("network-unlock"), nothing);
        assert_eq!(Deed::of("what later versions say"), nothing);
    }
}
