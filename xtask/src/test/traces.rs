//! What tests could leave on the machine besides processes: network
//! namespaces, cgroups, BPF pins, BPF programs on the machine's own interfaces, files.

use std::{
    collections::BTreeSet,
    env, fmt, fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// How long the kernel may take to let go of what was closed.
const PATIENCE: Duration = Duration::from_secs(5);

/// One look at the machine.
pub(super) struct Traces(BTreeSet<Trace>);

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trace {
    /// The folder it lies in, or what else lists it.
    place: String,
    name: String,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place, self.name)
    }
}

impl Traces {
    /// Looks now.
    ///
    /// # Errors
    /// When the BPF programs on the interfaces cannot be listed.
    pub(super) fn take() -> Result<Self> {
        let mut seen = BTreeSet::new();
        for place in ["/run/netns", "/run/redirectd", "/sys/fs/bpf", "/var/lib/redirectd"] {
            add_tree(Path::new(place), "", &mut seen);
        }
        add_tree(&env::temp_dir(), "redirectd", &mut seen);
        let cgroups = "/sys/fs/cgroup";
        let mut all = BTreeSet::new();
        add_tree(Path::new(cgroups), "", &mut all);
        seen.extend(all.into_iter().filter(|trace| trace.name.contains("/redirectd-")));
        let place = "bpftool net".to_owned();
        seen.extend(attached()?.into_iter().map(|name| Trace { place: place.clone(), name }));
        Ok(Self(seen))
    }

    /// What there is now and was not before.
    ///
    /// # Errors
    /// As [`Traces::take`].
    pub(super) fn left_behind(&self) -> Result<Vec<Trace>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = Self::take()?.since(self, is_alive);
            if left.is_empty() || Instant::now() > deadline {
                return Ok(left);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What was not there before. The contents of a folder that is listed
    /// itself are left out, and what a living process is using: another run of
    /// the tests, beside this one, puts its process id into its names.
    fn since(&self, before: &Self, is_alive: impl Fn(u32) -> bool) -> Vec<Trace> {
        let new: BTreeSet<_> = self.0.difference(&before.0).cloned().collect();
        let is_inside = |trace: &Trace| {
            trace.name.rsplit_once('/').is_some_and(|(folder, _)| {
                new.contains(&Trace { place: trace.place.clone(), name: folder.to_owned() })
            })
        };
        let in_use = |trace: &Trace| first_number(&trace.name).is_some_and(&is_alive);
        new.iter().filter(|trace| !is_inside(trace) && !in_use(trace)).cloned().collect()
    }
}

/// Adds all that lies in `place`, at any depth, and whose path from there
/// begins with `prefix`.
fn add_tree(place: &Path, prefix: &str, seen: &mut BTreeSet<Trace>) {
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        // What is not there, or goes meanwhile, has left nothing.
        let Ok(entries) = fs::read_dir(place.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let name = Path::new(&folder).join(entry.file_name()).to_string_lossy().into_owned();
            if !name.starts_with(prefix) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(name.clone());
            }
            seen.insert(Trace { place: place.to_string_lossy().into_owned(), name });
        }
    }
}

/// The BPF programs on this namespace's interfaces. Debian 12's bpftool knows
/// XDP and clsact and not TCX; a TCX link lives by its pin or its process, and
/// both are looked for elsewhere.
fn attached() -> Result<Vec<String>> {
    let bpftool = workspace::program("bpftool");
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(bpftool)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(bpftool);
        sudo
    };
    let output = command.args(["net", "show"]).output().context("cannot run bpftool")?;
    ensure!(
        output.status.success(),
        "bpftool net show: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(attachments(&String::from_utf8_lossy(&output.stdout)))
}

/// The lines of `bpftool net show` between its headings.
fn attachments(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.ends_with(':')).map(str::to_owned).collect()
}

fn first_number(name: &str) -> Option<u32> {
    let digits = |c: char| !c.is_ascii_digit();
    name.split(digits).find(|number| !number.is_empty())?.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(names: &[&str]) -> Traces {
        let trace = |name: &&str| Trace { place: "/p".into(), name: (*name).into() };
        Traces(names.iter().map(trace).collect())
    }

    fn left(before: &[&str], after: &[&str]) -> Vec<String> {
        let left = traces(after).since(&traces(before), |pid| pid == 4711);
        left.into_iter().map(|trace| trace.name).collect()
    }

    #[test]
    fn what_was_there_before_was_not_left_behind() {
        assert_eq!(left(&["mine", "gone"], &["mine", "new"]), ["new"]);
    }

    #[test]
    fn a_folder_is_named_without_its_contents() {
        assert_eq!(left(&[], &["pins", "pins/maps", "pins/maps/flows"]), ["pins"]);
        assert_eq!(left(&["pins"], &["pins", "pins/flows"]), ["pins/flows"]);
    }

    #[test]
    fn what_a_living_process_uses_is_its_own() {
        assert_eq!(left(&[], &["test-4711-3", "test-4712-4711"]), ["test-4712-4711"]);
    }

    #[test]
    fn a_tree_is_seen_at_any_depth() {
        let dir = env::temp_dir().join(format!("xtask-traces-{}", std::process::id()));
        fs::create_dir_all(dir.join("redirectd/maps")).unwrap();
        fs::write(dir.join("other"), "").unwrap();
        let mut seen = BTreeSet::new();
        add_tree(&dir, "redirectd", &mut seen);
        fs::remove_dir_all(&dir).unwrap();
        let names: Vec<_> = seen.iter().map(|trace| trace.name.as_str()).collect();
        assert_eq!(names, ["redirectd", "redirectd/maps"]);
    }

    #[test]
    fn bpftools_headings_are_no_programs() {
        let text = "xdp:\neth0(2) driver id 7\n\ntc:\nlo(1) clsact/ingress nat id 9\n\n\
                    flow_dissector:\n\n";
        assert_eq!(attachments(text), ["eth0(2) driver id 7", "lo(1) clsact/ingress nat id 9"]);
    }
}
