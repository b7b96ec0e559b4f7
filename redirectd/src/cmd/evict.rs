//! `redirect evict`

use anstream::{eprintln, println};
use clap::{Args, value_parser};
use hyper::Method;

use super::{
    Context,
    output::{self, BAD, BOLD},
};
use crate::{
    api::processes::{EvictReport, EvictRequest, NotEvicted},
    error::{Error, Kind},
};

/// Send a guest home
///
/// The process goes back to the node it came from, with its open connections, as by
/// `redirect migrate … --to home` there; even if it is locked. Its home must be
/// reached, and its redirectd may revive processes. A guest that cannot go stays,
/// and goes on.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redirect evict 4711
  redirect evict --all
      before this machine is switched off")]
pub(super) struct Evict {
    /// The guest
    #[arg(value_parser = value_parser!(i32).range(1..), required_unless_present = "all")]
    pid: Option<i32>,

    /// All guests of this machine
    #[arg(long, conflicts_with = "pid")]
    all: bool,
}

impl Evict {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let request = EvictRequest { pid: self.pid };
        let report: EvictReport =
            context.client.send_to(Method::POST, "/v1/evict", &request).await?;
        if context.json {
            output::json(&report);
        } else {
            print(&report);
        }
        match report.failed.as_slice() {
            [] => Ok(()),
            [NotEvicted { guest, error }] => Err(Error {
                what: format!("process {} stays here: {}", guest.process.pid, error.what),
                ..error.clone()
            }),
            several => {
                let what = format!("{} guests stay here", several.len());
                Err(Error::new(Kind::Failed, what).cure("see above what is in the way of each"))
            }
        }
    }
}

fn print(report: &EvictReport) {
    for guest in &report.gone {
        let (pid, name) = (guest.process.pid, guest.process.name.escape_debug());
        println!("process {BOLD}{pid}{BOLD:#} ({name}) is at home, on {}", guest.home);
    }
    if report.gone.is_empty() && report.failed.is_empty() {
        println!("there are no guests here");
    }
    // One alone is the error that the command ends with.
    for NotEvicted { guest, error } in report.failed.iter().filter(|_| report.failed.len() > 1) {
        eprintln!("{BAD}process {}{BAD:#}: {}", guest.process.pid, error.what);
        if let Some(cure) = &error.cure {
            eprintln!("  cure: {cure}");
        }
    }
}
