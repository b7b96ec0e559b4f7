//! What else is different between two runs, and may be what a change comes from.

use crate::result::{Run, Suite};

/// One sentence for each.
pub(super) fn warnings(before: &Run, after: &Run) -> Vec<String> {
    let mut warnings = Vec::new();
    for (which, run) in [("first", before), ("second", after)] {
        if let Some(reason) = &run.ended_early {
            warnings.push(format!("the {which} run ended early: {reason}"));
        }
    }
    let (old, new) = (before.machine.lines(), after.machine.lines());
    warnings.extend(differences("machine", &old, &new));
    for suite in &after.suites {
        let same = |other: &&Suite| other.name == suite.name;
        if let Some(old) = before.suites.iter().find(same) {
            warnings.extend(differences(&suite.name, &old.parameters, &suite.parameters));
        }
    }
    warnings
}

/// The entries of two lists whose values are not the same. A new version of
/// redirectd is what one compares for, and no reason for doubt.
fn differences(of: &str, old: &[(String, String)], new: &[(String, String)]) -> Vec<String> {
    let value = |list: &[(String, String)], name: &str| {
        list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let mut names: Vec<&String> = old.iter().chain(new).map(|(name, _)| name).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.as_str()) && *name != "redirectd");
    names
        .into_iter()
        .filter_map(|name| {
            let (old, new) = (value(old, name), value(new, name));
            let shown = |value: Option<String>| value.unwrap_or_else(|| "not stated".into());
            (old != new)
                .then(|| format!("{of}: {name} was “{}” and is “{}”", shown(old), shown(new)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::fixture;

    #[test]
    fn the_same_conditions_give_no_warning() {
        assert_eq!(warnings(&fixture::whole_run(), &fixture::whole_run()), Vec::<String>::new());
    }

    #[test]
    fn another_kernel_and_another_parameter_are_told() {
        let (old, mut new) = (fixture::whole_run(), fixture::whole_run());
        new.machine.kernel = "9.9".into();
        new.suites[0].parameters[0].1 = "other".into();
        let warnings = warnings(&old, &new);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("machine: kernel was") && warnings[0].contains("9.9"));
        assert!(warnings[1].starts_with("paper: ") && warnings[1].contains("other"));
    }

    #[test]
    fn a_run_that_ended_early_is_told() {
        let warnings = warnings(&fixture::run(), &fixture::whole_run());
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("the first run ended early"));
    }
}
