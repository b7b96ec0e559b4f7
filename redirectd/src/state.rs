//! Where the redirects that were made through the API survive a restart.
//!
//! [`Store`] is the seam behind which a cluster's shared store may come later;
//! [`FileStore`] keeps them in the state directory. A change takes two steps, so
//! that what is likely to fail fails before the kernel is touched:
//! [`Store::stage`] prepares, [`Store::commit`] puts in force. A crash between
//! the two leaves the old contents, which the next start restores in the kernel;
//! whoever asked for the change was not told that it was done.

mod file;

pub use self::file::FileStore;
use crate::{
    dataplane::Change,
    error::Error,
    rule::{Redirect, RedirectSet},
};

/// Keeps the desired redirects that are not in a configuration file.
pub trait Store: Send {
    /// All redirects that were committed last; none when nothing ever was. Called
    /// once, before anything is staged.
    ///
    /// # Errors
    /// The contents cannot be read, or are damaged. Nothing is changed then.
    fn load(&mut self) -> Result<Vec<Redirect>, Error>;

    /// Prepares for `changes`, after which `all` will be what is kept.
    ///
    /// # Errors
    /// It cannot be written. What is in force stays.
    fn stage(&mut self, changes: &[Change], all: &RedirectSet) -> Result<(), Error>;

    /// Puts what was staged in force, for good: it survives a loss of power.
    ///
    /// # Errors
    /// It cannot be written. What was in force stays.
    fn commit(&mut self) -> Result<(), Error>;

    /// Forgets what was staged.
    fn discard(&mut self);
}
