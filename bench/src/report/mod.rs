//! What a run comes out as. Reports show a [`Run`] and know nothing of how it
//! came about.

mod table;
pub(crate) mod terminal;
