//! `redirect remove`

use clap::Args;
use clap_complete::ArgValueCompleter;
use hyper::Method;

use super::{Context, completions, output};
use crate::{
    api::types::{ChangeReport, RemoveRequest},
    dataplane::Removal,
    error::Error,
};

/// Remove redirects: all those named, or none
///
/// New connections are home's own again at once. Open ones go on to their end,
/// and the redirect is `draining` until then; with --now they are cut. A name
/// also stands for those that were made with it for other home addresses (NAME.6,
/// NAME.2).
#[derive(Debug, Args)]
#[command(visible_alias = "rm")]
pub(super) struct Remove {
    /// Those to remove
    #[arg(value_name = "NAME", required = true)]
    #[arg(add = ArgValueCompleter::new(completions::redirect_names))]
    names: Vec<String>,

    /// Cut open connections too
    #[arg(long)]
    now: bool,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let removal = if self.now { Removal::Cut } else { Removal::Drain };
        let request = RemoveRequest { names: self.names, removal };
        let report: ChangeReport =
            context.client.send_to(Method::POST, "/v1/remove", &request).await?;
        output::report(&report, context.json, "nothing to remove");
        Ok(())
    }
}
