//! `redirect node remove`

use anstream::println;
use clap::Args;
use clap_complete::ArgValueCompleter;
use hyper::Method;

use crate::{
    api::nodes::{RemoveNodeReport, RemoveNodeRequest},
    cmd::{
        Context, completions,
        output::{self, BOLD, GOOD},
    },
    error::Error,
};

/// Forget a node: it is refused from now on, and what it has open is cut
///
/// There, this machine is known until it is removed as well.
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The node
    #[arg(add = ArgValueCompleter::new(completions::node_names))]
    name: String,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let request = RemoveNodeRequest { name: self.name };
        let report: RemoveNodeReport =
            context.client.send_to(Method::POST, "/v1/nodes/remove", &request).await?;
        if context.json {
            output::json(&report);
        } else {
            println!("{GOOD}removed{GOOD:#} {BOLD}{}{BOLD:#}", report.removed);
        }
        Ok(())
    }
}
