//! Reports of a fixed run.
