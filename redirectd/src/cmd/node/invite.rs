//! `redirect node invite`

use std::{net::IpAddr, time::Duration};

use clap::Args;

use super::{ask_to_invite, print_invitation};
use crate::{
    api::nodes::DEFAULT_EXPIRY,
    cmd::{Context, output},
    error::Error,
};

/// Print the line by which one other machine can join
///
/// It holds this node's address and fingerprint, and a secret. It ends when it is
/// used, when its time is over, and when redirectd is restarted.
#[derive(Debug, Args)]
pub(super) struct Invite {
    /// The address the other machine shall call, if this node listens on all
    #[arg(long)]
    address: Option<IpAddr>,

    /// How long it is good for, up to a day [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
}

impl Invite {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let expires = self.expires.map_or(DEFAULT_EXPIRY, |time| time.as_secs_f64());
        let invitation = ask_to_invite(context, self.address, expires).await?;
        if context.json {
            output::json(&invitation);
        } else {
            print_invitation(&invitation);
        }
        Ok(())
    }
}
