//! Writing processes down without their memory, and reviving them before it is
//! there. What carries the memory is in [`super::pages`].

use std::fs;

use super::{
    Criu, Dump, DumpStage, Restore, RestoreStage,
    engine::{OFFERED, dump_options, restore_options},
    guard::below,
    lazy::LazyPages,
    messages::{Notify, RequestType},
    pages::give::Source,
    pipes::Pipes,
};
use crate::error::{Error, Kind};

/// Options that RPC lacks; CRIU takes them last.
const MORE_OPTIONS: &str = "criu.conf";
/// Errors only: with memory left behind, CRIU warns at each page that our socket is
/// not one of TCP.
const LOG_LEVEL: i32 = 1;

impl Criu {
    /// Writes a tree of processes down as [`Criu::dump`] does, but leaves the memory
    /// that only they have with CRIU, which gives it to who has the other end of
    /// `source`: a [`Giver`](super::pages::give::Giver), which must be running by
    /// then. Comes back when all of it is given or the giver is gone.
    ///
    /// [`DumpStage::Written`] is the commit at home. Whoever answers it well must
    /// have done before that, in this order, without waiting for anything else in
    /// between:
    ///
    /// 1. Told the giver that the processes are frozen, and where
    ///    ([`Stages::frozen`]); only then can the host revive them.
    /// 2. Had the host revive them, and committed the move.
    /// 3. Killed them ([`super::gone::kill`]): CRIU itself ends them only after all
    ///    of their memory is given, and should it die before, they would run again,
    ///    here and on the host. Their numbers stay taken as long.
    /// 4. Told the giver so ([`Stages::ended`]), and the host that it may let them
    ///    run.
    ///
    /// To refuse any stage is to leave them unharmed.
    ///
    /// # Errors
    /// As [`Criu::dump`]; the processes run on. What happens after
    /// [`DumpStage::Written`] is answered well is no error of this, but one of the
    /// giver's.
    ///
    /// [`Stages::frozen`]: super::pages::give::Stages::frozen
    /// [`Stages::ended`]: super::pages::give::Stages::ended
    pub fn dump_lazily(
        &self,
        dump: &Dump,
        source: Source,
        on_stage: &mut dyn FnMut(DumpStage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut pipes = Some(Pipes::check()?);
        let mut options = dump_options(dump)?;
        options.lazy_pages = Some(true);
        options.log_level = Some(LOG_LEVEL);
        let file = dump.images.join(MORE_OPTIONS);
        // By RPC, the socket of a page server is for memory that is written.
        let more = format!("ps-socket {}\n", source.number());
        fs::write(&file, more)
            .map_err(|why| failed(format!("cannot write {}: {why}", file.display())))?;
        options.config_file = file.to_str().map(str::to_owned);
        let what = format!("process {} cannot be written down", dump.pid);
        let Source { socket, widened } = source;
        let mut widened = Some(widened);
        let mut written = false;
        let mut roomy = None;
        let stages = &mut |notify: &Notify, _| {
            if notify.script.as_deref() == Some(OFFERED) {
                let wide = pipes.take().map_or(Ok(None), Pipes::widen);
                let wide = wide.map_err(|why| failed(format!("no room in pipes: {why}")))?;
                // Without a giver, it is narrow again.
                let _ = widened.take().map(|widened| widened.send(wide));
                return Ok(());
            }
            let stage = DumpStage::of(notify);
            // Nobody else is to wait for what this stage waits for.
            drop(roomy.take());
            stage.map_or(Ok(()), &mut *on_stage)?;
            if stage == Some(DumpStage::Frozen) {
                roomy = pipes.as_ref().and_then(Pipes::widen_at_once);
            }
            written |= stage == Some(DumpStage::Written);
            Ok(())
        };
        let dumped = self.carry_out(RequestType::Dump, options, &what, Some(socket), stages);
        if written { Ok(()) } else { dumped.map(drop) }
    }

    /// Revives a tree of processes as [`Criu::restore`] does, before their memory is
    /// there: `lazy` gives it to them. If it does not come, they are ended, from
    /// before [`RestoreStage::Revived`] on.
    ///
    /// # Errors
    /// As [`Criu::restore`], or their memory is lost already. There are no processes
    /// then.
    pub fn restore_lazily(
        &self,
        restore: &Restore,
        lazy: &LazyPages,
        on_stage: &mut dyn FnMut(RestoreStage) -> Result<(), Error>,
    ) -> Result<i32, Error> {
        let mut options = restore_options(restore)?;
        options.lazy_pages = Some(true);
        self.revive(restore, options, &mut |stage, criu| {
            if let RestoreStage::Revived { pid } = stage {
                lazy.guard(&revived(criu, pid)?)?;
            }
            on_stage(stage)
        })
    }
}

/// The processes that CRIU, or who runs it, has just revived, by the numbers that
/// they have for us: their root has the number `pid` for CRIU.
fn revived(criu: i32, pid: i32) -> Result<Vec<i32>, Error> {
    let number = |process: i32| -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        numbers.split_whitespace().next_back()?.parse().ok()
    };
    // Who runs CRIU may have the same number in another namespace, but is above.
    let all = below(criu);
    let root = all.iter().rfind(|process| number(**process) == Some(pid));
    let root = *root.ok_or_else(|| failed(format!("CRIU says it revived {pid}, but has not")))?;
    Ok([vec![root], below(root)].concat())
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
