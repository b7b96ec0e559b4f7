//! `redirect apply`

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use hyper::Method;

use super::{Context, output};
use crate::{
    api::types::{ApplyRequest, ChangeReport, RulesText},
    error::{Error, Kind},
};

/// Bring the redirects to what files say: all of it, or nothing
///
/// Without -f the daemon reads its configuration files anew, as on SIGHUP. With
/// -f the redirects of FILE take the place of all that were made with `redirect
/// add` and `apply -f`; those of the configuration files stay. FILE has the form
/// of a file in rules.d, and may name the hosts of the configuration.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// A rule file, or - for standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let rules = self.file.as_deref().map(read).transpose()?;
        let request = ApplyRequest { rules, dry_run: self.dry_run };
        let report: ChangeReport =
            context.client.send_to(Method::POST, "/v1/apply", &request).await?;
        output::report(&report, context.json, "all is as the files say; nothing changed");
        Ok(())
    }
}

fn read(path: &Path) -> Result<RulesText, Error> {
    let (source, text) = if path == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().read_to_string(&mut text);
        ("standard input".to_owned(), read.map(|_| text))
    } else {
        (path.display().to_string(), fs::read_to_string(path))
    };
    match text {
        Ok(text) => Ok(RulesText { source, text }),
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::PermissionDenied => Kind::NotPermitted,
                _ => Kind::Failed,
            };
            Err(Error::new(kind, format!("cannot read {source}: {error}")))
        }
    }
}
