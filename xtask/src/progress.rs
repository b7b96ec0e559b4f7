//! What the tasks show while they work.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::Path,
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How much of a failed program's output is shown.
const SHOWN_LINES: usize = 30;

/// Announces a stage of the work.
pub(crate) fn stage(title: &str) {
    if io::stderr().is_terminal() {
        eprintln!("\x1b[1;32m==>\x1b[0m \x1b[1m{title}\x1b[0m");
    } else {
        eprintln!("==> {title}");
    }
}

/// Runs a program that talks much. It is shown as a stage with its time; its
/// output goes to `log`, and the end of that is shown if the program fails.
///
/// # Errors
/// When it cannot be run, or fails.
pub(crate) fn run_logged(title: &str, command: &mut Command, log: &Path) -> Result<()> {
    stage(title);
    fs::create_dir_all(log.parent().expect("a log lies in a folder"))?;
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file);
    let start = Instant::now();
    let status = wait_visibly(command, start)?;
    if status.success() {
        eprintln!("    done in {}", Seconds(start.elapsed()));
        return Ok(());
    }
    let output = fs::read(log).unwrap_or_default();
    for line in last_lines(&String::from_utf8_lossy(&output)) {
        eprintln!("    {line}");
    }
    bail!("{title} failed ({status}); all it said is in {}", log.display());
}

/// Waits for `command`; on a terminal, with a clock that runs.
fn wait_visibly(command: &mut Command, start: Instant) -> Result<ExitStatus> {
    let program = command.get_program().display().to_string();
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    if !io::stderr().is_terminal() {
        return Ok(child.wait()?);
    }
    loop {
        if let Some(status) = child.try_wait()? {
            eprint!("\r\x1b[K");
            return Ok(status);
        }
        eprint!("\r    {}", Seconds(start.elapsed()));
        io::stderr().flush()?;
        thread::sleep(Duration::from_millis(250));
    }
}

/// The last of some lines.
pub(crate) fn last_lines(text: &str) -> VecDeque<&str> {
    let mut lines = VecDeque::with_capacity(SHOWN_LINES + 1);
    for line in text.lines() {
        lines.push_back(line);
        if lines.len() > SHOWN_LINES {
            lines.pop_front();
        }
    }
    lines
}

/// A duration in whole seconds, as `42 s` or `3 min 5 s`.
pub(crate) struct Seconds(pub(crate) Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..60 => write!(f, "{seconds} s"),
            seconds => write!(f, "{} min {} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_output_is_shown() {
        let text: Vec<String> = (1..=40).map(|n| format!("line {n}")).collect();
        let text = text.join("\n");
        let shown = last_lines(&text);
        assert_eq!(shown.len(), SHOWN_LINES);
        assert_eq!((shown.front(), shown.back()), (Some(&"line 11"), Some(&"line 40")));
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!(Seconds(Duration::from_millis(900)).to_string(), "0 s");
        assert_eq!(Seconds(Duration::from_secs(185)).to_string(), "3 min 5 s");
    }

    #[test]
    fn a_failing_program_is_an_error_that_names_its_log() {
        let dir = std::env::temp_dir().join(format!("xtask-progress-{}", std::process::id()));
        let log = dir.join("log");
        let error =
            run_logged("testing", Command::new("sh").args(["-c", "echo why; exit 3"]), &log)
                .unwrap_err()
                .to_string();
        let logged = fs::read_to_string(&log).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!(error.contains("exit status: 3") && error.contains("/log"), "{error}");
        assert_eq!(logged, "why\n");
    }
}
