//! Which redirects ought to be in force, and where each was asked for.
//!
//! Two sources together make one set: the configuration files, and what came
//! through the API. Everything here is pure; a change makes a new [`Desired`],
//! which the daemon adopts once the kernel and the state file have it.

use serde::{Deserialize, Serialize};

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
    files: RedirectSet,
    api: RedirectSet,
    all: RedirectSet,
}

/// What adding a redirect would do.
#[derive(Debug)]
pub enum Addition {
    /// Everything asked for is there already.
    Unchanged,
    /// The set with it.
    Changed(Desired),
}

impl Desired {
    /// The set of both sources.
    ///
    /// # Errors
    /// Two redirects contradict each other; the message names both.
    pub fn new(
        files: impl IntoIterator<Item = Redirect>,
        api: impl IntoIterator<Item = Redirect>,
    ) -> Result<Self, Error> {
        let files = RedirectSet::new(files)?;
        let api = RedirectSet::new(api)?;
        let all = RedirectSet::new(files.iter().chain(api.iter()).cloned()).map_err(|error| {
            let what = format!(
                "a redirect of the configuration files contradicts one made with `redirect add`: {}",
                error.what
            );
            Error::new(Kind::Conflict, what)
                .cure("take it out of the files, or remove the other with `redirect remove NAME`")
        })?;
        Ok(Self { files, api, all })
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
        Self::new(files, self.api.iter().cloned())
    }

    /// The set with `api` in place of all that came through the API.
    ///
    /// # Errors
    /// As for [`Desired::new`].
    pub fn with_api(&self, api: Vec<Redirect>) -> Result<Self, Error> {
        Self::new(self.files.iter().cloned(), api)
    }

    /// The set with `redirects`, which were asked for under the one name `name`:
    /// one redirect, or one for each address family.
    ///
    /// # Errors
    /// One of that name is there and differs and `replace` is false, or it comes
    /// from a file; or the new ones contradict another redirect.
    pub fn add(
        &self,
        name: &str,
        redirects: Vec<Redirect>,
        replace: bool,
    ) -> Result<Addition, Error> {
        let there: Vec<_> = self.named(name).collect();
        if there.len() == redirects.len() && there.iter().all(|old| redirects.contains(old)) {
            return Ok(Addition::Unchanged);
        }
        let mut next = self.clone();
        for old in &there {
            if self.origin(&old.name) == Origin::File {
                return Err(from_file(&old.name, "changed"));
            }
            if !replace {
                return Err(Error::new(Kind::Conflict, format!("redirect `{}` exists", old.name))
                    .cure(format!(
                        "see it with `redirect show {0}`, change it with `redirect add {name} … \
                         --replace`",
                        old.name
                    )));
            }
            next = next.without(&old.name)?;
        }
        for redirect in redirects {
            next.api = next.api.with(redirect.clone())?;
            next.all = next.all.with(redirect)?;
        }
        Ok(Addition::Changed(next))
    }

    /// The set without the redirects named, and without those that were made with
    /// them.
    ///
    /// # Errors
    /// One of them is not there, or comes from a file.
    pub fn remove(&self, names: &[String]) -> Result<Self, Error> {
        let mut next = self.clone();
        for name in names {
            let there: Vec<_> = self.named(name).map(|redirect| redirect.name.clone()).collect();
            if there.is_empty() {
                return Err(not_found(name));
            }
            for name in there {
                match self.origin(&name) {
                    Origin::File => return Err(from_file(&name, "removed")),
                    // Named twice: `web`, which includes `web.6`, and `web.6` itself.
                    _ if next.all.get(&name).is_none() => {}
                    _ => next = next.without(&name)?,
                }
            }
        }
        Ok(next)
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

    fn without(&self, name: &str) -> Result<Self, Error> {
        Ok(Self {
            files: self.files.clone(),
            api: self.api.without(name)?,
            all: self.all.without(name)?,
        })
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
