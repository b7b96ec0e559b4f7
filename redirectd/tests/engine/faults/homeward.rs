//! The same on the way from c home: whoever leads the move revives the process as well.

use anyhow::Result;

use super::{at, command_dies, daemon_dies, field::Field, link_breaks, source_falls_silent};

#[test]
fn home_s_daemon() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    let stays = at("c", &["post-dump"], "c").chain(at("home", &["post-restore"], "c"));
    for fault in stays.chain(at("home", &["post-restore!"], "home")) {
        field.suffers("home", fault, daemon_dies("home"))?;
    }
    Ok(())
}

#[test]
fn the_source_s_daemon() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    let stays = at("c", &["post-dump", "done-dump"], "c");
    for fault in stays.chain(at("home", &["post-restore!"], "home")) {
        field.suffers("home", fault, daemon_dies("c"))?;
    }
    Ok(())
}

#[test]
fn criu() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    let stays = at("c", &["post-dump"], "c").chain(at("home", &["pre-restore"], "c"));
    for fault in stays.chain(at("home", &["post-restore!"], "home")) {
        field.suffers("home", fault, |hit| hit.criu_dies())?;
    }
    Ok(())
}

/// redirectd at home takes it up.
#[test]
fn the_command() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    let stays = at("c", &["post-dump"], "c").chain(at("home", &["post-restore"], "c"));
    for fault in stays.chain(at("home", &["post-restore!"], "home")) {
        field.suffers("home", fault, command_dies)?;
    }
    Ok(())
}

#[test]
fn the_link() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    for fault in at("c", &["post-dump"], "c") {
        field.suffers("home", fault, source_falls_silent)?;
    }
    for fault in at("home", &["post-restore!"], "home") {
        field.suffers("home", fault, link_breaks)?;
    }
    Ok(())
}
