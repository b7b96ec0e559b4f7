//! `redirect move begin`

use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;
use hyper::Method;

use crate::{
    api::moves::{BeginRequest, DEFAULT_TIMEOUT, MoveView},
    cmd::{Context, completions},
    error::Error,
};

/// Begin the move of a process to another host
///
/// Nothing changes for packets yet, but the redirects cannot be changed or removed
/// until the move is over. A redirect is in one move at a time.
#[derive(Debug, Args)]
pub(super) struct Begin {
    /// The redirects that lead to the process; a name also stands for those that
    /// were made with it for other home addresses
    #[arg(value_name = "NAME", required = true)]
    #[arg(add = ArgValueCompleter::new(completions::redirect_names))]
    names: Vec<String>,

    /// Where it goes: a host of the configuration, a name or an address, or `home`;
    /// without a port, it keeps its own
    #[arg(long, value_name = "HOST[:PORT]")]
    to: String,

    /// How long it may stay parked before it is aborted by itself [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// What to call the move, for whoever looks at it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

impl Begin {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let request = BeginRequest {
            redirects: self.names,
            process: None,
            though_locked: false,
            led: false,
            made: Vec::new(),
            memory: None,
            to: self.to,
            label: self.label,
            timeout_seconds: self.timeout.map_or(DEFAULT_TIMEOUT, |time| time.as_secs_f64()),
            dry_run: false,
        };
        let moved: MoveView = context.client.send_to(Method::POST, "/v1/moves", &request).await?;
        super::print(&moved, context.json);
        Ok(())
    }
}
