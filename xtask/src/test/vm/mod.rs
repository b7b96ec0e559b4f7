//! `cargo xtask test --kernel debian`: tests of our own engine in a virtual machine
//! with Debian's kernel, which can what the machine's own may not.
//!
//! The test program is the one that Cargo builds here. The virtual machine sees
//! this machine's files and cannot change them; all that is written there goes
//! with it.

mod accelerator;
mod initramfs;
mod machine;

use std::{
    env, fs, io,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask::lab::SLOWER;

use self::{
    accelerator::Accelerator,
    initramfs::Job,
    machine::{EXIT_PORT, Machine, Said},
};
use super::summary::Summary;
use crate::{
    progress::{self, Seconds},
    setup::{self, Purpose, vm},
    workspace,
};

/// The tests that are run unless others are named: those that take what this kernel
/// can.
const TESTS: [&str; 3] = ["probe::", "precopy::", "ahead::"];
/// Tells a test that the kernel tracks memory; one that finds it does not fails.
const TRACKS_MEMORY: &str = "REDIRECTD_TEST_TRACKS_MEMORY";
/// Where programs are found: those of the system, as people's own may be slow scripts.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What the virtual machine says first.
const UP: &str = "up: ";
/// How long it may take to say that with KVM, before that is given up.
const TO_START: Duration = Duration::from_secs(90);
/// How long it may take for all: translated on a busy machine, many times what it takes
/// on an idle one.
const IN_ALL: Duration = Duration::from_secs(900);

/// Builds the tests and runs those whose names have one of `names` in them.
///
/// # Errors
/// When setup, the build, the virtual machine or a test fails, or no test ran.
pub(super) fn run(names: &[String]) -> Result<()> {
    setup::ensure(Purpose::OtherKernel)?;
    let start = Instant::now();
    progress::stage("cargo test --no-run");
    let program = build()?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (initramfs, console) = (folder.path().join("initramfs"), folder.path().join("console"));
    initramfs::write(&initramfs, &vm::files(), EXIT_PORT, &job(&program, names))?;

    let best = Accelerator::best();
    let mut ended = boot(best, &initramfs, &console)?;
    if ended.is_none() && best == Accelerator::Kvm {
        ended = boot(Accelerator::Tcg, &initramfs, &console)?;
    }
    let Some((passed, summary)) = ended else { bail!("the virtual machine does not start") };
    println!("tests: {summary}, in {}", Seconds(start.elapsed()));
    ensure!(passed, "some tests failed");
    summary.check()
}

/// Builds the test program and gives its file.
fn build() -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--locked", "--package", "redirectd", "--test", "engine", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    test_program(&text).context("cargo does not tell where the tests are")
}

/// The test program that Cargo has built, from its messages.
fn test_program(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["target"]["kind"][0] == "test")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// The job of running these tests.
fn job(program: &Path, names: &[String]) -> Job {
    let mut words = vec![program.display().to_string()];
    if names.is_empty() {
        words.extend(TESTS.map(str::to_owned));
    } else {
        words.extend_from_slice(names);
    }
    let color = if io::stdout().is_terminal() { "always" } else { "never" };
    words.extend(["--show-output", "--color", color].map(str::to_owned));
    let mut variables = vec![
        ("PATH", PATH.to_owned()),
        ("HOME", "/tmp".to_owned()),
        (TRACKS_MEMORY, "1".to_owned()),
        // That a kernel there looks at our programs takes some ten seconds.
        (SLOWER, "6".to_owned()),
    ];
    if let Ok(backtrace) = env::var("RUST_BACKTRACE") {
        variables.push(("RUST_BACKTRACE", backtrace));
    }
    let kept = vec![workspace::root().to_owned(), workspace::target_dir()];
    Job { kept, folder: workspace::root().join("redirectd"), variables, words }
}

/// Runs the virtual machine to its end and shows what the tests print. Gives whether
/// they passed; nothing if it does not start.
fn boot(
    accelerator: Accelerator,
    initramfs: &Path,
    console: &Path,
) -> Result<Option<(bool, Summary)>> {
    progress::stage(&format!("a virtual machine, by {accelerator}"));
    let mut machine = Machine::start(accelerator, initramfs, console)?;
    let (start, mut summary, mut is_up) = (Instant::now(), Summary::default(), false);
    loop {
        let waits = !is_up && accelerator == Accelerator::Kvm;
        let limit = if waits { TO_START } else { IN_ALL };
        let problem = match machine.next(start + limit) {
            Ok(Said::Line(line)) if !is_up && line.starts_with(UP) => {
                is_up = true;
                eprintln!("    {} after {}", line, Seconds(start.elapsed()));
                continue;
            }
            Ok(Said::Line(line)) => {
                summary.read(&line);
                writeln!(io::stdout(), "{line}")?;
                continue;
            }
            Ok(Said::Ended(passed)) if is_up => return Ok(Some((passed, summary))),
            Ok(Said::Ended(_)) => "it ended before it was up".to_owned(),
            Ok(Said::Nothing) => format!("it took longer than {}", Seconds(limit)),
            Err(error) => format!("{error:#}"),
        };
        eprintln!("    {problem}; the kernel said last:");
        let said = fs::read(console).unwrap_or_default();
        for line in progress::last_lines(&String::from_utf8_lossy(&said)) {
            eprintln!("    {line}");
        }
        ensure!(!is_up, "{problem}");
        return Ok(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found_in_cargos_messages() {
        let message = |kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"]}},"executable":{executable}}}"#
            )
        };
        let messages = [
            "not json".to_owned(),
            message("lib", "null"),
            message("bin", "\"/t/debug/redirectd\""),
            message("test", "\"/t/debug/deps/engine-1\""),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let found = test_program(&messages.join("\n"));
        assert_eq!(found, Some(PathBuf::from("/t/debug/deps/engine-1")));
        assert_eq!(test_program(&messages[..3].join("\n")), None);
    }

    #[test]
    fn the_names_that_are_given_replace_the_usual_ones() {
        let words = |names: &[String]| job(Path::new("/t/engine"), names).words;
        assert_eq!(words(&[])[..4], ["/t/engine", "probe::", "precopy::", "ahead::"]);
        assert_eq!(words(&["lazy".to_owned()])[..3], ["/t/engine", "lazy", "--show-output"]);
    }
}
