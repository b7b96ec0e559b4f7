//! Copying the memory of processes ahead, in rounds, while they still run: what is
//! written when they are frozen is then only what they have changed since the last
//! round. It takes a kernel that tells which pages were written to.
//!
//! The images of the rounds are in the folders `1`, `2` and so on below those of the
//! processes, each with a link [`PARENT`] to the one before, by which CRIU finds the
//! pages that are not in a later one.

use std::{fs, path::Path};

use super::{
    Criu, Dump, DumpStage,
    engine::dump_options,
    messages::{Notify, Options, RequestType},
    rounds::{self, Next},
};
use crate::error::{Error, Kind};

/// The link in a folder of images to that of the round before.
pub const PARENT: &str = "parent";

/// Memory that was copied ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The bytes of memory that each round has copied.
    pub rounds: Vec<u64>,
    /// Why there were no more rounds.
    pub then: Next,
}

impl Criu {
    /// Copies the memory of a tree of processes in rounds, to folders below its images,
    /// and tells `on_round` how many bytes each has copied. The processes run; CRIU
    /// freezes them in each round, for as long as it takes to mark their pages.
    ///
    /// # Errors
    /// The kernel does not tell which pages are written to, `on_round` refuses, or what
    /// CRIU could not do. The processes run on.
    pub fn copy_ahead(
        &self,
        dump: &Dump,
        on_round: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<Ahead, Error> {
        if !self.features()?.tracks_memory {
            let what = "memory cannot go while the process runs: the kernel at home does not \
                        tell which pages it changes meanwhile (CONFIG_MEM_SOFT_DIRTY)";
            return Err(Error::new(Kind::Failed, what).cure("let its memory go in another way"));
        }
        let mut copied = Vec::new();
        loop {
            let then = rounds::next(&copied);
            if then != Next::Round {
                return Ok(Ahead { rounds: copied, then });
            }
            let number = copied.len() + 1;
            let bytes = self.round(dump, number)?;
            copied.push(bytes);
            on_round(bytes)?;
        }
    }

    fn round(&self, dump: &Dump, number: usize) -> Result<u64, Error> {
        let images = dump.images.join(number.to_string());
        fs::create_dir(&images).map_err(|why| {
            Error::new(Kind::Failed, format!("cannot make {}: {why}", images.display()))
        })?;
        let of_round = Dump { images: images.clone(), ..dump.clone() };
        let parent = (number > 1).then(|| format!("../{}", number - 1));
        let options = after(parent, dump_options(&of_round)?);
        let what = format!("the memory of process {} cannot be copied ahead", dump.pid);
        let stages = &mut |_: &Notify, _| Ok(());
        self.carry_out(RequestType::SinglePreDump, options, &what, None, stages)?;
        memory_in(&images)
    }

    /// Writes a tree of processes down as [`Criu::dump`] does, but of its memory only
    /// what is not in the rounds of [`Criu::copy_ahead`], which had the same `dump`.
    ///
    /// # Errors
    /// As [`Criu::dump`].
    pub fn dump_rest(
        &self,
        dump: &Dump,
        ahead: &Ahead,
        on_stage: &mut dyn FnMut(DumpStage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let parent = (!ahead.rounds.is_empty()).then(|| ahead.rounds.len().to_string());
        let options = after(parent, dump_options(dump)?);
        let what = format!("process {} cannot be written down", dump.pid);
        let stages = &mut |notify: &Notify, _| DumpStage::of(notify).map_or(Ok(()), &mut *on_stage);
        self.carry_out(RequestType::Dump, options, &what, None, stages).map(drop)
    }
}

/// Has CRIU mark the pages, and leave out those that have not changed since `parent`, a
/// folder by its way from that of the images.
fn after(parent: Option<String>, options: Options) -> Options {
    Options { track_mem: Some(true), parent_img: parent, ..options }
}

/// The bytes of memory in the images of a folder, those of its rounds not counted.
///
/// # Errors
/// It cannot be read.
pub fn memory_in(images: &Path) -> Result<u64, Error> {
    let unreadable = |why: std::io::Error| {
        Error::new(Kind::Failed, format!("cannot read {}: {why}", images.display()))
    };
    let mut bytes = 0;
    for entry in fs::read_dir(images).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().as_encoded_bytes().starts_with(b"pages-") {
            bytes += entry.metadata().map_err(unreadable)?.len();
        }
    }
    Ok(bytes)
}
