//! `redirect hook`: what tools that move processes call at each stage.

pub(super) mod criu;

use clap::{Args, Subcommand};

use super::Context;
use crate::error::Error;

/// Be called by a tool that moves a process, and tell home for it
#[derive(Debug, Args)]
pub(super) struct Hook {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    Criu(criu::Criu),
}

impl Hook {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match self.tool {
            Tool::Criu(tool) => tool.run(context).await,
        }
    }
}
