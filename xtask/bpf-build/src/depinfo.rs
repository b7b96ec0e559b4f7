//! Reads the list of sources that Cargo writes beside each binary (`NAME.d`,
//! in make's syntax: `binary: source source …`, with spaces escaped by `\`).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The sources that the list in `text` names: the program's own files and those
/// of the workspace's crates it depends on.
pub(crate) fn sources(text: &str) -> BTreeSet<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, sources)| split_unescaped(sources))
        .map(PathBuf::from)
        .collect()
}

/// The manifests that the build of `sources` follows: that of each package, and
/// the workspace's with its lock file.
pub(crate) fn manifests(workspace: &Path, sources: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    sources
        .iter()
        .filter_map(|source| {
            source.ancestors().skip(1).map(|dir| dir.join("Cargo.toml")).find(|file| file.is_file())
        })
        .chain([workspace.join("Cargo.toml"), workspace.join("Cargo.lock")])
        .collect()
}

fn split_unescaped(list: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words.last_mut().expect("never empty").extend(chars.next()),
            ' ' => words.push(String::new()),
            _ => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_found_once() {
        let text = "/t/bpf/prog: /w/ebpf/src/main.rs /w/ebpf/src/abi.rs /w/ebpf/src/abi.rs\n";
        let expected = ["/w/ebpf/src/abi.rs", "/w/ebpf/src/main.rs"].map(PathBuf::from);
        assert_eq!(sources(text), BTreeSet::from(expected));
    }

    #[test]
    fn a_space_in_a_path_is_part_of_it() {
        let text = r"/t/prog: /my\ work/main.rs /w/lib.rs";
        let expected = ["/my work/main.rs", "/w/lib.rs"].map(PathBuf::from);
        assert_eq!(sources(text), BTreeSet::from(expected));
    }

    #[test]
    fn a_source_brings_its_packages_manifest_and_the_workspaces() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = package.ancestors().nth(2).unwrap();
        let found = manifests(workspace, &BTreeSet::from([package.join("src/lib.rs")]));
        let expected = [
            package.join("Cargo.toml"),
            workspace.join("Cargo.toml"),
            workspace.join("Cargo.lock"),
        ];
        assert_eq!(found, BTreeSet::from(expected));
    }
}
