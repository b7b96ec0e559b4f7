//! MOSIX's way: the server's socket calls are performed at home, by a deputy.

use std::{any::Any, net::SocketAddrV4};

use anyhow::Result;

use super::{Route, Server};
use crate::{
    lan::{HOME, Lan},
    pair::process::{Process, pair},
};

/// From a server's port to the one where its deputy waits for it.
const DEPUTIES: u16 = 20_000;

/// A deputy for each server, in one way.
pub(super) enum Deputies {
    /// Every call by itself.
    Plain,
    /// Reads ahead, and gathers writes.
    Gather,
}

impl Deputies {
    /// Of the deputy for the server on `port`.
    fn arguments(&self, port: u16) -> Vec<String> {
        let mut arguments = vec!["deputy".into(), "--at".into(), of_server(port).to_string()];
        if matches!(self, Self::Gather) {
            arguments.push("--gather".into());
        }
        arguments
    }
}

impl Route for Deputies {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "deputy",
            Self::Gather => "deputy-gather",
        }
    }

    fn set_up(&self, lan: &Lan, ports: &[u16]) -> Result<Box<dyn Any>> {
        let deputies = ports.iter().map(|&port| {
            let mut command = pair(&lan.home)?;
            command.args(self.arguments(port));
            Process::spawn(command)
        });
        let mut deputies = deputies.collect::<Result<Vec<_>>>()?;
        deputies.iter_mut().try_for_each(Process::wait_until_ready)?;
        Ok(Box::new(deputies))
    }

    fn server(&self) -> Server {
        Server::Deputy
    }
}

/// Where the deputy of the server on `port` waits for it.
pub(super) fn of_server(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(HOME, port + DEPUTIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_that_is_called_so_gathers() {
        for way in [Deputies::Plain, Deputies::Gather] {
            let gathers = way.arguments(5000).iter().any(|argument| argument == "--gather");
            assert_eq!(gathers, way.name() == "deputy-gather", "{}", way.name());
        }
    }
}
