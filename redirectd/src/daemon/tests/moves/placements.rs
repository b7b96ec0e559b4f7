//! Where moves leave redirects of configuration files.

use super::*;

#[test]
fn where_a_move_has_left_a_redirect_of_a_file_holds_until_the_file_speaks() {
    let mut scene = Scene::new();
    let id = scene.parked("filed", "d");
    scene.commit(id).unwrap();
    assert_eq!(scene.target("filed"), "d (192.0.2.4:443)");
    scene.restart(FILE);
    assert_eq!(scene.target("filed"), "d (192.0.2.4:443)", "the file is not newer");
    scene.restart("filed: { home: \"192.0.2.1:443\", to: \"192.0.2.3:443\", flows: follow }");
    assert_eq!(scene.target("filed"), "d (192.0.2.4:443)", "it says nothing of the target");
    let flows = scene.daemon.desired.all().get("filed").unwrap().flows;
    assert_eq!(flows, crate::rule::Flows::Follow, "but of this");

    scene.restart("filed: { home: \"192.0.2.1:443\", to: \"192.0.2.9:443\" }");
    assert_eq!(scene.target("filed"), "192.0.2.9:443", "now it does");
    scene.restart(FILE);
    assert_eq!(scene.target("filed"), "192.0.2.3:443", "the old move is forgotten");
}

#[test]
fn a_process_that_has_come_back_leaves_nothing_beside_the_file() {
    let mut scene = Scene::new();
    for to in ["d", "192.0.2.3"] {
        let id = scene.parked("filed", to);
        scene.commit(id).unwrap();
    }
    assert_eq!(scene.target("filed"), "192.0.2.3:443");
    assert!(scene.daemon.desired.placements().is_empty());
    assert!(scene.daemon.moves.book.ledger().placements().is_empty());
}
