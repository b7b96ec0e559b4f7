//! The virtual machine itself: a child of this process, and gone with it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use nix::sys::{prctl, signal::Signal};

use super::accelerator::Accelerator;
use crate::setup::vm;

/// What is written to this port ends the virtual machine: QEMU exits with twice
/// that and one.
pub(super) const EXIT_PORT: u16 = 0xf4;
/// QEMU's status when session.sh says that the job went well. None that QEMU gives
/// of its own accord.
const WENT_WELL: i32 = (0o20 << 1) | 1;
/// The same when it did not.
const FAILED: i32 = (0o21 << 1) | 1;
/// The virtual machine's memory, in MiB. It takes from this machine what it uses.
const MEMORY: u32 = 4096;

/// A virtual machine. Dropping it ends it.
pub(super) struct Machine {
    child: Child,
    lines: Receiver<String>,
}

/// What came next.
pub(super) enum Said {
    /// A line of the job's.
    Line(String),
    /// Nothing until the time that was given.
    Nothing,
    /// It has ended; whether the job went well.
    Ended(bool),
}

impl Machine {
    /// Starts the kernel that setup has brought with this initramfs; what the kernel
    /// says goes to the file `console`.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub(super) fn start(
        accelerator: Accelerator,
        initramfs: &Path,
        console: &Path,
    ) -> Result<Self> {
        let mut qemu = Command::new(vm::qemu());
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.args(accelerator.arguments());
        qemu.args(["-m", &MEMORY.to_string(), "-smp", &accelerator.processors().to_string()]);
        qemu.arg("-kernel").arg(the_kernel()?).arg("-initrd").arg(initramfs);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.args(["-chardev", "stdio,id=job,signal=off", "-serial", "chardev:job"]);
        let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1");
        qemu.args(["-device", &exit]);
        qemu.args(["-fsdev", FILES, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only prctl is called, which is
        // async-signal-safe and touches no memory of ours.
        unsafe {
            qemu.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut child =
            qemu.spawn().with_context(|| format!("cannot run {}", vm::qemu().display()))?;
        let lines = lines(child.stdout.take().expect("it is piped"));
        Ok(Self { child, lines })
    }

    /// What it says until `deadline`.
    ///
    /// # Errors
    /// When it ends without a word on the job.
    pub(super) fn next(&mut self, deadline: Instant) -> Result<Said> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Said::Line(line)),
            Err(RecvTimeoutError::Timeout) => Ok(Said::Nothing),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().context("cannot wait for QEMU")?;
                Ok(Said::Ended(verdict(status)?))
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The machine's files, to be read only. Their ids are kept apart where they lie on
/// several file systems.
const FILES: &str = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap";

/// What a status of QEMU's says of the job.
fn verdict(status: ExitStatus) -> Result<bool> {
    match status.code() {
        Some(WENT_WELL) => Ok(true),
        Some(FAILED) => Ok(false),
        _ => bail!("the virtual machine ended without a word on the tests ({status})"),
    }
}

/// The kernel's file.
fn the_kernel() -> Result<PathBuf> {
    let folder = vm::files().join("kernel/boot");
    let entry = fs::read_dir(&folder).ok().and_then(|mut entries| entries.next());
    let entry = entry.with_context(|| format!("there is no kernel in {}", folder.display()))?;
    Ok(entry?.path())
}

/// The lines that come out of it.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn only_the_job_says_how_it_went() {
        let verdict = |code: i32| verdict(ExitStatus::from_raw(code << 8)).ok();
        assert_eq!((verdict(33), verdict(35)), (Some(true), Some(false)));
        // QEMU's own, and that of a kernel that has given up.
        assert_eq!((verdict(1), verdict(0), verdict(3)), (None, None, None));
    }
}
