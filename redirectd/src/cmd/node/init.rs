//! `redirect node init`

use anstream::println;
use clap::Args;
use hyper::Method;
use serde::Serialize;

use super::{ask_to_invite, print_invitation, print_this};
use crate::{
    api::nodes::{DEFAULT_EXPIRY, InitReport, InitRequest, Invitation},
    cmd::{Context, output},
    error::Error,
};

/// Make this machine a node, with a key of its own, and invite another
///
/// Said again, it changes where the node listens, or its name as long as it knows
/// no other. Its key stays.
#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    options: super::NodeOptions,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    init: InitReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<Invitation>,
}

impl Init {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let request: InitRequest = self.options.into();
        let init: InitReport =
            context.client.send_to(Method::POST, "/v1/nodes/init", &request).await?;
        // One that listens on all its addresses does not know which to give.
        let callable = init.this.listen.is_some_and(|address| !address.ip().is_unspecified());
        let invitation = match callable {
            true => Some(ask_to_invite(context, None, DEFAULT_EXPIRY).await?),
            false => None,
        };
        if context.json {
            output::json(Report { init, invitation });
            return Ok(());
        }
        print_this(&init.this);
        println!();
        match (&invitation, init.this.listen) {
            (Some(invitation), _) => print_invitation(invitation),
            (None, Some(_)) => {
                println!("`redirect node invite --address ADDRESS` invites another machine.");
            }
            (None, None) => println!(
                "To be called, it needs `redirect node init --listen ADDRESS:PORT`, or `node: {{ \
                 listen: … }}` in the configuration."
            ),
        }
        Ok(())
    }
}
