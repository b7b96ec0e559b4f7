//! Programs that are compiled for a test.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};

/// Compiles `source` to `program`, beside which it is put.
pub(super) fn compile(source: &str, options: &[&str], program: &Path) -> Result<()> {
    let file = program.with_extension("rs");
    fs::write(&file, source)?;
    let mut rustc = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
    let rustc = rustc.arg("--edition=2024").args(options).arg("-o").arg(program).arg(&file);
    let compiled = rustc.output()?;
    ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Ok(())
}
