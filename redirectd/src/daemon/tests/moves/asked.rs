//! What nodes may ask of a machine about its processes: who asks matters.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::{
    migrate::{
        errands::Errands,
        guests::Guests,
        handover::{DEPART, FATE, GUESTS, INVENTORY, SETTLE},
        service::Migration,
    },
    node::{fingerprint::Fingerprint, members::Member, service::NodeService as _},
};

fn member(name: &str) -> Member {
    let fingerprint = Fingerprint::of(name.as_bytes());
    Member { name: name.to_owned(), fingerprint, address: None, joined: String::new() }
}

#[tokio::test]
async fn a_node_hears_of_its_own_processes_and_takes_no_others() {
    let (scene, state) = (Scene::new(), tempfile::tempdir().unwrap());
    let (handle, thread) = spawn(scene.daemon).unwrap();
    let (_stop, stopping) = watch::channel(false);
    let guests = Guests::of(state.path());
    let service =
        Migration::new(handle.weak(), guests.clone(), state.path(), (Errands::default(), stopping));
    let (own, other) = (member("c"), member("d"));
    let pid = std::process::id().cast_signed();
    let refused = |error: Error| {
        assert_eq!(error.kind, Kind::NotFound, "{error}");
        assert!(error.what.contains(&format!("has the id {pid} here")), "{error}");
    };
    // Here, and nobody's guest.
    refused(service.request(&own, INVENTORY, json!(pid)).await.unwrap_err());
    guests.came(pid, "test", "c", 1).unwrap();
    let told = service.request(&own, INVENTORY, json!(pid)).await.unwrap();
    assert_eq!(told["processes"][0]["pid"], pid);
    refused(service.request(&other, INVENTORY, json!(pid)).await.unwrap_err());
    assert_eq!(service.request(&own, GUESTS, Value::Null).await.unwrap(), json!([pid]));
    assert_eq!(service.request(&other, GUESTS, Value::Null).await.unwrap(), json!([]));
    let passage = json!({ "pid": pid, "name": "test", "move": 1 });
    refused(service.stream(&other, DEPART, passage).await.err().unwrap());

    for (what, body) in [(FATE, json!(7)), (FATE, json!("one")), ("gossip", Value::Null)] {
        let error = service.request(&own, what, body).await.unwrap_err();
        assert!(error.cure.is_some(), "{error}");
    }
    drop((service, handle));
    thread.join().unwrap();
}

#[tokio::test]
async fn the_nodes_of_a_move_hear_what_became_of_it_and_no_others() {
    let mut scene = Scene::new();
    // One comes to d, one leaves it.
    let coming = scene.parked("web", "d");
    let gone = scene.parked("filed", "d");
    scene.commit(gone).unwrap();
    let leaving = scene.parked("filed", "192.0.2.5");
    let state = tempfile::tempdir().unwrap();
    let (handle, thread) = spawn(scene.daemon).unwrap();
    let (_stop, stopping) = watch::channel(false);
    let guests = Guests::of(state.path());
    let service =
        Migration::new(handle.weak(), guests, state.path(), (Errands::default(), stopping));
    let (party, third) = (member("d"), member("c"));
    for id in [coming, gone, leaving] {
        for what in [FATE, SETTLE] {
            let error = service.request(&third, what, json!(id)).await.unwrap_err();
            assert_eq!(error.kind, Kind::NotPermitted, "{error}");
            assert!(error.what.contains("no affair of c") && error.cure.is_some(), "{error}");
        }
    }
    // Nor has the third one ended any.
    let of = [(coming, "parked", "aborted"), (leaving, "parked", "aborted")];
    for (id, before, after) in of.into_iter().chain([(gone, "committed", "committed")]) {
        for (what, state) in [(FATE, before), (SETTLE, after)] {
            assert_eq!(service.request(&party, what, json!(id)).await.unwrap(), state);
        }
    }
    drop((service, handle));
    thread.join().unwrap();
}
