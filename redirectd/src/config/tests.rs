//! What the files may say, and what is said of them when they may not.

mod errors;
mod meaning;
mod properties;

use super::{Config, assemble, files::Source};
use crate::error::Error;

/// The configuration of files given as (name, text), the first being the main
/// file.
fn parse(files: &[(&str, &str)]) -> Result<Config, Error> {
    let sources: Vec<Source> =
        files.iter().map(|(name, text)| Source::new(name, text.as_bytes()).unwrap()).collect();
    assemble::config(&sources)
}
