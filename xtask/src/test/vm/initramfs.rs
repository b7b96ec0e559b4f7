//! What the virtual machine starts from: its first process, what that takes to get
//! at the machine's files, and the job.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The modules without which no file of the machine can be read.
const FIRST: [&str; 3] = ["virtio_pci", "9pnet_virtio", "9p"];

/// What is run in the virtual machine.
#[derive(Debug)]
pub(super) struct Job {
    /// Folders that are seen there even below `/tmp`, `/run` and `/var/lib`.
    pub(super) kept: Vec<PathBuf>,
    /// Where it is run.
    pub(super) folder: PathBuf,
    /// The variables it is given.
    pub(super) variables: Vec<(&'static str, String)>,
    /// The program and its arguments.
    pub(super) words: Vec<String>,
}

/// Writes the initramfs to `to`; `files` is what setup has brought.
///
/// # Errors
/// When something of it cannot be read or written.
pub(super) fn write(to: &Path, files: &Path, exit_port: u16, job: &Job) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let root = folder.path();
    let kernel = files.join("kernel");
    let busybox = files.join("busybox/bin/busybox");
    fs::copy(&busybox, root.join("busybox"))
        .with_context(|| format!("cannot copy {}", busybox.display()))?;
    take_modules(&kernel, root)?;
    fs::write(root.join("session.sh"), include_str!("session.sh"))?;
    fs::write(root.join("settings"), settings(&kernel.join("lib/modules"), exit_port, job))?;
    let init = root.join("init");
    fs::write(&init, include_str!("init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(&busybox, root, to)
}

/// The text that init.sh and session.sh read.
fn settings(modules: &Path, exit_port: u16, job: &Job) -> String {
    let kept = job.kept.iter().map(|folder| quoted(&folder.to_string_lossy()));
    let variables = job.variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let words = variables.chain(job.words.iter().map(|word| quoted(word)));
    format!(
        "modules={}\nexit_port={exit_port}\nset -- {}\njob() {{\n  cd {} && env {}\n}}\n",
        quoted(&modules.to_string_lossy()),
        kept.collect::<Vec<_>>().join(" "),
        quoted(&job.folder.to_string_lossy()),
        words.collect::<Vec<_>>().join(" "),
    )
}

/// One word for a shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Copies the first modules and those that they take from `kernel` to `root`.
fn take_modules(kernel: &Path, root: &Path) -> Result<()> {
    let modules = kernel.join("lib/modules");
    let release = fs::read_dir(&modules)?.next().context("there are no modules")??.file_name();
    let (from, to) = (modules.join(&release), root.join("lib/modules").join(&release));
    fs::create_dir_all(&to)?;
    let needs = fs::read_to_string(from.join("modules.dep"))?;
    fs::write(to.join("modules.dep"), &needs)?;
    for module in FIRST {
        let files = needed(&needs, module).with_context(|| format!("no module {module}"))?;
        for file in files {
            let copy = to.join(file);
            fs::create_dir_all(copy.parent().expect("it is in a folder"))?;
            fs::copy(from.join(file), copy)?;
        }
    }
    Ok(())
}

/// The files of `module` and of those that it takes, from the text of
/// `modules.dep`.
fn needed<'a>(needs: &'a str, module: &str) -> Option<impl Iterator<Item = &'a str>> {
    needs.lines().find_map(|line| {
        let (file, others) = line.split_once(':')?;
        let name = file.rsplit('/').next()?.split('.').next()?;
        (name == module).then(|| std::iter::once(file).chain(others.split_whitespace()))
    })
}

fn pack(busybox: &Path, root: &Path, to: &Path) -> Result<()> {
    let archive = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut cpio = Command::new("sh");
    cpio.args(["-c", "cd \"$2\" && \"$1\" find . | \"$1\" cpio -o -H newc", "pack"]);
    cpio.arg(busybox).arg(root).stdout(archive).stderr(Stdio::null());
    ensure!(cpio.status().context("cannot run sh")?.success(), "busybox makes no initramfs");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_any_word_as_it_is() {
        let words = ["plain", "", "two words", "it's $HOME `x` \\ \"", "new\nline"];
        let line = words.map(quoted).join(" ");
        let output = Command::new("sh").args(["-c", &format!("printf '%s|' {line}")]).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(said, words.map(|word| format!("{word}|")).concat());
    }

    #[test]
    fn a_module_is_found_with_those_it_takes() {
        let needs = "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n\
                     kernel/net/9p/9pnet.ko:\n";
        let of = |module| needed(needs, module).map(Iterator::collect::<Vec<_>>);
        let all = vec!["kernel/fs/9p/9p.ko", "kernel/net/9p/9pnet.ko", "kernel/fs/netfs/netfs.ko"];
        assert_eq!(of("9p"), Some(all));
        assert_eq!(of("9pnet"), Some(vec!["kernel/net/9p/9pnet.ko"]));
        assert_eq!(of("net"), None);
    }
}
