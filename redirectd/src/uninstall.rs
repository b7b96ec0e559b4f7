//! Takes everything of redirectd off the machine, save what people wrote.

use std::{fs, io, path::Path};

use tracing::{info, warn};

use crate::{
    dataplane::Dataplane,
    error::{Error, Kind},
    host::sysctl::Sysctls,
    run::Options,
};

/// Takes the programs off all interfaces, removes what is pinned, and puts the
/// kernel's settings back. Goes on after a failure, to leave as little as
/// possible behind, and returns the first. `dataplane` may be an error, such as
/// tables of another version; what is pinned is removed all the same.
///
/// # Errors
/// Something could not be removed.
pub fn uninstall(
    options: &Options,
    dataplane: Result<Box<dyn Dataplane>, Error>,
) -> Result<(), Error> {
    let mut failures = Vec::new();
    match dataplane {
        Ok(mut dataplane) => {
            for attached in dataplane.attached() {
                match dataplane.detach(&attached.interface) {
                    Ok(()) => info!(interface = attached.interface, "detached"),
                    Err(error) => failures.push(error),
                }
            }
        }
        Err(error) => {
            warn!(error = error.one_line(), "cannot adopt what is there; removing what is pinned");
        }
    }
    failures.extend(remove_pins(&options.pin_dir).err());
    failures.extend(Sysctls::new(&options.state_dir).restore().err());
    for failure in &failures {
        warn!(error = %failure, "left behind");
    }
    match failures.into_iter().next() {
        Some(first) => Err(first),
        None => {
            info!(
                configuration = %options.config.display(),
                state = %options.state_dir.display(),
                "nothing of redirectd is in the kernel any more; configuration and state stay"
            );
            Ok(())
        }
    }
}

fn remove_pins(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Ok(()) => {
            info!(folder = %folder.display(), "programs, tables and flows removed");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let what = format!("cannot remove {}: {error}", folder.display());
            Err(Error::new(Kind::Failed, what).cure("run it as root"))
        }
    }
}
