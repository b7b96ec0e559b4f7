//! `redirect node`: the machines that move processes to each other.

mod init;
mod invite;
mod join;
mod list;
mod remove;

use std::net::{IpAddr, SocketAddr};

use anstream::println;
use clap::{Args, Subcommand};
use hyper::Method;

use super::{
    Context,
    output::{BOLD, field},
};
use crate::{
    api::nodes::{InitRequest, Invitation, InviteRequest, ThisNode},
    error::Error,
};

/// Make machines known to each other, so that processes can move between them
///
/// Nodes talk over TLS; each has a key of its own and recognises the others by
/// theirs, so there is no certificate to be bought or copied. Two of them come to
/// know each other when one invites and the other joins with the line that was
/// printed. Who is not known is refused.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redirect node init --listen 192.0.2.1:9311   # on one machine; prints a line
  redirect node join redirect-node-1-…         # that line, on the other one
  redirect node invite                         # one more line, for a third one
  redirect node list                           # who is there, and can do what")]
pub(super) struct Node {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Init),
    Invite(invite::Invite),
    Join(join::Join),
    List(list::List),
    Remove(remove::Remove),
}

/// What a machine is to be as a node.
#[derive(Debug, Args)]
struct NodeOptions {
    /// What other nodes call it [default: the machine's name]
    #[arg(long)]
    name: Option<String>,

    /// Where other nodes can call it; needed here unless the configuration says
    /// `node: { listen: … }`, and needed if processes are to move here
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

impl Node {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match self.verb {
            Verb::Init(verb) => verb.run(context).await,
            Verb::Invite(verb) => verb.run(context).await,
            Verb::Join(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Remove(verb) => verb.run(context).await,
        }
    }
}

impl From<NodeOptions> for InitRequest {
    fn from(NodeOptions { name, listen }: NodeOptions) -> Self {
        Self { name, listen }
    }
}

async fn ask_to_invite(
    context: &Context,
    address: Option<IpAddr>,
    expires_seconds: f64,
) -> Result<Invitation, Error> {
    let request = InviteRequest { address, expires_seconds };
    context.client.send_to(Method::POST, "/v1/nodes/invite", &request).await
}

/// Says what to do with an invitation.
fn print_invitation(invitation: &Invitation) {
    println!(
        "To make another machine's node known here, run there, before {}:",
        invitation.expires
    );
    println!();
    println!("  redirect node join {}", invitation.token);
    println!();
    println!("It is good for one machine. Until it is used, keep it as you keep a password.");
}

/// Describes this machine as a node.
fn print_this(this: &ThisNode) {
    println!("{BOLD}{}{BOLD:#} (this machine)", this.name);
    match this.listen {
        Some(address) => field("listens on", address),
        None => field("listens on", "nothing; it can call others, and not be called"),
    }
    field("fingerprint", this.fingerprint);
}
