//! The client/server pair of the papers, ours: parameterised by buffer size,
//! amount of data or time, number of pairs and ports; prints the time taken.
//!
//! Each runs as a process of its own, a hidden subcommand of the bench's binary,
//! in the namespace of the machine it stands for. A pair is one connection to
//! one server: a server is one process with one thread, which serves one
//! connection after the other, as the migrated processes of the papers do.

pub(crate) mod client;
pub(crate) mod clocked;
pub(crate) mod figures;
pub(crate) mod init;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod sockets;
pub(crate) mod standing;

use std::{num::NonZeroU32, str::FromStr};

use anyhow::Result;
use clap::Subcommand;

use crate::deputy::home;

/// What the bench's binary is when it is not the bench.
#[derive(Debug, Subcommand)]
pub(crate) enum Pair {
    /// Serves one connection after the other
    Server(server::Arguments),
    /// Connects to as many servers as there are pairs, and takes the time
    Client(client::Arguments),
    /// Holds the sockets of a server that runs elsewhere
    Deputy(home::Arguments),
    /// Serves, and knows how long it did not run
    Clocked(clocked::Arguments),
    /// Is the first process of a PID namespace
    Init,
}

impl Pair {
    /// Is it, to the end.
    ///
    /// # Errors
    /// Those of each.
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Server(arguments) => server::run(arguments),
            Self::Client(arguments) => client::run(arguments),
            Self::Deputy(arguments) => home::run(arguments),
            Self::Clocked(arguments) => clocked::run(arguments),
            Self::Init => init::run(),
        }
    }
}

/// How long requests and responses are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The client's.
    pub(crate) request: NonZeroU32,
    /// The server's.
    pub(crate) response: NonZeroU32,
}

impl FromStr for Exchange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(request, response)| {
            Some(Self { request: request.parse().ok()?, response: response.parse().ok()? })
        });
        parts.ok_or_else(|| {
            format!("`{text}` is not REQUEST:RESPONSE, two numbers of bytes such as 64:512")
        })
    }
}

impl std::fmt::Display for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.request, self.response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_reads_as_it_is_written() {
        let exchange: Exchange = "64:512".parse().unwrap();
        assert_eq!((exchange.request.get(), exchange.response.get()), (64, 512));
        assert_eq!(exchange.to_string(), "64:512");
    }

    #[test]
    fn an_exchange_of_nothing_or_of_something_else_is_refused() {
        for text in ["", "64", "0:1", "1:0", "a:b", "-1:1", "1:2:3"] {
            let error = text.parse::<Exchange>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
