//! The same where c sends its guest home: home's daemon leads the move.

use anyhow::Result;

use super::{at, daemon_dies, field::Field, link_breaks, resets};

/// Nobody leads the move any more.
#[test]
fn home_s_daemon() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    for fault in at("c", &["post-dump"], "c").chain(resets("c", &["done-dump"], "c")) {
        field.is_evicted(fault, daemon_dies("home"))?;
    }
    Ok(())
}

#[test]
fn the_daemon_of_its_host() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    for fault in at("c", &["post-dump", "done-dump"], "c") {
        field.is_evicted(fault, daemon_dies("c"))?;
    }
    Ok(())
}

#[test]
fn the_link() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    for fault in at("c", &["post-dump"], "c") {
        field.is_evicted(fault, link_breaks)?;
    }
    Ok(())
}
