//! `redirect lock` and `redirect unlock`

use anstream::println;
use clap::{Args, value_parser};
use hyper::Method;

use super::{
    Context,
    output::{self, BOLD},
};
use crate::{
    api::processes::{LockRequest, ProcessList},
    error::{Error, Kind},
    migrate::{away::Traveller, living::started},
    process::Tree,
};

/// Keep a process where it is
///
/// Neither `redirect migrate` nor any engine that says which process it moves takes it
/// along, until `redirect unlock`; but whoever runs the machine that it is a guest on can
/// evict it. The process must be at home, or have left it. The lock ends with the process.
#[derive(Debug, Args)]
pub(super) struct Lock {
    /// The process
    #[arg(value_parser = value_parser!(i32).range(1..))]
    pid: i32,
}

/// Let a process move again
#[derive(Debug, Args)]
pub(super) struct Unlock {
    /// The process
    #[arg(value_parser = value_parser!(i32).range(1..))]
    pid: i32,
}

impl Lock {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let list: ProcessList = context.client.get("/v1/processes").await?;
        let away = list.away.into_iter().find(|away| away.process.pid == self.pid);
        let (name, started) = match away {
            Some(away) => (away.process.name, None),
            None => (Tree::of(self.pid)?.root().name.clone(), started(self.pid)),
        };
        let (pid, name) = (self.pid, Some(name));
        let process = set(context, LockRequest { pid, name, locked: true, started }).await?;
        say(context, &process, "stays where it is");
        Ok(())
    }
}

impl Unlock {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let (pid, name, started) = (self.pid, None, None);
        let process = set(context, LockRequest { pid, name, locked: false, started }).await?;
        say(context, &process, "may move");
        Ok(())
    }
}

async fn set(context: &Context, request: LockRequest) -> Result<Traveller, Error> {
    let set = context.client.send_to(Method::POST, "/v1/lock", &request).await;
    set.map_err(|error: Error| match error.kind {
        Kind::NotFound => error.cure("`redirect ps` shows those that are locked"),
        _ => error,
    })
}

fn say(context: &Context, process: &Traveller, what: &str) {
    if context.json {
        output::json(process);
        return;
    }
    let Traveller { pid, name } = process;
    println!("process {BOLD}{pid}{BOLD:#} ({}) {what}", name.escape_debug());
}
