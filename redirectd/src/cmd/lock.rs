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
    migrate::away::Traveller,
    process::Tree,
};

/// Keep a process where it is
///
/// Neither `redirect migrate` nor any engine that says which process it moves takes it
/// along, until `redirect unlock`; but whoever runs the machine that it is a guest on can
/// evict it. The process must be at home, or have left it.
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
        let name = match away {
            Some(away) => away.process.name,
            None => Tree::of(self.pid)?.root().name.clone(),
        };
        let process = set(context, self.pid, Some(name)).await?;
        say(context, &process, "stays where it is");
        Ok(())
    }
}

impl Unlock {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let process = set(context, self.pid, None).await?;
        say(context, &process, "may move");
        Ok(())
    }
}

/// Locks the process of that name, or unlocks it if there is none.
async fn set(context: &Context, pid: i32, name: Option<String>) -> Result<Traveller, Error> {
    let request = LockRequest { pid, locked: name.is_some(), name };
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
