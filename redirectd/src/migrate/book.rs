//! The ledger with its journal: what is known of moves is what is written down.

use tracing::warn;

use super::{journal::Journal, ledger::Ledger, record::Record};
use crate::error::{Error, Kind};

/// The moves of a daemon.
pub struct Book {
    journal: Box<dyn Journal>,
    ledger: Ledger,
    /// The ledger has something that the journal lacks.
    ahead: bool,
}

impl Book {
    /// What an earlier daemon has written down.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn open(mut journal: Box<dyn Journal>) -> Result<Self, Error> {
        let ledger = journal.load()?;
        Ok(Self { journal, ledger, ahead: false })
    }

    /// The moves.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes `record` down, and only then believes it.
    ///
    /// # Errors
    /// It cannot be written. It counts for nothing, unless [`Book::in_doubt`].
    pub fn write(&mut self, record: Record) -> Result<(), Error> {
        if self.journal.in_doubt() || self.ahead {
            self.journal.rewrite(&self.ledger.records())?;
            self.ahead = false;
        }
        self.journal.append(&record)?;
        self.believe(record)
    }

    /// Takes in `record`, which a start would conclude from its absence too: it is
    /// written down if that is possible.
    ///
    /// # Errors
    /// It cannot be written, and something else that could not be written may be
    /// in its place.
    pub fn note(&mut self, record: Record) -> Result<(), Error> {
        let doubted = self.journal.in_doubt();
        match self.write(record.clone()) {
            Err(error) if !doubted => {
                warn!(error = error.one_line(), "not written down, but as good as");
                self.ahead = true;
                self.believe(record)
            }
            written => written,
        }
    }

    fn believe(&mut self, record: Record) -> Result<(), Error> {
        self.ledger.apply(record).map_err(|why| {
            // Whoever writes has asked the state machine before.
            Error::new(Kind::Failed, format!("the journal of moves has a wrong record: {why}"))
        })
    }

    /// Whether nobody knows what a daemon that starts now would read, since a
    /// record could neither be written nor taken back. The next one that can be
    /// written ends that.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.journal.in_doubt()
    }

    /// Writes a journal anew that has grown long.
    pub fn tidy(&mut self) {
        if !self.journal.is_long() {
            return;
        }
        match self.journal.rewrite(&self.ledger.records()) {
            Ok(()) => self.ahead = false,
            Err(error) => {
                warn!(error = error.one_line(), "the journal of moves cannot be shortened");
            }
        }
    }
}
