//! `redirect node list`

use anstream::println;
use clap::Args;

use crate::{
    api::nodes::{NodeList, NodeState, NodeView, ThisNode},
    cmd::{
        Context,
        output::{self, BAD, BOLD, GOOD, WARN},
        table::{Cell, Table, text},
        units,
    },
    error::Error,
    node::abilities::{Abilities, CriuThere},
};

/// List this node and those it knows: whether they answer, and what they can do
///
/// Each is called for the occasion. `--json` has all there is, the features of
/// their processors for instance.
#[derive(Debug, Args)]
#[command(visible_alias = "ls")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let list: NodeList = context.client.get("/v1/nodes").await?;
        if context.json {
            output::json(&list);
            return Ok(());
        }
        let Some(this) = &list.this else {
            println!(
                "this machine is not a node; `redirect node init --listen ADDRESS:PORT` makes it one"
            );
            return Ok(());
        };
        table(this, &list.nodes).print();
        if list.nodes.is_empty() {
            println!("no other nodes; `redirect node invite` invites the first");
        }
        output::warnings(&list.nodes.iter().filter_map(trouble).collect::<Vec<_>>());
        Ok(())
    }
}

fn table(this: &ThisNode, nodes: &[NodeView]) -> Table {
    let header = ["NODE", "STATE", "SINCE", "LAST CONTACT", "ADDRESS", "KERNEL", "CRIU", "FREE"];
    let mut table = Table::new(&header);
    let address = this.listen.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let [kernel, criu, free] = can_do(Some(&this.abilities));
    table.row([
        text(&this.name).style(BOLD),
        text("this one"),
        text("-"),
        text("-"),
        text(address),
        kernel,
        criu,
        free,
    ]);
    for node in nodes {
        let member = &node.member;
        let address = member.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let [kernel, criu, free] = can_do(node.abilities.as_ref());
        table.row([
            text(&member.name).style(BOLD),
            state(node.state),
            time(node.since.as_deref()),
            time(node.last_contact.as_deref()),
            text(address),
            kernel,
            criu,
            free,
        ]);
    }
    table
}

fn state(state: NodeState) -> Cell {
    match state {
        NodeState::Reachable => text("reachable").style(GOOD),
        NodeState::Unreachable => text("unreachable").style(BAD),
        NodeState::Calling => text("only calls").style(WARN),
    }
}

/// A time in RFC 3339 up to its seconds.
fn time(time: Option<&str>) -> Cell {
    text(time.map_or("-", |time| time.get(..19).unwrap_or(time)))
}

fn can_do(abilities: Option<&Abilities>) -> [Cell; 3] {
    let Some(abilities) = abilities else { return [text("-"), text("-"), text("-")] };
    let criu = match &abilities.criu {
        CriuThere::Version(version) => text(version),
        CriuThere::Missing(_) => text("none").style(WARN),
    };
    [text(&abilities.kernel), criu, text(units::bytes(abilities.free_memory_bytes))]
}

/// What is wrong with a node.
fn trouble(node: &NodeView) -> Option<String> {
    if let Some(why) = &node.why {
        return Some(why.to_string());
    }
    match &node.abilities.as_ref()?.criu {
        CriuThere::Missing(why) => Some(format!("{}: {why}", node.member.name)),
        CriuThere::Version(_) => None,
    }
}
