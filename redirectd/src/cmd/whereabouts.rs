//! `redirect where`

use anstream::println;
use clap::{Args, value_parser};
use serde::Serialize;

use super::{
    Context,
    output::{self, BOLD, DIM, WARN},
    ps,
    table::{Table, text},
};
use crate::{
    api::{
        moves::MoveList,
        processes::{AwayView, Dependent, ProcessList},
        types::RedirectList,
    },
    dataplane::State,
    error::{Error, Kind},
    process::{self, InetSocket, Led, Tree},
    rule::Redirect,
};

/// Say where the peers of a process are led
///
/// For each port at which the process or one of its descendants takes packets:
/// whether they reach it here, or which redirect leads them to which host. Of a
/// process that has left home, where it is and its redirects, and whether some of its
/// memory is still elsewhere, on which it depends; of any other that does
/// not run here, the redirects that `redirect add --pid` made for it. Other users' processes are shown only to root.
#[derive(Debug, Args)]
#[command(name = "where")]
pub(super) struct Where {
    /// The process
    #[arg(value_parser = value_parser!(i32).range(1..))]
    pid: i32,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Whereabouts<'a> {
    pid: i32,
    /// It runs here.
    here: bool,
    /// Of one that has left home.
    #[serde(skip_serializing_if = "Option::is_none")]
    away: Option<AwayView>,
    /// Where some of its memory still is, if not with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    depends_on: Option<Dependent>,
    /// Of a process that runs here.
    sockets: Vec<Socket<'a>>,
    /// Of one that does not: what was made for it.
    redirects: Vec<&'a Redirect>,
}

#[derive(Debug, Serialize)]
struct Socket<'a> {
    #[serde(flatten)]
    socket: &'a InetSocket,
    redirects: Vec<&'a Redirect>,
}

impl Where {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let tree = Tree::of(self.pid);
        let list: RedirectList = context.client.get("/v1/redirects").await?;
        let active = list.redirects.into_iter().filter(|view| view.state == State::Active);
        let redirects: Vec<Redirect> = active.map(|view| view.redirect).collect();
        match tree {
            Ok(tree) => {
                let list: MoveList = context.client.get("/v1/moves").await?;
                let of_this = list.moves.iter().filter_map(Dependent::of);
                let depends = of_this.into_iter().find(|one| one.process.pid == self.pid);
                here(context, &tree, depends, &redirects)
            }
            Err(error) if error.kind == Kind::NotFound => {
                let list: ProcessList = context.client.get("/v1/processes").await?;
                let away = list.away.into_iter().find(|away| away.process.pid == self.pid);
                let mut depends = list.dependent.into_iter();
                let depends = depends.find(|one| one.process.pid == self.pid);
                gone(context, self.pid, (away, depends), &redirects, error)
            }
            Err(error) => Err(error),
        }
    }
}

/// Of a process that runs here.
fn here(
    context: &Context,
    tree: &Tree,
    depends_on: Option<Dependent>,
    redirects: &[Redirect],
) -> Result<(), Error> {
    process::must_be_in_this_network(tree)?;
    let sockets = process::sockets(tree)?;
    let led = process::led(&sockets, redirects);
    let root = tree.root();
    if context.json {
        let socket = |Led { socket, redirects }| Socket { socket, redirects };
        let sockets = led.into_iter().map(socket).collect();
        let (pid, away, redirects) = (root.pid, None, Vec::new());
        output::json(Whereabouts { pid, here: true, away, depends_on, sockets, redirects });
        return Ok(());
    }
    println!("{BOLD}process {}{BOLD:#} ({}) runs here", root.pid, root.name.escape_debug());
    if let Some(depends_on) = &depends_on {
        println!("{}", dependence(depends_on));
    }
    if led.is_empty() {
        println!("it takes no packets by TCP or UDP");
        return Ok(());
    }
    println!();
    let mut table = Table::new(&["SOCKET", "LED TO", "FOR", "BY"]);
    for Led { socket, redirects } in led {
        if redirects.is_empty() {
            table.row([text(socket), text("itself"), text(""), text("")]);
        }
        for redirect in redirects {
            table.row([
                text(socket),
                text(redirect.target_endpoint()),
                text(for_whom(redirect)),
                text(&redirect.name).style(BOLD),
            ]);
        }
    }
    table.print();
    Ok(())
}

/// Of one that does not.
fn gone(
    context: &Context,
    pid: i32,
    (away, depends_on): (Option<AwayView>, Option<Dependent>),
    redirects: &[Redirect],
    not_here: Error,
) -> Result<(), Error> {
    let its_own = |redirect: &&Redirect| match &away {
        Some(away) => away.redirects.contains(&redirect.name),
        None => process::is_named_for(&redirect.name, pid),
    };
    let made: Vec<&Redirect> = redirects.iter().filter(its_own).collect();
    if made.is_empty() && away.is_none() {
        return Err(not_here);
    }
    if context.json {
        let sockets = Vec::new();
        let redirects = made;
        output::json(Whereabouts { pid, here: false, away, depends_on, sockets, redirects });
        return Ok(());
    }
    match &away {
        Some(away) => println!("{}", sentence(away)),
        None => println!("{BOLD}process {pid}{BOLD:#} does not run here; redirects named for it:"),
    }
    if let Some(depends_on) = &depends_on {
        println!("{}", dependence(depends_on));
    }
    println!();
    let mut table = Table::new(&["HOME", "LED TO", "FOR", "BY"]);
    for redirect in made {
        table.row([
            text(format!("{} {}", redirect.protocol_list(), redirect.home_endpoint())),
            text(redirect.target_endpoint()),
            text(for_whom(redirect)),
            text(&redirect.name).style(BOLD),
        ]);
    }
    table.print();
    println!("{DIM}`redirect flows` lists the connections{DIM:#}");
    Ok(())
}

fn dependence(depends_on: &Dependent) -> String {
    let still_there = ps::still_there(depends_on);
    format!("{WARN}it depends on {}{WARN:#}: {still_there}", depends_on.on)
}

fn sentence(away: &AwayView) -> String {
    let AwayView { process, place, r#move, running, .. } = away;
    let name = process.name.escape_debug();
    let state = match running {
        Some(true) => "and runs there",
        Some(false) => "and has ended there",
        None => "which does not say whether it runs",
    };
    format!(
        "{BOLD}process {}{BOLD:#} ({name}) is on {place} since move {move}, {state}",
        process.pid
    )
}

/// The home address, and the peers if it is not for all.
fn for_whom(redirect: &Redirect) -> String {
    match redirect.peers.as_slice() {
        [] => format!("all, at {}", redirect.home),
        peers => {
            let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
            format!("{}, at {}", peers.join(", "), redirect.home)
        }
    }
}
