//! `redirect add`

use clap::{Args, value_parser};
use hyper::Method;

use super::{Context, output};
use crate::{
    api::types::{AddAllRequest, AddRequest, ChangeReport},
    config::{self, Spec},
    error::{Error, Kind},
    process::{self, Form, Tree},
};

/// Redirect a home endpoint, or all of a process, to a host
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
///
/// With --pid there is a redirect for each port at which the process or one of
/// its descendants takes packets, TCP and UDP, and one for each connection it has
/// made, for that peer alone: all of them, or none. Each keeps its port. TCP
/// connections that are open go on at home, until whatever moves the process
/// takes them along. Other users' processes are shown only to root.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redirect add web 80 --to c:8080
      port 80 of every home address, to port 8080 of the host c
  redirect add web 192.0.2.1:80 --to 192.0.2.4:8080 --replace --flows follow
      the process has moved on: open connections follow it
  redirect add dns \"[2001:db8::1]:53\" --to \"[2001:db8::3]\" --protocol tcp,udp
  redirect add range 8000-8099 --to c --peer 198.51.100.0/24
  redirect add --pid 4711 --to c --dry-run
      what it would take to lead the peers of process 4711 to c")]
pub(super) struct Add {
    /// What to call it; with a host and a home of both families, IPv6 gets NAME.6;
    /// with --pid, what the names begin with [default: the process's name and id]
    #[arg(required_unless_present = "pid")]
    name: Option<String>,

    /// The home endpoint: PORT, FIRST-LAST or ADDRESS:PORT, IPv6 addresses in
    /// brackets; ports alone mean those of every home address
    #[arg(required_unless_present = "pid")]
    home: Option<String>,

    /// All that this process and its descendants listen on and are connected to
    #[arg(long, value_name = "PID", value_parser = value_parser!(i32).range(1..))]
    #[arg(conflicts_with_all = ["home", "protocol", "peer"])]
    pid: Option<i32>,

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

    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match self.pid {
            Some(pid) => self.add_process(pid, context).await,
            None => self.add_one(context).await,
        }
    }

    async fn add_one(self, context: &Context) -> Result<(), Error> {
        // The definition above lets neither be missing without --pid.
        let name = self.name.unwrap_or_default();
        let unchanged = format!("redirect {name} exists and is the same; nothing changed");
        let request = AddRequest {
            name,
            redirect: Spec {
                protocol: self.protocol,
                home: self.home.unwrap_or_default(),
                to: self.to,
                peers: self.peer,
                mode: None,
                flows: Some(self.flows),
            },
            replace: self.replace,
            check: !self.no_check,
            dry_run: self.dry_run,
        };
        let report: ChangeReport =
            context.client.send_to(Method::POST, "/v1/redirects", &request).await?;
        output::report(&report, context.json, &unchanged);
        Ok(())
    }

    async fn add_process(self, pid: i32, context: &Context) -> Result<(), Error> {
        let (request, remarks) = self.of_process(pid)?;
        let mut report: ChangeReport =
            context.client.send_to(Method::POST, "/v1/add", &request).await?;
        report.warnings.splice(0..0, remarks);
        let unchanged =
            format!("the redirects of process {pid} exist and are the same; nothing changed");
        output::report(&report, context.json, &unchanged);
        Ok(())
    }

    /// What to ask for so that the peers of process `pid` are redirected, and what
    /// is to be said about it.
    fn of_process(self, pid: i32) -> Result<(AddAllRequest, Vec<String>), Error> {
        if config::names_ports(&self.to) {
            let what =
                format!("`{}` names a port, but with --pid each socket keeps its own", self.to);
            return Err(Error::new(Kind::Usage, what).cure("write --to HOST"));
        }
        let tree = Tree::of(pid)?;
        process::must_be_in_this_network(&tree)?;
        let own_name = process::base_name(&tree.root().name, pid);
        let form = Form {
            name: self.name.as_deref().unwrap_or(&own_name),
            to: &self.to,
            flows: &self.flows,
        };
        let mut wanted = process::redirects(&process::sockets(&tree)?, form);
        if wanted.additions.is_empty() {
            return Err(nothing_to_redirect(&tree, &wanted.remarks));
        }
        for addition in &mut wanted.additions {
            addition.check &= !self.no_check;
        }
        let Self { replace, dry_run, .. } = self;
        Ok((AddAllRequest { additions: wanted.additions, replace, dry_run }, wanted.remarks))
    }
}

pub(super) fn nothing_to_redirect(tree: &Tree, remarks: &[String]) -> Error {
    let root = tree.root();
    let mut what = format!(
        "process {} ({}) has no socket that peers elsewhere send to",
        root.pid,
        root.name.escape_debug()
    );
    for remark in remarks {
        what.push_str("\n  ");
        what.push_str(remark);
    }
    let cure = "name the process that serves them, or its parent: `ss -tulnp` lists who listens";
    Error::new(Kind::NotFound, what).cure(cure)
}
