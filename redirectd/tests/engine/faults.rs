//! Death at every step: redirectd at home and on both machines, CRIU on either side,
//! `redirect migrate` and the link die at every stage of a move. Afterwards there is
//! one copy of the process, its connection goes on or has ended, nothing stays, and
//! the next move works.

mod aftermath;
mod evicted;
mod field;
mod gate;
mod halts;
mod hit;
mod homeward;
mod lazily;
mod lost;
mod waiting;

use anyhow::Result;

use self::{
    field::{Fault, Field},
    hit::Hit,
};

/// The move is hit on machine `on` at each of the stages; the process is on `then_on`
/// after that, and its connection goes on.
fn at<'a>(on: &'a str, stages: &'a [&str], then_on: &'a str) -> impl Iterator<Item = Fault<'a>> {
    stages.iter().map(move |at| Fault { on, at, then_on, may_reset: false })
}

/// The same, but the connection may end.
fn resets<'a>(
    on: &'a str,
    stages: &'a [&str],
    then_on: &'a str,
) -> impl Iterator<Item = Fault<'a>> {
    at(on, stages, then_on).map(|fault| Fault { may_reset: true, ..fault })
}

/// The process stays on the machine `from` if the move to `to` is hit before its commit.
fn stays<'a>(
    field: &mut Field,
    (from, to): (&'a str, &'a str),
    hit: impl Fn(&mut Hit<'_>) -> Result<()>,
) -> Result<()> {
    let leaving = at(from, &["pre-dump", "query-ext-files", "post-dump"], from);
    for fault in leaving.chain(at(to, &["pre-restore", "post-restore"], from)) {
        field.suffers(to, fault, &hit)?;
    }
    Ok(())
}

/// The daemon on `name` dies, and CRIU goes on when it is there again.
fn daemon_dies(name: &str) -> impl Fn(&mut Hit<'_>) -> Result<()> {
    move |hit| {
        hit.daemon_dies(name)?;
        hit.go()
    }
}

/// Whoever leads the move dies.
fn command_dies(hit: &mut Hit<'_>) -> Result<()> {
    hit.command_dies()?;
    hit.go()
}

/// Nothing comes through between home and c until the command has ended.
fn link_breaks(hit: &mut Hit<'_>) -> Result<()> {
    hit.field.link(false)?;
    hit.go()?;
    hit.command_ends()?;
    hit.field.link(true)
}

/// The same for a process on c whose packets are held: what is held would be lost on its
/// way there, and waits until c is heard again.
fn source_falls_silent(hit: &mut Hit<'_>) -> Result<()> {
    hit.field.link(false)?;
    hit.go()?;
    hit.command_says("c is silent")?;
    hit.holds()?;
    hit.field.link(true)
}

/// Before the commit the process stays at home, after it, it is c's.
#[test]
fn home_s_daemon() -> Result<()> {
    let mut field = Field::new()?;
    stays(&mut field, ("home", "c"), daemon_dies("home"))?;
    let ended = resets("home", &["post-dump!", "done-dump"], "home");
    let goes = at("c", &["post-restore!", "pre-resume", "post-resume"], "c");
    for fault in ended.chain(goes) {
        field.suffers("c", fault, daemon_dies("home"))?;
    }
    Ok(())
}

/// It revives again what is its own by then.
#[test]
fn the_destination_s_daemon() -> Result<()> {
    let mut field = Field::new()?;
    stays(&mut field, ("home", "c"), daemon_dies("c"))?;
    let ended = at("home", &["post-dump!", "done-dump"], "c");
    let stages = ["post-restore!", "pre-resume", "post-resume", "done-restore"];
    for fault in ended.chain(at("c", &stages, "c")) {
        field.suffers("c", fault, daemon_dies("c"))?;
    }
    Ok(())
}

/// The process is a guest, and on its way to another host.
#[test]
fn the_source_s_daemon() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    stays(&mut field, ("c", "d"), daemon_dies("c"))?;
    let ended = at("c", &["post-dump!", "done-dump"], "c");
    let goes = at("d", &["post-restore!", "pre-resume", "post-resume"], "d");
    for fault in ended.chain(goes) {
        field.suffers("d", fault, daemon_dies("c"))?;
    }
    Ok(())
}

#[test]
fn criu_at_the_source() -> Result<()> {
    let mut field = Field::new()?;
    let stages = ["pre-dump", "query-ext-files", "post-dump", "post-dump!"];
    for fault in at("home", &stages, "home") {
        field.suffers("c", fault, |hit| hit.criu_dies())?;
    }
    Ok(())
}

#[test]
fn criu_at_the_destination() -> Result<()> {
    let mut field = Field::new()?;
    let stays = at("c", &["pre-restore"], "home");
    // It has said already that the process waits.
    let runs = at("c", &["post-restore", "pre-resume", "post-resume"], "c");
    for fault in stays.chain(runs) {
        field.suffers("c", fault, |hit| hit.criu_dies())?;
    }
    for fault in at("c", &["post-restore!"], "c") {
        field.suffers("c", fault, |hit| {
            hit.field.waits()?;
            hit.criu_dies()
        })?;
    }
    Ok(())
}

/// What is half made of the process has what the peer has said, and is lost.
#[test]
fn home_s_daemon_and_criu_at_the_destination() -> Result<()> {
    let mut field = Field::new()?;
    for fault in resets("c", &["post-restore!"], "c") {
        field.suffers("c", fault, |hit| {
            // The next one does not know that the process is waited for.
            hit.daemon_dies("home")?;
            hit.field.acknowledged()?;
            hit.criu_dies()
        })?;
    }
    Ok(())
}

/// `redirect migrate` leads the move, and is what the process leaves home by.
#[test]
fn the_command() -> Result<()> {
    let mut field = Field::new()?;
    stays(&mut field, ("home", "c"), command_dies)?;
    // CRIU ends it at home; redirectd there sees that, and commits the move.
    let goes = at("home", &["post-dump!", "done-dump"], "c");
    for fault in goes.chain(at("c", &["post-restore!", "pre-resume"], "c")) {
        field.suffers("c", fault, command_dies)?;
    }
    Ok(())
}

/// Nothing is held yet, so home does not wait for CRIU to end the move; the next one does.
#[test]
fn the_command_while_criu_works_and_the_process_runs() -> Result<()> {
    let mut field = Field::new()?;
    for fault in at("home", &["pre-dump"], "home") {
        field.suffers("c", fault, |hit| {
            hit.another_is_refused("is in move")?;
            hit.command_dies()?;
            hit.move_is("aborted")?;
            hit.another_is_refused("at work for another move still")?;
            hit.go()
        })?;
    }
    Ok(())
}

/// CRIU ends the process when redirectd has begun to see to what is left.
#[test]
fn the_command_long_before_criu_has_done_its_work() -> Result<()> {
    let mut field = Field::new()?;
    for fault in at("home", &["post-dump!"], "c") {
        field.suffers("c", fault, |hit| {
            hit.command_dies()?;
            hit.daemon_says("home", "taking up what is left to do")?;
            hit.go()
        })?;
    }
    Ok(())
}

/// Nobody else ends what is half made of the process there.
#[test]
fn the_destination_s_daemon_and_criu() -> Result<()> {
    let mut field = Field::new()?;
    for fault in at("c", &["post-restore"], "home") {
        field.suffers("c", fault, |hit| hit.both_die())?;
    }
    for fault in at("c", &["post-restore!"], "c") {
        field.suffers("c", fault, |hit| {
            hit.field.waits()?;
            hit.both_die()
        })?;
    }
    Ok(())
}

/// The process was ended, and is back when that is settled: what the peer sends comes to
/// what is half made of it.
#[test]
fn whoever_revives_at_the_source() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    let both = |hit: &mut Hit<'_>| hit.both_die();
    let criu = |hit: &mut Hit<'_>| hit.criu_dies();
    for dies in [&both as &dyn Fn(&mut Hit<'_>) -> Result<()>, &criu] {
        for fault in resets("c", &["done-dump"], "c") {
            field.suffers("d", fault, |hit| {
                hit.field.halts("c").at("post-restore!")?;
                hit.daemon_dies("c")?;
                hit.go()?;
                hit.criu = hit.field.halts("c").halted()?;
                hit.field.acknowledged()?;
                dies(hit)
            })?;
        }
    }
    Ok(())
}

/// What the peer sends is held: what is half made of the process cannot run yet.
#[test]
fn whoever_revives_between_commit_and_word() -> Result<()> {
    let mut field = Field::new()?;
    field.suffers_unheard(|field| field.daemon_dies("c"))?;
    field.suffers_unheard(|field| field.all_criu_dies("c"))
}

/// It is back when both sides have noticed.
#[test]
fn the_link_to_the_destination() -> Result<()> {
    let mut field = Field::new()?;
    let stays = at("home", &["query-ext-files", "post-dump"], "home");
    let stays = stays.chain(at("c", &["pre-restore", "post-restore"], "home"));
    let goes = at("home", &["post-dump!"], "c").chain(at("c", &["post-restore!"], "c"));
    for fault in stays.chain(goes) {
        // From pauses of seconds the peer's kernel concludes that the way is that long, and
        // would wait longer each time until it sends again what the link has swallowed.
        field.talk_anew()?;
        field.suffers("c", fault, link_breaks)?;
    }
    Ok(())
}

#[test]
fn the_link_to_the_source() -> Result<()> {
    let mut field = Field::new()?.on_c()?;
    // Nothing is held yet.
    for fault in at("c", &["query-ext-files"], "c") {
        field.suffers("d", fault, link_breaks)?;
    }
    for fault in at("c", &["post-dump"], "c") {
        field.suffers("d", fault, source_falls_silent)?;
    }
    // Home waits for what the source has to say.
    for fault in at("c", &["done-dump"], "c") {
        field.suffers("d", fault, |hit| {
            hit.field.link(false)?;
            hit.go()?;
            hit.daemon_says("c", "home does not say what became of a move")?;
            hit.field.link(true)
        })?;
    }
    Ok(())
}
