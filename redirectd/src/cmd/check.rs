//! `redirect check`

use std::{
    fs,
    path::{Path, PathBuf},
};

use anstream::println;
use clap::{Args, ValueHint};
use serde::Serialize;

use super::{
    Context,
    output::{self, BOLD, GOOD},
};
use crate::{
    config,
    error::{Error, Kind},
    rule::Redirect,
};

/// Check a configuration file, or a file of rules, without the daemon
///
/// Everything that is wrong is said at once, each with its place and its cure;
/// the exit code is 1 then. A file in a folder rules.d is checked together with
/// the redirectd.yaml above that folder, if there is one; --config names
/// another. Any other file is taken for a main file, with the rules.d beside it.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The file
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// FILE is a file of rules, with the hosts and home addresses of this one
    #[arg(long, value_name = "MAIN", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
}

/// What is printed with `--json` when all is right.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    file: &'a Path,
    redirects: &'a [Redirect],
    warnings: &'a [String],
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<(), Error> {
        let (redirects, warnings) = self.check()?;
        let file = self.file.as_path();
        if context.json {
            output::json(Checked { file, redirects: &redirects, warnings: &warnings });
            return Ok(());
        }
        output::warnings(&warnings);
        println!(
            "{GOOD}right:{GOOD:#} {BOLD}{}{BOLD:#}, {} redirects",
            file.display(),
            redirects.len()
        );
        Ok(())
    }

    fn check(&self) -> Result<(Vec<Redirect>, Vec<String>), Error> {
        if let Some(main) = &self.config {
            let main = config::load(main)?;
            let source = self.file.display().to_string();
            let text = fs::read_to_string(&self.file).map_err(|error| {
                Error::new(Kind::NotFound, format!("cannot read {source}: {error}"))
            })?;
            let redirects = config::parse_rules(&text, &source, &main.hosts, &main.home)?;
            return Ok((redirects, Vec::new()));
        }
        let config = config::load(&self.main_file())?;
        Ok((config.redirects, config.warnings))
    }

    /// The main file this one belongs to, or itself.
    fn main_file(&self) -> PathBuf {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let above = folder.join("../redirectd.yaml");
        if folder.ends_with("rules.d") && above.exists() { above } else { self.file.clone() }
    }
}
