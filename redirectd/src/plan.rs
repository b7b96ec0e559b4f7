//! The difference between the redirects in force and those wanted, as steps.

use std::fmt::Write;

use crate::{
    dataplane::{Change, Removal},
    rule::{Flows, Redirect, RedirectSet},
};

/// The steps that turn `current` into `desired`: removals, then updates, then
/// additions, each by name; none if the two are equal. Open flows of what is
/// removed fare as `removal` says.
///
/// After each step, no two redirects claim the same packets: an update that
/// takes over what another redirect still holds at that point (two that swap
/// their home ports) is a removal and an addition instead.
#[must_use]
pub fn diff(current: &RedirectSet, desired: &RedirectSet, removal: Removal) -> Vec<Change> {
    let remove = |redirect: &Redirect| Change::Remove { redirect: redirect.clone(), removal };
    let mut removed = Vec::new();
    let mut updated = Vec::new();
    let mut added = Vec::new();

    for (from, to) in matched(current, desired) {
        match (from, to) {
            (Some(from), Some(to)) if from == to => {}
            (Some(from), Some(to)) if takes_over(to, current, desired) => {
                removed.push(remove(from));
                added.push(Change::Add(to.clone()));
            }
            (Some(from), Some(to)) => {
                updated.push(Change::Update { from: from.clone(), to: to.clone() });
            }
            (Some(from), None) => removed.push(remove(from)),
            (None, Some(to)) => added.push(Change::Add(to.clone())),
            (None, None) => {}
        }
    }
    removed.append(&mut updated);
    removed.append(&mut added);
    removed
}

/// The redirects of both sets by name, those of one name side by side.
fn matched<'a>(
    current: &'a RedirectSet,
    desired: &'a RedirectSet,
) -> impl Iterator<Item = (Option<&'a Redirect>, Option<&'a Redirect>)> {
    let (mut old, mut new) = (current.iter().peekable(), desired.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (Some(from), Some(to)) => from.name.cmp(&to.name),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return None,
        };
        Some((
            if order.is_le() { old.next() } else { None },
            if order.is_ge() { new.next() } else { None },
        ))
    })
}

/// Whether `to` claims what another redirect, which stays, claims in `current`.
fn takes_over(to: &Redirect, current: &RedirectSet, desired: &RedirectSet) -> bool {
    current.claimants(to).iter().any(|(other, _)| desired.get(&other.name).is_some())
}

/// The steps as people read them, one line each and a sum; for `--dry-run`.
#[must_use]
pub fn render(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing to change\n".to_owned();
    }
    let mut text = String::new();
    let (mut added, mut updated, mut removed) = (0, 0, 0);
    for change in changes {
        let count = match change {
            Change::Add(_) => &mut added,
            Change::Update { .. } => &mut updated,
            Change::Remove { .. } => &mut removed,
        };
        *count += 1;
        text.push_str(&line(change));
        text.push('\n');
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{added} to add, {updated} to update, {removed} to remove");
    text
}

fn line(change: &Change) -> String {
    match change {
        Change::Add(redirect) => format!("+ {}: {redirect}", redirect.name),
        Change::Remove { redirect, removal } => {
            let fate = match removal {
                Removal::Drain => "open flows go on to their end",
                Removal::Cut => "open flows are cut",
            };
            format!("- {}: {redirect}; {fate}", redirect.name)
        }
        Change::Update { from, to } => format!("~ {}: {}", to.name, differences(from, to)),
    }
}

/// What changes, field by field, and what that means for open flows.
fn differences(from: &Redirect, to: &Redirect) -> String {
    let mut parts = Vec::new();
    let mut part = |field: &str, old: String, new: String| {
        if old != new {
            parts.push(format!("{field} {old} -> {new}"));
        }
    };
    part("protocols", from.protocol_list(), to.protocol_list());
    part("home", from.home_endpoint(), to.home_endpoint());
    part("to", from.target_endpoint(), to.target_endpoint());
    part("peers", peer_list(from), peer_list(to));
    part("mode", from.mode.to_string(), to.mode.to_string());
    part("flows", from.flows.to_string(), to.flows.to_string());
    if (from.target, from.target_port) != (to.target, to.target_port) {
        parts.push(match to.flows {
            Flows::NewOnly => "open flows stay".to_owned(),
            Flows::Follow => "open flows follow".to_owned(),
        });
    }
    parts.join("; ")
}

fn peer_list(redirect: &Redirect) -> String {
    if redirect.peers.is_empty() {
        return "all".to_owned();
    }
    redirect.peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
