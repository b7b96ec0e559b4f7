//! The redirects that a process moves by: those the user named, or those made for
//! it, which lead home until it has moved.

use hyper::Method;

use crate::{
    api::{
        moves::{BeginRequest, MoveView},
        types::{AddAllRequest, Addition, ChangeReport, RemoveRequest, Step},
    },
    cmd::{Context, add},
    dataplane::Removal,
    error::Error,
    process::{self, Form, Inventory, Tree, Wanted},
    rule::AT_HOME,
};

/// What is to be done about them.
pub(super) enum Chosen {
    /// They are there.
    Named(Vec<String>),
    /// They are to be there.
    Wanted { additions: Vec<Addition>, remarks: Vec<String> },
}

/// Redirects that are there.
pub(super) struct Made {
    names: Vec<String>,
    /// Those that are new.
    added: Vec<String>,
    /// What is to be said about them.
    pub(super) remarks: Vec<String>,
}

impl Chosen {
    /// Those called `named`, or those that the process takes.
    ///
    /// # Errors
    /// There is nothing to redirect.
    pub(super) fn of(inventory: &Inventory, named: &[String]) -> Result<Self, Error> {
        if !named.is_empty() {
            return Ok(Self::Named(named.to_vec()));
        }
        let Wanted { additions, remarks } = wanted(inventory, AT_HOME);
        if additions.is_empty() {
            return Err(add::nothing_to_redirect(&Tree::of(inventory.root().pid)?, &remarks));
        }
        Ok(Self::Wanted { additions, remarks })
    }

    /// Whether they can be made, and lead the process of `inventory` to `to`; makes none.
    ///
    /// # Errors
    /// Home refuses that.
    pub(super) async fn check(
        &self,
        context: &Context,
        (inventory, to): (&Inventory, &str),
    ) -> Result<(), Error> {
        let additions = match self {
            Self::Named(names) => {
                let request =
                    BeginRequest { dry_run: true, ..BeginRequest::new(names.clone(), to) };
                let begun = context.client.send_to(Method::POST, "/v1/moves", &request).await;
                return begun.map(|_: MoveView| ());
            }
            Self::Wanted { additions, .. } => additions,
        };
        ask(additions, true, context).await?;
        ask(&wanted(inventory, to).additions, true, context).await.map(drop)
    }

    /// Makes them.
    ///
    /// # Errors
    /// Home refuses; there are none then.
    pub(super) async fn make(self, context: &Context) -> Result<Made, Error> {
        let (additions, mut remarks) = match self {
            Self::Named(names) => {
                return Ok(Made { names, added: Vec::new(), remarks: Vec::new() });
            }
            Self::Wanted { additions, remarks } => (additions, remarks),
        };
        let report = ask(&additions, false, context).await?;
        remarks.extend(report.warnings);
        let added = report.changes.into_iter().filter_map(|step| match step {
            Step::Add { redirect } => Some(redirect.name.to_string()),
            _ => None,
        });
        let names = additions.into_iter().map(|addition| addition.name).collect();
        Ok(Made { names, added: added.collect(), remarks })
    }
}

impl Made {
    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// Those of them that are new.
    pub(super) fn made(&self) -> Vec<String> {
        self.added.clone()
    }

    /// Removes those that were made, where no move has begun that would take them
    /// along.
    pub(super) async fn undo(&self, context: &Context) {
        if self.added.is_empty() {
            return;
        }
        // Its packets are home's own again, and so still the process's.
        let request = RemoveRequest { names: self.added.clone(), removal: Removal::Cut };
        // One that stays leads home, where the process is.
        let _: Result<ChangeReport, Error> =
            context.client.send_to(Method::POST, "/v1/remove", &request).await;
    }
}

/// Those that lead all that is sent to the process to `to`.
fn wanted(inventory: &Inventory, to: &str) -> Wanted {
    let root = inventory.root();
    let name = process::base_name(&root.name, root.pid);
    let form = Form { name: &name, to, flows: "follow" };
    let mut wanted = process::redirects(&inventory.sockets, form);
    for addition in &mut wanted.additions {
        // Nobody takes connections where the process is not yet.
        addition.check = false;
    }
    wanted
}

async fn ask(
    additions: &[Addition],
    dry_run: bool,
    context: &Context,
) -> Result<ChangeReport, Error> {
    let request = AddAllRequest { additions: additions.to_vec(), replace: false, dry_run };
    let asked = context.client.send_to(Method::POST, "/v1/add", &request).await;
    asked.map_err(|error: Error| {
        let cure = "if a redirect for it is there already, name it with --redirect";
        let cure = error.cure.as_ref().map_or(cure.to_owned(), |there| format!("{there}; {cure}"));
        error.cure(cure)
    })
}
