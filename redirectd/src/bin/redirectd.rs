//! The daemon.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Parser;
use redirectd::{
    config::{self, Config},
    dataplane::{
        Dataplane,
        bpf::{self, Bpf},
    },
    error::{Error, Kind},
    host::{self, sysctl::Sysctls},
    log::Log,
    run::{self, Options, ProcessSignals},
    uninstall::uninstall,
};
use tracing::{error, warn};

fn main() -> ExitCode {
    let options = Options::parse();
    let log = match Log::start(&options.log) {
        Ok(log) => log,
        Err(failure) => {
            eprintln!("error: {failure}");
            return ExitCode::from(failure.kind.exit_code());
        }
    };
    match start(&options, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

fn start(options: &Options, log: Log) -> Result<(), Error> {
    let lock = run::Lock::take(&options.state_dir)?;
    if options.uninstall {
        let config = config::load(&options.config);
        let configured = config.as_ref().map_or_else(|_| BTreeMap::new(), |c| c.interfaces.clone());
        let dataplane = config.and_then(|config| open(options, &config));
        return uninstall(options, dataplane, configured, bpf::uninstall);
    }
    let config = config::load(&options.config)?;
    host::check(&options.pin_dir)?;
    host::check_interfaces(config.interfaces.keys())?;
    for warning in config.warnings.iter().cloned().chain(host::warnings(&config.redirects)) {
        warn!("{warning}");
    }
    Sysctls::new(&options.state_dir).set(config.snat_ports)?;
    let dataplane = open(options, &config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Failed, format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let signals = ProcessSignals::take()
            .map_err(|error| Error::new(Kind::Failed, format!("cannot take signals: {error}")))?;
        run::run(options, config, dataplane, (log, lock), signals).await
    })
}

/// The packet path in the kernel, adopted or made anew.
fn open(options: &Options, config: &Config) -> Result<Box<dyn Dataplane>, Error> {
    let Config { tables, snat_ports, .. } = *config;
    let bpf = Bpf::open(&bpf::Options {
        pin_dir: options.pin_dir.clone(),
        tables,
        snat_ports,
        clsact: options.clsact,
    })?;
    Ok(Box::new(bpf))
}
