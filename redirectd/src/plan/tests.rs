//! What a change of rules comes down to.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{diff, render};
use crate::{
    dataplane::{Change, Removal},
    rule::{
        Flows, Mode, Protocol, Redirect, RedirectSet,
        properties::{crowded_set, overlap},
    },
};

fn redirect(name: &str, ports: &str, target: &str) -> Redirect {
    Redirect {
        name: name.to_owned(),
        protocols: vec![Protocol::Tcp],
        home: "192.0.2.1".parse().unwrap(),
        ports: ports.parse().unwrap(),
        target: target.parse().unwrap(),
        target_port: 8080,
        host: None,
        peers: Vec::new(),
        mode: Mode::Nat,
        flows: Flows::NewOnly,
    }
}

fn set(redirects: impl IntoIterator<Item = Redirect>) -> RedirectSet {
    RedirectSet::new(redirects).unwrap()
}

#[test]
fn nothing_changes_between_equal_sets() {
    let both = set([redirect("web", "80", "192.0.2.3")]);
    assert_eq!(diff(&both, &both.clone(), Removal::Drain), []);
    assert_eq!(render(&[]), "nothing to change\n");
}

#[test]
fn removals_come_before_updates_and_these_before_additions() {
    let old = set([
        redirect("a", "80", "192.0.2.3"),
        redirect("m", "81", "192.0.2.3"),
        redirect("z", "82", "192.0.2.3"),
    ]);
    let new = set([
        redirect("b", "80", "192.0.2.3"),
        Redirect { flows: Flows::Follow, ..redirect("m", "81", "192.0.2.4") },
    ]);
    assert_eq!(
        render(&diff(&old, &new, Removal::Cut)),
        "- a: tcp 192.0.2.1:80 -> 192.0.2.3:8080; open flows are cut\n\
         - z: tcp 192.0.2.1:82 -> 192.0.2.3:8080; open flows are cut\n\
         ~ m: to 192.0.2.3:8080 -> 192.0.2.4:8080; flows new-only -> follow; open flows follow\n\
         + b: tcp 192.0.2.1:80 -> 192.0.2.3:8080\n\
         1 to add, 1 to update, 2 to remove\n"
    );
}

#[test]
fn two_that_swap_ports_are_never_both_on_one() {
    let old = set([redirect("a", "80", "192.0.2.3"), redirect("b", "81", "192.0.2.3")]);
    let new = set([redirect("a", "81", "192.0.2.3"), redirect("b", "80", "192.0.2.3")]);
    assert_eq!(
        render(&diff(&old, &new, Removal::Drain)),
        "- a: tcp 192.0.2.1:80 -> 192.0.2.3:8080; open flows go on to their end\n\
         - b: tcp 192.0.2.1:81 -> 192.0.2.3:8080; open flows go on to their end\n\
         + a: tcp 192.0.2.1:81 -> 192.0.2.3:8080\n\
         + b: tcp 192.0.2.1:80 -> 192.0.2.3:8080\n\
         2 to add, 0 to update, 2 to remove\n"
    );
}

#[test]
fn what_a_removed_redirect_held_can_be_taken_over_by_an_update() {
    let old = set([redirect("a", "80", "192.0.2.3"), redirect("b", "81", "192.0.2.3")]);
    let new = set([redirect("a", "80-81", "192.0.2.3")]);
    assert_eq!(
        render(&diff(&old, &new, Removal::Drain)),
        "- b: tcp 192.0.2.1:81 -> 192.0.2.3:8080; open flows go on to their end\n\
         ~ a: home 192.0.2.1:80 -> 192.0.2.1:80-81; to 192.0.2.3:8080 -> 192.0.2.3:8080-8081\n\
         0 to add, 1 to update, 1 to remove\n"
    );
}

/// What a step needs to be true, and what is in force after it.
fn apply(current: &mut BTreeMap<String, Redirect>, change: &Change) {
    match change {
        Change::Add(redirect) => {
            assert_eq!(current.insert(redirect.name.clone(), redirect.clone()), None);
        }
        Change::Update { from, to } => {
            assert_eq!(from.name, to.name);
            assert_ne!(from, to);
            assert_eq!(current.insert(to.name.clone(), to.clone()).as_ref(), Some(from));
        }
        Change::Remove { redirect, .. } => {
            assert_eq!(current.remove(&redirect.name).as_ref(), Some(redirect));
        }
    }
    let all: Vec<&Redirect> = current.values().collect();
    for (n, a) in all.iter().enumerate() {
        assert!(!all[..n].iter().any(|b| overlap(a, b)), "two claim the same after {change:?}");
    }
}

fn rank(change: &Change) -> u8 {
    match change {
        Change::Remove { .. } => 0,
        Change::Update { .. } => 1,
        Change::Add(_) => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_difference_leads_from_one_to_the_other(old in crowded_set(), new in crowded_set()) {
        let changes = diff(&old, &new, Removal::Drain);
        prop_assert_eq!(&changes, &diff(&old, &new, Removal::Drain));
        prop_assert!(changes.is_sorted_by_key(rank));
        let mut current: BTreeMap<String, Redirect> =
            old.iter().map(|r| (r.name.clone(), r.clone())).collect();
        for change in &changes {
            apply(&mut current, change);
        }
        prop_assert_eq!(RedirectSet::new(current.into_values()).unwrap(), new);
        prop_assert_eq!(render(&changes).lines().count(), changes.len() + 1);
    }
}
