//! The daemon's log: lines on standard error, at levels that can be changed
//! while it runs.

use std::{
    env,
    io::{self, IsTerminal},
};

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::error::{Error, Kind};

/// The way to the log's filter; clones lead to the same one.
#[derive(Clone)]
pub struct Log(reload::Handle<EnvFilter, Registry>);

impl Log {
    /// Starts logging with `filter`, such as `info` or `redirectd=debug`. Under
    /// systemd the lines have no time stamps, for the journal has its own.
    ///
    /// # Errors
    /// `filter` makes no sense.
    pub fn start(filter: &str) -> Result<Self, Error> {
        let (filter, handle) = reload::Layer::new(parse(filter)?);
        let lines = fmt::layer().with_writer(io::stderr).with_target(false);
        let lines = lines.with_ansi(io::stderr().is_terminal());
        let registry = tracing_subscriber::registry().with(filter);
        // A second start in one process (tests) leaves the first in place.
        let _ = if env::var_os("JOURNAL_STREAM").is_some() {
            registry.with(lines.without_time()).try_init()
        } else {
            registry.with(lines).try_init()
        };
        Ok(Self(handle))
    }

    /// The filter in force.
    ///
    /// # Errors
    /// Another subscriber took over.
    pub fn filter(&self) -> Result<String, Error> {
        self.0.with_current(ToString::to_string).map_err(|e| gone(&e))
    }

    /// Changes the filter.
    ///
    /// # Errors
    /// `filter` makes no sense; the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), Error> {
        self.0.reload(parse(filter)?).map_err(|e| gone(&e))
    }
}

/// Has `redirect migrate` say on standard error what it waits for, and which errors
/// there are that do not end it.
pub fn tell_of_a_move() {
    let filter = EnvFilter::new("error,redirectd::conduct=warn");
    let lines = fmt::layer().with_writer(io::stderr).with_target(false).without_time();
    let lines = lines.with_ansi(io::stderr().is_terminal());
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        Error::new(Kind::Usage, format!("`{filter}` is not a log filter: {error}"))
            .cure("give a level (error, warn, info, debug, trace) or `redirectd=debug,hyper=warn`")
    })
}

fn gone(error: &reload::Error) -> Error {
    Error::new(Kind::Failed, format!("the log cannot be reached: {error}"))
}
