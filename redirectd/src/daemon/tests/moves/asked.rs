//! What nodes may ask of a machine about its processes: who asks matters.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::{
    migrate::{
        guests::Guests,
        handover::{DEPART, FATE, GUESTS, INVENTORY},
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
    let service = Migration::new(handle.weak(), guests.clone(), state.path(), stopping);
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
