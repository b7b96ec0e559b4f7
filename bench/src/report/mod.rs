//! What a run comes out as. Reports show a [`Run`] and know nothing of how it
//! came about, so that one that was written as JSON can be shown again.

mod grid;
mod html;
mod markdown;
pub(crate) mod number;
mod paragraph;
mod plot;
pub(crate) mod table;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

pub(crate) use self::paragraph::wrapped;
use self::plot::{Palette, Plot};
use crate::result::{Absent, Metric, Run};

/// The file of a report that is for programs.
const JSON: &str = "report.json";

/// A plot, and what it is of.
struct Drawn<'a> {
    metric: &'a Metric,
    plot: Plot,
}

/// Makes sure that a report can be written to `folder`, before a long run.
///
/// # Errors
/// The folder is not there and cannot be made, or is none, or is not writable.
pub(crate) fn prepare(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {} for the report", folder.display()))?;
    try_writing(&folder.join(JSON))
}

/// Makes sure that the file at `path` can be written; what is in it stays.
///
/// # Errors
/// It cannot.
pub(crate) fn try_writing(path: &Path) -> Result<()> {
    let is_new = !path.exists();
    let opened = File::options().create(true).append(true).open(path);
    opened.with_context(|| format!("cannot write {}", path.display()))?;
    if is_new {
        match fs::remove_file(path) {
            // Another run that begins has tried as well.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
        }
    }
    Ok(())
}

/// Writes `run` in all formats to `folder`, over what is there; returns the path
/// of the page.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(run: &Run, folder: &Path) -> Result<PathBuf> {
    prepare(folder)?;
    let plots = draw(run);
    let file = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    for Drawn { plot, .. } in &plots {
        file(&plot.file, &plot.document())?;
    }
    file(JSON, &json(run)?)?;
    file("report.md", &markdown::text(run, &plots))?;
    file("report.html", &html::page(run, &plots))
}

/// `run` as it is written to JSON.
///
/// # Errors
/// It cannot be put into JSON.
pub(crate) fn json(run: &Run) -> Result<String> {
    Ok(serde_json::to_string_pretty(run)? + "\n")
}

fn draw(run: &Run) -> Vec<Drawn<'_>> {
    let palette = Palette::new(run);
    let mut taken = BTreeSet::new();
    let mut plots = Vec::new();
    for suite in &run.suites {
        for metric in &suite.metrics {
            let of_metric = plot::of(suite, metric, &palette, &mut taken);
            plots.extend(of_metric.into_iter().map(|plot| Drawn { metric, plot }));
        }
    }
    plots
}

fn title(run: &Run) -> String {
    format!("redirectd, measured on {}", run.date)
}

/// What a reader must know before the first figure.
fn warnings(run: &Run) -> Vec<String> {
    let quick = "This was a quick run (--quick), a test that everything works: its figures mean \
                 nothing and its targets are not judged.";
    let early = run.ended_early.as_ref().map(|reason| {
        format!("The run ended early; what was measured before is here. The reason: {reason}")
    });
    early.into_iter().chain(run.quick.then(|| quick.to_owned())).collect()
}

/// Who was not measured in `run`, and why; `None` if nobody is said to be absent.
pub(crate) fn absences(run: &Run) -> Option<String> {
    let absent = run.suites.iter().flat_map(|suite| &suite.absent).map(absence);
    let sentences: Vec<_> = absent.collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

/// Who was not measured, and why, in a sentence.
fn absence(absent: &Absent) -> String {
    let case = absent.case.as_deref().map(|case| format!(" with {case}")).unwrap_or_default();
    format!("{} was not measured{case}: {}", absent.contestant, absent.reason)
}
