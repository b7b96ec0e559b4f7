//! The set of redirects that are in force together.

use std::{
    collections::{BTreeMap, HashMap, btree_map},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Contradiction, Redirect,
    conflict::{Claim, conflicts, for_each_claim},
};
use crate::error::{Error, Kind};

/// Redirects in force together: each valid, unique names, no two that claim the
/// same packet with the same right, none that sends to another's home endpoint.
///
/// [`RedirectSet::insert`] and [`RedirectSet::remove`] cost O(log n) and change
/// nothing when they fail. A clone shares the redirects but copies the index, in
/// O(n).
#[derive(Debug, Clone, Default)]
pub struct RedirectSet {
    by_name: BTreeMap<String, Arc<Redirect>>,
    /// What is claimed, and by whom. Claims on the same packets are disjoint, so
    /// that the order by first port is also the order by last port.
    pub(super) claims: BTreeMap<Claim, Arc<Redirect>>,
    pub(super) homes: Tally,
    pub(super) targets: Tally,
}

/// How many redirects have an address.
type Tally = HashMap<IpAddr, usize>;

impl RedirectSet {
    /// The set of `redirects`, in n log n.
    ///
    /// # Errors
    /// The first redirect that is not valid by itself (kind [`Kind::Usage`]), or
    /// the first two that contradict each other, both named
    /// ([`Kind::Conflict`]).
    pub fn new(redirects: impl IntoIterator<Item = Redirect>) -> Result<Self, Error> {
        let redirects: Vec<Arc<Redirect>> = redirects.into_iter().map(Arc::new).collect();
        let views: Vec<&Redirect> = redirects.iter().map(Arc::as_ref).collect();
        for redirect in &views {
            redirect.validate()?;
        }
        if let Some(conflict) = conflicts(&views).first() {
            return Err(conflict.why.error(views[conflict.first], views[conflict.second]));
        }
        let mut claims = Vec::with_capacity(redirects.len());
        let mut set = Self::default();
        for redirect in &redirects {
            for_each_claim(redirect, |claim| claims.push((claim, Arc::clone(redirect))));
            set.count(redirect);
        }
        set.claims = claims.into_iter().collect();
        set.by_name = redirects.into_iter().map(|r| (r.name.clone(), r)).collect();
        Ok(set)
    }

    /// The redirect called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Redirect> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    /// All redirects, by name.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.by_name.values())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds `redirect`.
    ///
    /// # Errors
    /// It is not valid ([`Kind::Usage`]); its name is taken, or it contradicts
    /// another redirect, which is named ([`Kind::Conflict`]). The set is as it was.
    pub fn insert(&mut self, redirect: Redirect) -> Result<(), Error> {
        redirect.validate()?;
        if let Some(there) = self.get(&redirect.name) {
            return Err(name_taken(there));
        }
        if let Some((other, why)) = self.claimants(&redirect).into_iter().next() {
            return Err(why.error(other, &redirect));
        }
        if let Some((first, second, why)) = self.chain(&redirect) {
            return Err(why.error(first, second));
        }
        self.count(&redirect);
        let redirect = Arc::new(redirect);
        for_each_claim(&redirect, |claim| {
            self.claims.insert(claim, Arc::clone(&redirect));
        });
        self.by_name.insert(redirect.name.clone(), redirect);
        Ok(())
    }

    /// Takes out and returns the redirect called `name`.
    ///
    /// # Errors
    /// There is none ([`Kind::NotFound`]).
    pub fn remove(&mut self, name: &str) -> Result<Redirect, Error> {
        let redirect = self.by_name.remove(name).ok_or_else(|| no_such(name))?;
        for_each_claim(&redirect, |claim| {
            self.claims.remove(&claim);
        });
        discount(&mut self.homes, redirect.home);
        if !redirect.is_at_home() {
            discount(&mut self.targets, redirect.target);
        }
        Ok(Arc::unwrap_or_clone(redirect))
    }

    /// A copy with `redirect` added; see [`RedirectSet::insert`].
    ///
    /// # Errors
    /// As for [`RedirectSet::insert`].
    pub fn with(&self, redirect: Redirect) -> Result<Self, Error> {
        let mut set = self.clone();
        set.insert(redirect)?;
        Ok(set)
    }

    /// A copy without the redirect called `name`; see [`RedirectSet::remove`].
    ///
    /// # Errors
    /// As for [`RedirectSet::remove`].
    pub fn without(&self, name: &str) -> Result<Self, Error> {
        let mut set = self.clone();
        set.remove(name)?;
        Ok(set)
    }

    /// The redirects of other names that claim packets which `redirect` claims,
    /// each with the first of these.
    pub(crate) fn claimants(&self, redirect: &Redirect) -> Vec<(&Redirect, Contradiction)> {
        let mut found: Vec<(&Redirect, Contradiction)> = Vec::new();
        for_each_claim(redirect, |claim| {
            let up_to = Claim { first: claim.last, last: u16::MAX, ..claim };
            for (other, owner) in self.claims.range(..=up_to).rev() {
                let Some(why) = other.contradiction(&claim) else { break };
                let known = found.iter().any(|(r, _)| r.name == owner.name);
                if owner.name != redirect.name && !known {
                    found.push((owner, why));
                }
            }
        });
        found
    }

    /// The chain that `redirect` would make with one of the set, in the order in
    /// which packets would pass. Looks through the set only if an address is both
    /// home and target, which hardly ever happens.
    fn chain<'a>(
        &'a self,
        redirect: &'a Redirect,
    ) -> Option<(&'a Redirect, &'a Redirect, Contradiction)> {
        let sends_home = !redirect.is_at_home() && self.homes.contains_key(&redirect.target);
        let is_target = self.targets.contains_key(&redirect.home);
        if !sends_home && !is_target {
            return None;
        }
        self.iter().find_map(|other| {
            [(redirect, other), (other, redirect)].into_iter().find_map(|(first, second)| {
                let why = Contradiction::chain(first, second)?;
                Some((first, second, why))
            })
        })
    }

    fn count(&mut self, redirect: &Redirect) {
        *self.homes.entry(redirect.home).or_default() += 1;
        if !redirect.is_at_home() {
            *self.targets.entry(redirect.target).or_default() += 1;
        }
    }
}

fn discount(tally: &mut Tally, address: IpAddr) {
    if let Some(count) = tally.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            tally.remove(&address);
        }
    }
}

fn name_taken(there: &Redirect) -> Error {
    Error::new(Kind::Conflict, format!("there is already a redirect `{}`: {there}", there.name))
        .cure("choose another name, or replace that one")
}

fn no_such(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no redirect `{}`", name.escape_debug()))
}

/// Sets are equal if their redirects are; the index follows from them.
impl PartialEq for RedirectSet {
    fn eq(&self, other: &Self) -> bool {
        self.by_name == other.by_name
    }
}

impl Eq for RedirectSet {}

/// The redirects of a set, by name.
#[derive(Debug, Clone)]
pub struct Iter<'a>(btree_map::Values<'a, String, Arc<Redirect>>);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Redirect;

    fn next(&mut self) -> Option<&'a Redirect> {
        self.0.next().map(Arc::as_ref)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a RedirectSet {
    type Item = &'a Redirect;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
