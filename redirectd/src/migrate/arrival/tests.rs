//! What is done for a process that another has brought here.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{migrate::handover::Passage, node::service::Later};

/// Counts what it is asked to deliver.
#[derive(Debug, Default)]
struct Counting(AtomicU32);

impl Arbiter for Counting {
    fn fate(&self) -> Later<'_, Result<MoveState, Error>> {
        Box::pin(async { Ok(MoveState::Aborted) })
    }
    fn settle(&self) -> Later<'_, Result<MoveState, Error>> {
        self.fate()
    }
    fn deliver(&self) -> Later<'_, Result<bool, Error>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(true) })
    }
}

/// One of which the papers say that it is at `stage`, and that has ended since.
fn resumed_at(stage: Stage) -> u32 {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let place = folder.path().join("place");
    let images = WorkDir::create(&[&place], "arriving").unwrap();
    // There is no process of that number.
    let passage =
        Passage { pid: i32::MAX, name: "x".to_owned(), r#move: 1, memory: memory::Way::Copy };
    let papers = Papers::coming(passage, None, folder.path()).at_stage(stage);
    let home = Arc::new(Counting::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arbiter: Arc<dyn Arbiter> = Arc::clone(&home) as _;
    Arrival::found(papers, images, arbiter, Patience::endless())
        .resume(|_| panic!("it does not run"), runtime.handle());
    home.0.load(Ordering::Relaxed)
}

#[test]
fn home_delivers_for_one_that_has_run_and_ended() {
    assert_eq!(resumed_at(Stage::Running), 1);
}

/// It is not known whose it is, or it is home's.
#[test]
fn home_is_told_nothing_of_one_that_has_not_come() {
    assert_eq!(resumed_at(Stage::Coming), 0);
    assert_eq!(resumed_at(Stage::Come(Belongings::default())), 0);
}
