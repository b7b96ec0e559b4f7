//! Memory is put into huge pages before it is left behind, and stays what it was.

use std::{
    cell::Cell,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use redirectd::migrate::criu::huge;
use xtask::lab::until;

/// Has 16 MiB that are all there, and 16 MiB of which every other page is; says at each
/// line it reads whether all of that is as it was.
const PROGRAM: &str = "\
import mmap, os, sys
size, page = 16 << 20, 4096
whole, sparse = (mmap.mmap(-1, size, mmap.MAP_PRIVATE) for _ in range(2))
seed = os.urandom(64)
def content(n):
    return n.to_bytes(8, 'big') + seed
for n in range(size // page):
    whole[n * page:n * page + 72] = content(n)
    if n % 2 == 0:
        sparse[n * page:n * page + 72] = content(n)
print('ready', flush=True)
for line in sys.stdin:
    right = all(whole[n * page:n * page + 72] == content(n) for n in range(size // page))
    right &= all(sparse[n * page:n * page + 72] == content(n) for n in range(0, size // page, 2))
    print(right, flush=True)
";
/// Has room for 1 GiB, and none of that is there.
const EMPTY: &str = "\
import mmap, sys
NORESERVE = 0x4000
empty = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | NORESERVE)
print('ready', flush=True)
sys.stdin.read()
";
/// What of the memory that is all there lies between boundaries of 2 MiB, in KiB.
const WHOLE: u64 = 14 << 10;
/// What filling half of what is missing would add, in KiB.
const MUCH: u64 = 4 << 10;

const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// How long the kernel may take to find room, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Program {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start() -> Result<Self> {
        Self::run(PROGRAM)
    }

    fn run(program: &str) -> Result<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("python3 does not start")?;
        let to = child.stdin.take().context("no way to it")?;
        let from = BufReader::new(child.stdout.take().context("no way from it")?);
        let mut program = Self { child, to, from };
        ensure!(program.line()? == "ready", "it is ready");
        Ok(program)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// A sum of `smaps_rollup`, in KiB.
    fn sum(&self, name: &str) -> Result<u64> {
        let sums = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = sums.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.context("no such sum")?.trim().trim_end_matches("kB").trim().parse()?)
    }
}

/// Not against the administrator's word.
fn may() -> bool {
    !fs::read_to_string(ENABLED).is_ok_and(|said| said.contains("[never]"))
}

#[test]
fn memory_that_is_all_there_comes_into_huge_pages_and_no_other() -> Result<()> {
    let mut program = Program::start()?;
    let before = program.sum("Rss")?;
    let wanted = if may() { WHOLE } else { 0 };
    let pid = program.child.id().cast_signed();
    // Until the kernel has found room for all.
    until(PATIENCE, "memory is in huge pages", || {
        huge::gather([pid], huge::LONGEST, &|| true);
        program.sum("AnonHugePages").ok().filter(|huge| *huge >= wanted)
    })?;
    let after = program.sum("Rss")?;
    ensure!(after < before + MUCH, "{before} KiB have become {after}");
    program.to.write_all(b"\n")?;
    assert_eq!(program.line()?, "True");
    Ok(())
}

#[test]
fn what_is_not_wanted_any_more_is_left_alone() -> Result<()> {
    let program = Program::start()?;
    let before = program.sum("AnonHugePages")?;
    huge::gather([program.child.id().cast_signed()], huge::LONGEST, &|| false);
    assert_eq!(program.sum("AnonHugePages")?, before);
    Ok(())
}

/// The process goes on, and what is in small pages stays there.
#[test]
fn when_its_time_is_up_it_ends() -> Result<()> {
    let mut program = Program::start()?;
    let before = program.sum("AnonHugePages")?;
    huge::gather([program.child.id().cast_signed()], Duration::ZERO, &|| true);
    assert_eq!(program.sum("AnonHugePages")?, before);
    program.to.write_all(b"\n")?;
    assert_eq!(program.line()?, "True");
    Ok(())
}

/// Nor is it looked for without end where none is.
#[test]
fn it_ends_in_memory_that_is_not_there_too() -> Result<()> {
    let program = Program::run(EMPTY)?;
    let asked = Cell::new(0);
    let wanted = || {
        asked.set(asked.get() + 1);
        asked.get() < 16
    };
    huge::gather([program.child.id().cast_signed()], huge::LONGEST, &wanted);
    assert_eq!(asked.get(), if may() { 16 } else { 0 });
    Ok(())
}
