//! What the commit of a move does to the redirects that ought to be in force.

use super::{Desired, Edit, Placed, Placement};
use crate::{error::Error, migrate::record::Shift};

/// What undoes [`Desired::shift`].
#[derive(Debug, Clone, Default)]
pub struct Shifted {
    api: Edit,
    placed: Vec<(String, Option<Placement>)>,
}

impl Desired {
    /// Puts each of `shifts` in place of what it was; what is there already stays.
    /// `by` is the move that does it. Returns what undoes it.
    ///
    /// # Errors
    /// What comes contradicts another redirect. Nothing is changed then.
    pub fn shift(&mut self, shifts: &[Shift], by: u32) -> Result<Shifted, Error> {
        let mut undo = Shifted::default();
        let edit = self.shift_api(shifts);
        undo.api = self.make(edit)?;
        for shift in shifts {
            let Some(placement) = shift.placement(by) else { continue };
            let placement = (!placement.is_idle()).then_some(placement);
            match self.place(shift.name(), placement) {
                Ok(before) => undo.placed.push((shift.name().to_owned(), before)),
                Err(error) => {
                    self.unshift(undo);
                    return Err(error);
                }
            }
        }
        Ok(undo)
    }

    /// Undoes [`Desired::shift`].
    pub fn unshift(&mut self, undo: Shifted) {
        // What was there a moment ago fits again.
        for (name, placement) in undo.placed.into_iter().rev() {
            let _ = self.place(&name, placement);
        }
        let _ = self.make(undo.api);
    }

    fn shift_api(&self, shifts: &[Shift]) -> Edit {
        let mut edit = Edit::default();
        for shift in shifts.iter().filter(|shift| shift.written.is_none()) {
            // After a crash it may have been done, and even been removed since.
            if self.api.get(shift.name()).is_some_and(|there| *there == shift.from) {
                edit.out.push(shift.name().to_owned());
                edit.into.push(shift.to.clone());
            }
        }
        edit
    }

    /// Has the redirect `name` of a file lead where `placement` says, or where the
    /// file says; returns the placement it had.
    fn place(
        &mut self,
        name: &str,
        placement: Option<Placement>,
    ) -> Result<Option<Placement>, Error> {
        // The file may have dropped or changed it: then it has spoken last.
        let Some(file) = self.written(name).cloned() else { return Ok(None) };
        if placement.as_ref().is_some_and(|placement| !placement.holds(&file)) {
            return Ok(None);
        }
        let now = placement.as_ref().map_or_else(|| file.clone(), |there| there.place(&file));
        let was = self.files.remove(name)?;
        self.all.remove(name)?;
        if let Err(error) = self.all.insert(now.clone()).and_then(|()| self.files.insert(now)) {
            // What was there a moment ago fits again.
            let _ = self.all.insert(was.clone()).and_then(|()| self.files.insert(was));
            return Err(error);
        }
        let before = self.placed.remove(name).map(|placed| placed.placement);
        if let Some(placement) = placement {
            self.placed.insert(name.to_owned(), Placed { file, placement });
        }
        Ok(before)
    }
}
