//! `redirect add`

use clap::Args;
use hyper::Method;

use super::{Context, output};
use crate::{
    api::types::{AddRequest, ChangeReport},
    config::Spec,
    error::Error,
};

/// Redirect a home endpoint to a host
///
/// From then on, what peers send to the home endpoint goes to the target, and
/// the answers come back from the home address. If a redirect of that name
/// exists and is the same, that is said and all is well; if it differs, nothing
/// is changed and the exit code is 1, unless --replace is given.
///
/// Before a TCP port is redirected, the target is tried from here: if nothing
/// answers within two seconds, that is an error, for a slip is likelier than a
/// server that is down. With --no-check it is not tried. UDP, port ranges, and
/// what comes from files are never tried.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redirect add web 80 --to c:8080
      port 80 of every home address, to port 8080 of the host c
  redirect add web 192.0.2.1:80 --to 192.0.2.4:8080 --replace --flows follow
      the process has moved on: open connections follow it
  redirect add dns \"[2001:db8::1]:53\" --to \"[2001:db8::3]\" --protocol tcp,udp
  redirect add range 8000-8099 --to c --peer 198.51.100.0/24")]
pub(super) struct Add {
    /// What to call it; with a host and a home of both families, IPv6 gets NAME.6
    name: String,

    /// The home endpoint: PORT, FIRST-LAST or ADDRESS:PORT, IPv6 addresses in
    /// brackets; ports alone mean those of every home address
    home: String,

    /// Where it goes: a host of the configuration, a name, or an address; without
    /// a port, to the same port. `home` for a process that is here and will move
    #[arg(long, value_name = "HOST[:PORT]")]
    to: String,

    /// The protocols
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', value_parser = ["tcp", "udp"])]
    #[arg(default_value = "tcp")]
    protocol: Vec<String>,

    /// Only for peers of this prefix; may be given more than once
    #[arg(long, value_name = "PREFIX")]
    peer: Vec<String>,

    /// What a change of target does to open connections: they follow the process,
    /// or only new ones go there
    #[arg(long, value_name = "WHICH", value_parser = ["follow", "new-only"])]
    #[arg(default_value = "new-only")]
    flows: String,

    /// Change the redirect of this name if there is one
    #[arg(long)]
    replace: bool,

    /// Do not try whether the target answers
    #[arg(long)]
    no_check: bool,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let unchanged = format!("redirect {} exists and is the same; nothing changed", self.name);
        let request = AddRequest {
            name: self.name,
            redirect: Spec {
                protocol: self.protocol,
                home: self.home,
                to: self.to,
                peers: self.peer,
                mode: None,
                flows: Some(self.flows),
            },
            replace: self.replace,
            check: !self.no_check,
        };
        let report: ChangeReport =
            context.client.send_to(Method::POST, "/v1/redirects", &request).await?;
        output::report(&report, context.json, &unchanged);
        Ok(())
    }
}
