//! `redirect man`

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory, ValueHint};
use clap_mangen::Man as Page;

use crate::{
    error::{Error, Kind},
    run::Options,
};

/// Write the manual pages of `redirect` and `redirectd` to a folder
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The folder, which is made if it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Error> {
        write(&self.folder).map_err(|error| {
            let what = format!("cannot write manual pages to {}: {error}", self.folder.display());
            Error::new(Kind::Failed, what)
        })
    }
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(super::definition(), folder)?;
    let mut page = Vec::new();
    Page::new(Options::command()).section("8").render(&mut page)?;
    fs::write(folder.join("redirectd.8"), page)
}
