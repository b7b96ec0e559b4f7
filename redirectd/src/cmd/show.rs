//! `redirect show`

use anstream::println;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{
    Context, completions, list,
    output::{self, BOLD},
    units,
};
use crate::{
    api::types::{RedirectList, RedirectView},
    error::Error,
    rule::Flows,
};

/// Show one redirect in full, and those made with it for other home addresses
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its name
    #[arg(add = ArgValueCompleter::new(completions::redirect_names))]
    name: String,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let path = format!("/v1/redirects/{}", output::path_segment(&self.name));
        let list: RedirectList = context.client.get(&path).await?;
        if context.json {
            output::json(&list);
            return Ok(());
        }
        for (index, view) in list.redirects.iter().enumerate() {
            if index > 0 {
                println!();
            }
            print(view);
        }
        Ok(())
    }
}

/// Where it was asked for, and what has become of that.
fn from(view: &RedirectView) -> String {
    let origin = list::origin(view.origin);
    match &view.placement {
        None => origin.to_owned(),
        Some(placement) => format!(
            "{origin} (which says {}; moved by move {})",
            placement.written.target_endpoint(),
            placement.by
        ),
    }
}

fn print(view: &RedirectView) {
    let redirect = &view.redirect;
    let peers = match redirect.peers.as_slice() {
        [] => "all".to_owned(),
        peers => peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let flows = match redirect.flows {
        Flows::Follow => "follow: open connections follow a change of target",
        Flows::NewOnly => "new-only: a change of target leaves open connections where they are",
    };
    println!("{BOLD}{}{BOLD:#}", redirect.name);
    output::field("protocols", redirect.protocol_list());
    output::field("home", redirect.home_endpoint());
    output::field("to", redirect.target_endpoint());
    output::field("peers", peers);
    output::field("mode", redirect.mode);
    output::field("flows", flows);
    output::field("state", list::state(view));
    output::field("from", from(view));
    let counters = &view.counters;
    output::field("open flows", view.open_flows);
    output::field("flows opened", counters.flows_opened);
    output::field("flows refused", counters.flows_refused);
    output::field("to host", units::traffic(counters.to_host));
    output::field("to peer", units::traffic(counters.to_peer));
}
