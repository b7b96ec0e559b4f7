//! Which redirects ought to be in force, and where each was asked for.
//!
//! Two sources together make one set: the configuration files, and what came
//! through the API. Everything here is on paper: the daemon undoes a change when
//! the kernel or the disk does not follow. A single redirect is added or removed
//! in O(log n); only reading a whole source anew costs a pass over all.

mod placement;
mod shift;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

pub use self::{placement::Placement, shift::Shifted};
use crate::{
    error::{Error, Kind},
    rule::{Redirect, RedirectSet},
};

/// Where a redirect was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A configuration file.
    File,
    /// `redirect add` or `redirect apply -f`.
    Api,
    /// Nowhere any more: it was removed, and its open flows go on.
    Removed,
}

/// The redirects that ought to be in force.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// As they are in force: placed where moves have left them.
    files: RedirectSet,
    api: RedirectSet,
    all: RedirectSet,
    placed: BTreeMap<String, Placed>,
}

/// A redirect of a file whose process has moved.
#[derive(Debug, Clone)]
struct Placed {
    /// As the file has it now.
    file: Redirect,
    placement: Placement,
}

/// Where redirects of files lead in place of what the files say, by their names.
pub type Placements = BTreeMap<String, Placement>;

/// A change of a few of the redirects that came through the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Those that go, by name.
    pub out: Vec<String>,
    /// Those that come, after that.
    pub into: Vec<Redirect>,
}

impl Desired {
    /// The set of both sources; redirects of files lead where `placements` say, as
    /// far as these still count.
    ///
    /// # Errors
    /// Two redirects contradict each other; the message names both.
    pub fn new(
        files: impl IntoIterator<Item = Redirect>,
        api: impl IntoIterator<Item = Redirect>,
        placements: &Placements,
    ) -> Result<Self, Error> {
        let mut placed = BTreeMap::new();
        let mut in_force = Vec::new();
        for file in files {
            match placements.get(&file.name).filter(|placement| placement.holds(&file)) {
                None => in_force.push(file),
                Some(placement) => {
                    in_force.push(placement.place(&file));
                    let placement = placement.clone();
                    placed.insert(file.name.clone(), Placed { file, placement });
                }
            }
        }
        Self::joined(RedirectSet::new(in_force)?, RedirectSet::new(api)?, placed)
    }

    fn joined(
        files: RedirectSet,
        api: RedirectSet,
        placed: BTreeMap<String, Placed>,
    ) -> Result<Self, Error> {
        let all = RedirectSet::new(files.iter().chain(api.iter()).cloned()).map_err(|error| {
            let what = format!(
                "a redirect of the configuration files contradicts one made with `redirect add`: {}",
                error.what
            );
            Error::new(Kind::Conflict, what)
                .cure("take it out of the files, or remove the other with `redirect remove NAME`")
        })?;
        Ok(Self { files, api, all, placed })
    }

    /// All of them together.
    #[must_use]
    pub fn all(&self) -> &RedirectSet {
        &self.all
    }

    /// Those that came through the API.
    #[must_use]
    pub fn api(&self) -> &RedirectSet {
        &self.api
    }

    /// Where the redirect `name` was asked for.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        if self.api.get(name).is_some() {
            Origin::Api
        } else if self.files.get(name).is_some() {
            Origin::File
        } else {
            Origin::Removed
        }
    }

    /// The set after the configuration files were read anew.
    ///
    /// # Errors
    /// As for [`Desired::new`].
    pub fn with_files(&self, files: Vec<Redirect>) -> Result<Self, Error> {
        Self::new(files, self.api.iter().cloned(), &self.placements())
    }

    /// The set with `api` in place of all that came through the API.
    ///
    /// # Errors
    /// As for [`Desired::new`].
    pub fn with_api(&self, api: Vec<Redirect>) -> Result<Self, Error> {
        Self::joined(self.files.clone(), RedirectSet::new(api)?, self.placed.clone())
    }

    /// Where redirects of files lead in place of what the files say, as far as that
    /// counts.
    #[must_use]
    pub fn placements(&self) -> Placements {
        let placed = self.placed.iter();
        placed.map(|(name, placed)| (name.clone(), placed.placement.clone())).collect()
    }

    /// The placement of the redirect `name` of a file, if its process has moved.
    #[must_use]
    pub fn placement(&self, name: &str) -> Option<&Placement> {
        self.placed.get(name).map(|placed| &placed.placement)
    }

    /// The redirect `name` as a file has it, wherever its process is.
    #[must_use]
    pub fn written(&self, name: &str) -> Option<&Redirect> {
        let placed = self.placed.get(name).map(|placed| &placed.file);
        placed.or_else(|| self.files.get(name))
    }

    /// What it takes to have `redirects`, which were asked for under the one name
    /// `name`: one redirect, or one for each home address. Nothing if they are
    /// there already.
    ///
    /// # Errors
    /// One of that name is there and differs and `replace` is false, or it comes
    /// from a file.
    pub fn addition(
        &self,
        name: &str,
        redirects: Vec<Redirect>,
        replace: bool,
    ) -> Result<Edit, Error> {
        let there: Vec<_> = self.named(name).collect();
        if there.len() == redirects.len() && there.iter().all(|old| redirects.contains(old)) {
            return Ok(Edit::default());
        }
        for old in &there {
            if self.origin(&old.name) == Origin::File {
                return Err(from_file(&old.name, "changed"));
            }
            if !replace {
                let what = format!("redirect `{}` exists: {old}", old.name);
                return Err(Error::new(Kind::Conflict, what)
                    .cure(format!("change it with `redirect add {name} … --replace`")));
            }
        }
        let out = there.into_iter().map(|old| old.name.clone()).collect();
        Ok(Edit { out, into: redirects })
    }

    /// What it takes to be without the redirects named, and without those that
    /// were made with them.
    ///
    /// # Errors
    /// One of them is not there, or comes from a file.
    pub fn removal(&self, names: &[String]) -> Result<Edit, Error> {
        let mut edit = Edit::default();
        let mut seen = HashSet::new();
        for name in names {
            let mut there = self.named(name).peekable();
            if there.peek().is_none() {
                return Err(not_found(name));
            }
            for redirect in there {
                if self.origin(&redirect.name) == Origin::File {
                    return Err(from_file(&redirect.name, "removed"));
                }
                // `web`, which includes `web.6`, and `web.6` itself may both be named.
                if seen.insert(&redirect.name) {
                    edit.out.push(redirect.name.clone());
                }
            }
        }
        Ok(edit)
    }

    /// Makes `edit`; returns the one that undoes it.
    ///
    /// # Errors
    /// What goes is not there, or what comes contradicts another redirect.
    /// Nothing is changed then.
    pub fn make(&mut self, edit: Edit) -> Result<Edit, Error> {
        let mut undo = Edit::default();
        let made = self.make_noting(edit, &mut undo);
        if made.is_err() {
            // What was there a moment ago fits again.
            let _ = self.make_noting(undo.clone(), &mut Edit::default());
        }
        made.map(|()| undo)
    }

    fn make_noting(&mut self, edit: Edit, undo: &mut Edit) -> Result<(), Error> {
        for name in edit.out {
            let redirect = self.api.remove(&name)?;
            self.all.remove(&name)?;
            undo.into.push(redirect);
        }
        for redirect in edit.into {
            self.all.insert(redirect.clone())?;
            undo.out.push(redirect.name.clone());
            self.api.insert(redirect)?;
        }
        Ok(())
    }

    /// The redirect of that name, and those made with it because it was asked for
    /// without a home address: `NAME.6`, `NAME.2` and so on, of the same origin,
    /// protocols and ports.
    pub fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Redirect> {
        /// More home addresses than this, nobody gives.
        const MOST: usize = 32;
        let whole = self.all.get(name);
        let suffixes = (2..MOST).map(|n| format!(".{n}"));
        let suffixes = suffixes.chain((2..MOST).map(|n| format!(".6.{n}")));
        let parts = suffixes.filter_map(move |suffix| {
            let whole = whole?;
            let part = self.all.get(&format!("{}{suffix}", whole.name))?;
            let same = part.ports == whole.ports
                && part.protocols == whole.protocols
                && self.origin(&part.name) == self.origin(&whole.name);
            same.then_some(part)
        });
        whole.into_iter().chain(parts)
    }
}

/// There is no redirect `name`.
#[must_use]
pub fn not_found(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no redirect `{name}`"))
        .cure("`redirect list` names those there are")
}

fn from_file(name: &str, done: &str) -> Error {
    let what = format!("redirect `{name}` comes from a configuration file and is {done} there");
    Error::new(Kind::Conflict, what).cure("edit the file, then run `redirect apply`")
}
