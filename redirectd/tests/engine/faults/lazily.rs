//! The same where memory follows the process: what dies before the commit leaves it where
//! it was; what it depends on and dies after that ends it, for all to see.

use anyhow::Result;

use super::{
    at, command_dies, daemon_dies,
    field::Field,
    link_breaks,
    lost::{Loss, Moment},
    source_falls_silent, stays,
};

/// By what `hit` does the process is lost.
fn loses(loss: Loss<'_>, hit: impl FnOnce(&mut Field) -> Result<()>) -> Result<()> {
    Field::large(loss.from)?.loses(loss, hit)
}

/// From home to c.
const BETWEEN: Loss<'_> = Loss { from: "home", to: "c", when: Moment::Committed };
/// As [`BETWEEN`].
const FOLLOWING: Loss<'_> = Loss { from: "home", to: "c", when: Moment::Following };

#[test]
fn home_s_daemon() -> Result<()> {
    let mut field = Field::lazily()?;
    stays(&mut field, ("home", "c"), daemon_dies("home"))?;
    let goes = at("home", &["post-dump!"], "c");
    for fault in goes.chain(at("c", &["post-restore!", "pre-resume", "post-resume"], "c")) {
        field.suffers("c", fault, daemon_dies("home"))?;
    }
    Ok(())
}

#[test]
fn the_destination_s_daemon_before_the_commit() -> Result<()> {
    stays(&mut Field::lazily()?, ("home", "c"), daemon_dies("c"))
}

#[test]
fn the_source_s_daemon_before_the_commit() -> Result<()> {
    stays(&mut Field::lazily()?.on_c()?, ("c", "d"), daemon_dies("c"))
}

#[test]
fn criu_before_the_commit() -> Result<()> {
    stays(&mut Field::lazily()?, ("home", "c"), |hit| hit.criu_dies())
}

/// That of the source dies while the destination revives the process.
#[test]
fn criu_at_the_source_before_it_yields() -> Result<()> {
    let mut field = Field::lazily()?;
    for mut fault in at("c", &["pre-restore", "post-restore"], "home") {
        fault.may_reset = true;
        field.suffers("c", fault, |hit| {
            hit.field.all_criu_dies("home")?;
            hit.go()
        })?;
    }
    Ok(())
}

#[test]
fn the_command_before_the_commit() -> Result<()> {
    stays(&mut Field::lazily()?, ("home", "c"), command_dies)?;
    let mut field = Field::lazily()?.on_c()?;
    for fault in at("c", &["post-dump"], "c").chain(at("d", &["post-restore"], "c")) {
        field.suffers("d", fault, command_dies)?;
    }
    Ok(())
}

#[test]
fn the_link_before_the_commit() -> Result<()> {
    let mut field = Field::lazily()?;
    for fault in at("home", &["post-dump"], "home").chain(at("c", &["post-restore"], "home")) {
        field.suffers("c", fault, link_breaks)?;
    }
    Ok(())
}

#[test]
fn the_link_to_the_source_before_the_commit() -> Result<()> {
    let mut field = Field::lazily()?.on_c()?;
    for fault in at("d", &["post-restore"], "c") {
        field.suffers("d", fault, source_falls_silent)?;
    }
    Ok(())
}

#[test]
fn the_command_between_commit_and_end() -> Result<()> {
    loses(BETWEEN, |field| field.command_dies())?;
    loses(Loss { from: "c", to: "d", ..BETWEEN }, |field| field.command_dies())
}

#[test]
fn the_destination_s_daemon_between_commit_and_end() -> Result<()> {
    loses(BETWEEN, |field| field.daemon_dies("c"))
}

#[test]
fn the_destination_s_daemon_and_criu_between_commit_and_end() -> Result<()> {
    loses(BETWEEN, |field| field.daemon_and_criu_die("c"))
}

/// It would run on.
#[test]
fn the_source_s_daemon_between_commit_and_end() -> Result<()> {
    let loss = Loss { from: "c", to: "d", ..BETWEEN };
    loses(loss, |field| field.daemon_dies("c"))
}

#[test]
fn criu_between_commit_and_end() -> Result<()> {
    for on in ["home", "c"] {
        loses(BETWEEN, |field| field.all_criu_dies(on))?;
    }
    Ok(())
}

#[test]
fn the_link_between_commit_and_end() -> Result<()> {
    loses(BETWEEN, |field| field.link(false))
}

#[test]
fn the_link_to_the_source_between_commit_and_end() -> Result<()> {
    let loss = Loss { from: "c", to: "d", ..BETWEEN };
    loses(loss, |field| field.link(false))
}

#[test]
fn the_command_while_memory_follows() -> Result<()> {
    loses(FOLLOWING, |field| field.command_dies())
}

#[test]
fn the_daemons_while_memory_follows() -> Result<()> {
    loses(FOLLOWING, |field| field.daemon_dies("c"))?;
    let loss = Loss { from: "c", to: "d", ..FOLLOWING };
    loses(loss, |field| field.daemon_dies("c"))
}

#[test]
fn criu_while_memory_follows() -> Result<()> {
    for on in ["home", "c"] {
        loses(FOLLOWING, |field| field.all_criu_dies(on))?;
    }
    Ok(())
}

#[test]
fn the_link_while_memory_follows() -> Result<()> {
    loses(FOLLOWING, |field| field.link(false))
}

#[test]
fn the_link_to_the_source_while_memory_follows() -> Result<()> {
    loses(Loss { from: "c", to: "d", ..FOLLOWING }, |field| field.link(false))
}

/// It does not take part in that.
#[test]
fn home_s_daemon_after_the_commit() -> Result<()> {
    for when in [Moment::Committed, Moment::Following] {
        Field::large("home")?
            .outlives(Loss { when, ..BETWEEN }, |field| field.daemon_dies("home"))?;
    }
    Ok(())
}
