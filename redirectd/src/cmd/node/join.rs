//! `redirect node join`

use anstream::println;
use clap::Args;
use hyper::Method;

use crate::{
    api::nodes::{JoinReport, JoinRequest},
    cmd::{
        Context,
        output::{self, BOLD, GOOD},
    },
    error::Error,
};

/// Join the node that printed TOKEN: from then on the two know each other
///
/// This machine becomes a node if it is none. Nothing is told to a machine that is
/// not the one the token is of.
#[derive(Debug, Args)]
pub(super) struct Join {
    /// The line that `redirect node init` or `invite` printed there
    token: String,

    #[command(flatten)]
    options: super::NodeOptions,
}

impl Join {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let request = JoinRequest { token: self.token, init: self.options.into() };
        let report: JoinReport =
            context.client.send_to(Method::POST, "/v1/nodes/join", &request).await?;
        if context.json {
            output::json(&report);
        } else {
            println!("{GOOD}joined{GOOD:#} {BOLD}{}{BOLD:#}", report.joined.name);
        }
        Ok(())
    }
}
