//! A run that was written as JSON, read again.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Run, VERSION};

impl Run {
    /// The run in the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is no run of the bench, or one of another version.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        Self::from_json(&text).with_context(|| format!("{shown} cannot be used"))
    }

    fn from_json(text: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(text).context("it is not JSON")?;
        match value.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => bail!(
                "it is of version {version} of the bench's JSON and this bench reads version \
                 {VERSION}; measure again, or use the bench that wrote it"
            ),
            None => bail!("it has no version: give it the report.json of a run of the bench"),
        }
        serde_json::from_value(value).context("it is no run of the bench, or a damaged one")
    }
}

/// Numbers, of which JSON cannot have those that are none (nothing over nothing).
pub(super) fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let numbers = Vec::<Option<f64>>::deserialize(from)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let run = fixture::run();
        assert_eq!(Run::from_json(&serde_json::to_vec(&run).unwrap()).unwrap(), run);
    }

    /// Runs from before causes were stated are of the same version.
    #[test]
    fn a_target_without_a_cause_is_read() {
        let mut run = fixture::run();
        run.suites[0].targets.iter_mut().for_each(|target| target.cause = None);
        let text = serde_json::to_string(&run).unwrap();
        assert!(!text.contains("cause"), "{text}");
        assert_eq!(Run::from_json(text.as_bytes()).unwrap(), run);
    }

    #[test]
    fn what_is_no_number_does_not_spoil_the_run() {
        let mut run = fixture::run();
        run.suites[0].metrics[0].cases[0].series[0].rounds[0] = f64::NAN;
        let again = Run::from_json(&serde_json::to_vec(&run).unwrap()).unwrap();
        let rounds = &again.suites[0].metrics[0].cases[0].series[0].rounds;
        assert!(rounds[0].is_nan() && rounds[1] == 101.0, "{rounds:?}");
    }

    #[test]
    fn what_is_no_run_of_this_version_is_refused_with_the_reason() {
        let refused = |text: &str| format!("{:#}", Run::from_json(text.as_bytes()).unwrap_err());
        assert!(refused("{\"version\": 1}").contains("version 1"));
        assert!(refused("{}").contains("report.json"));
        assert!(refused("<html>").contains("not JSON"));
        assert!(refused("{\"version\": 2}").contains("no run of the bench"));
    }
}
