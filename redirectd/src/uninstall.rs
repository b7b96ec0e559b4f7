//! Takes everything of redirectd off the machine, save what people wrote.

use std::{collections::BTreeMap, path::Path};

use tracing::{info, warn};

use crate::{
    dataplane::{Attach, Dataplane},
    error::Error,
    host::sysctl::Sysctls,
    run::Options,
};

/// Takes the programs off all interfaces, removes what is pinned by `remove`, and
/// puts the kernel's settings back. Goes on after a failure, to leave as little
/// as possible behind, and returns the first. What is pinned is removed also if
/// the dataplane could not be opened, for it may be of another version.
/// `configured` are the interfaces of the configuration.
///
/// # Errors
/// Something could not be removed.
pub fn uninstall(
    options: &Options,
    dataplane: Result<Box<dyn Dataplane>, Error>,
    configured: BTreeMap<String, Attach>,
    remove: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut failures = Vec::new();
    match dataplane {
        Ok(mut dataplane) => {
            // Filters of kernels without links are not pinned anywhere: the
            // configuration is all that is known of them.
            let known = dataplane.attached().into_iter().map(|there| there.interface);
            let mut interfaces: Vec<String> = known.chain(configured.into_keys()).collect();
            interfaces.push("lo".to_owned());
            interfaces.sort();
            interfaces.dedup();
            for interface in interfaces {
                failures.extend(dataplane.detach(&interface).err());
            }
        }
        Err(error) => {
            warn!(error = error.one_line(), "cannot adopt what is there; removing what is pinned");
        }
    }
    failures.extend(remove(&options.pin_dir).err());
    failures.extend(Sysctls::new(&options.state_dir).restore().err());
    for failure in &failures {
        warn!(error = failure.one_line(), "left behind");
    }
    match failures.into_iter().next() {
        Some(first) => Err(first),
        None => {
            info!(
                configuration = %options.config.display(),
                state = %options.state_dir.display(),
                "programs, tables and flows are out of the kernel; configuration and state stay"
            );
            Ok(())
        }
    }
}
