//! Disks in memory that fail where they are told to.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::{
    dataplane::Change,
    error::{Error, Kind},
    migrate::{journal::Journal, ledger::Ledger, record::Record},
    rule::{Redirect, RedirectSet},
    state::Store,
};

/// A store in memory that fails where it is told to.
#[derive(Clone, Default)]
pub(super) struct Memory(pub(super) Arc<Mutex<Disk>>);

/// What is on it, and what fails.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) kept: Vec<Redirect>,
    pub(super) staged: Option<Vec<Redirect>>,
    pub(super) fail_stage: bool,
    pub(super) fail_commit: bool,
}

impl Store for Memory {
    fn load(&mut self) -> Result<Vec<Redirect>, Error> {
        Ok(self.0.lock().unwrap().kept.clone())
    }

    fn stage(&mut self, _changes: &[Change], all: &RedirectSet) -> Result<(), Error> {
        let mut disk = self.0.lock().unwrap();
        if disk.fail_stage {
            return Err(Error::new(Kind::Failed, "the disk is full"));
        }
        disk.staged = Some(all.iter().cloned().collect());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        let mut disk = self.0.lock().unwrap();
        if disk.fail_commit {
            return Err(Error::new(Kind::Failed, "the disk is gone"));
        }
        disk.kept = disk.staged.take().expect("something was staged");
        Ok(())
    }

    fn discard(&mut self) {
        self.0.lock().unwrap().staged = None;
    }
}

/// A journal in memory that fails where it is told to; clones share it.
#[derive(Clone, Default)]
pub(super) struct Paper(Arc<Mutex<Sheet>>);

/// What is on it, and what fails.
#[derive(Default)]
pub(super) struct Sheet {
    pub(super) records: Vec<Record>,
    fault: Option<Fault>,
    /// How many records can be written before all are refused.
    healthy: Option<usize>,
    in_doubt: bool,
}

/// How writing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is written.
    Refused,
    /// The record is there, though that is not known.
    Doubted,
    /// The record is not there, though that is not known.
    Lost,
}

impl Paper {
    pub(super) fn sheet(&self) -> MutexGuard<'_, Sheet> {
        self.0.lock().unwrap()
    }

    /// Writing fails so; `None` heals it.
    pub(super) fn fail(&self, fault: Option<Fault>) {
        let mut sheet = self.sheet();
        sheet.fault = fault;
        sheet.healthy = None;
    }

    /// After `healthy` more records all are refused, until [`Paper::fail`].
    pub(super) fn fail_after(&self, healthy: usize) {
        self.sheet().healthy = Some(healthy);
    }

    /// The power is cut: what may be lost at the end is.
    pub(super) fn cut(&self) {
        let records = &mut self.sheet().records;
        while records.last().is_some_and(Record::may_be_lost) {
            records.pop();
        }
    }
}

impl Journal for Paper {
    fn load(&mut self) -> Result<Ledger, Error> {
        let mut sheet = self.sheet();
        sheet.in_doubt = false;
        // As they would come from a file.
        let text = serde_json::to_string(&sheet.records).unwrap();
        let records: Vec<Record> = serde_json::from_str(&text).unwrap();
        Ledger::read(&records).map_err(|(n, why)| {
            Error::new(Kind::Failed, format!("record {n}: {why}: {:?}", records[n]))
        })
    }

    fn append(&mut self, record: &Record) -> Result<(), Error> {
        let mut sheet = self.sheet();
        assert!(!sheet.in_doubt, "nothing may follow what is in doubt");
        match sheet.healthy {
            Some(0) => sheet.fault = Some(Fault::Refused),
            Some(more) => sheet.healthy = Some(more - 1),
            None => {}
        }
        match sheet.fault {
            None | Some(Fault::Doubted) => sheet.records.push(record.clone()),
            Some(Fault::Refused | Fault::Lost) => {}
        }
        sheet.in_doubt = matches!(sheet.fault, Some(Fault::Doubted | Fault::Lost));
        match sheet.fault {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::Failed, "the journal cannot be written, as told")),
        }
    }

    fn rewrite(&mut self, records: &[Record]) -> Result<(), Error> {
        let mut sheet = self.sheet();
        if sheet.fault.is_some() {
            return Err(Error::new(Kind::Failed, "the journal cannot be rewritten, as told"));
        }
        sheet.records = records.to_vec();
        sheet.in_doubt = false;
        Ok(())
    }

    fn in_doubt(&self) -> bool {
        self.sheet().in_doubt
    }

    fn is_long(&self) -> bool {
        false
    }
}
