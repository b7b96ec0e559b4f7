//! `redirect log`

use anstream::println;
use clap::Args;
use hyper::Method;

use super::{Context, output};
use crate::{api::types::LogFilter, error::Error};

/// Print what the daemon logs, or change it while it runs
#[derive(Debug, Args)]
pub(super) struct Log {
    /// A level (error, warn, info, debug, trace) or a filter such as
    /// redirectd=debug,hyper=warn; until the daemon's next start
    filter: Option<String>,
}

impl Log {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let now: LogFilter = match self.filter {
            None => context.client.get("/v1/log").await?,
            Some(filter) => {
                context.client.send_to(Method::PUT, "/v1/log", &LogFilter { filter }).await?
            }
        };
        if context.json {
            output::json(&now);
        } else {
            println!("{}", now.filter);
        }
        Ok(())
    }
}
