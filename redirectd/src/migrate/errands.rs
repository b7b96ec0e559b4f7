//! What this program has to see through before it ends: memory that follows processes by
//! way of it. Without it, they would end too.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{handover::Follows, memory::Bytes};
use crate::error::{Error, Kind};

/// All of them; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Errands(Arc<Mutex<Book>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Errand {
    errands: Errands,
    number: u64,
}

/// What is left to do: of which processes, and how far the memory of each is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left(Vec<(i32, Follows)>);

#[derive(Debug, Default)]
struct Book {
    /// No more moves.
    stopping: bool,
    /// Nothing is left, and nothing may come.
    closed: bool,
    open: BTreeMap<u64, (i32, Follows)>,
    begun: u64,
}

impl Errands {
    /// Memory is to follow the process `pid` by way of this program.
    ///
    /// # Errors
    /// It is about to end.
    pub fn begin(&self, pid: i32) -> Result<Errand, Error> {
        let mut book = self.book();
        if book.closed {
            return Err(stopping());
        }
        let number = book.begun;
        book.begun += 1;
        book.open.insert(number, (pid, Follows::default()));
        Ok(Errand { errands: self.clone(), number })
    }

    /// From now on, no more moves.
    pub fn stop(&self) {
        self.book().stopping = true;
    }

    /// Whether a move may begin.
    ///
    /// # Errors
    /// No more moves do.
    pub fn may_begin(&self) -> Result<(), Error> {
        if self.book().stopping { Err(stopping()) } else { Ok(()) }
    }

    /// What is left. If nothing is, no more begin.
    #[must_use]
    pub fn close(&self) -> Left {
        let mut book = self.book();
        book.closed = book.open.is_empty();
        Left(book.open.values().copied().collect())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Errand {
    /// So far the memory is.
    pub fn tell(&self, now: Follows) {
        if let Some((_, known)) = self.errands.book().open.get_mut(&self.number) {
            *known = now;
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.errands.book().open.remove(&self.number);
    }
}

impl Left {
    /// Whether nothing is.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (pid, follows)) in self.0.iter().enumerate() {
            let and = if at == 0 { "" } else { "; " };
            write!(f, "{and}the memory of process {pid} is still on its way")?;
            if let Some(behind) = follows.behind() {
                write!(f, ", {} missing", Bytes(behind))?;
            }
        }
        Ok(())
    }
}

/// Why no more moves begin.
#[must_use]
pub fn stopping() -> Error {
    Error::new(Kind::Conflict, "redirectd stops, and takes no more moves")
        .cure("ask again when it has been started anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_until_it_is_done_and_then_no_more_begins() {
        let errands = Errands::default();
        let one = errands.begin(4711).unwrap();
        let other = errands.begin(12).unwrap();
        other.tell(Follows { total: 3 << 30, over: 1 << 30 });
        let told = "the memory of process 4711 is still on its way; \
                    the memory of process 12 is still on its way, 2048 MiB missing";
        assert_eq!(errands.close().to_string(), told);
        drop(one);
        // What was begun before may take another part of this.
        let third = errands.begin(13).unwrap();
        drop(other);
        assert!(!errands.close().is_none());
        drop(third);
        assert!(errands.close().is_none());
        let error = errands.begin(14).unwrap_err();
        assert!(error.to_string().contains("cure: ask again"), "{error}");
    }

    #[test]
    fn moves_may_begin_until_it_stops() {
        let errands = Errands::default();
        errands.may_begin().unwrap();
        errands.stop();
        assert_eq!(errands.may_begin().unwrap_err().kind, Kind::Conflict);
        // One that has begun may need it.
        errands.begin(1).unwrap();
    }
}
