//! The files that a tree has open, runs, or is in.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::sys::stat::{major, minor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    descriptors::{Descriptor, Open},
    maps::Mapping,
    sockets::Holder,
    tree::Tree,
};

/// A file that processes of a tree use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedFile {
    /// Where it is, or was before it was deleted, as its processes see it.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// It is not at its path any more.
    pub deleted: bool,
    /// Deleted there, it still has another path, which nobody tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
    /// It lies where files are that nobody keeps.
    pub temporary: bool,
    /// In bytes.
    pub size: u64,
    /// Somebody of the tree may write to it.
    pub written: bool,
    /// Who has it open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<Holder>,
    /// Who runs it, or has it mapped into memory, by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mapped: Vec<i32>,
    /// Whose current or root folder it is, by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folder_of: Vec<i32>,
    /// What it holds, as `sha256sum` prints it; where that was asked for, of files
    /// that have to be there already wherever the tree goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A folder.
    Folder,
    /// A pipe with a path.
    Pipe,
    /// Something that the kernel makes up, below `/proc` or `/sys`.
    Kernel,
    /// A terminal.
    Terminal,
    /// The other side of terminals, as terminal emulators have it.
    TerminalMaster,
    /// A device that every machine has, such as `/dev/null`.
    HarmlessDevice,
    /// Any other device.
    Device,
    /// Anything else.
    Other,
}

impl UsedFile {
    /// Whether it has to be there already, wherever the tree goes; if not, it can
    /// be carried along, or is no matter of files.
    #[must_use]
    pub fn must_exist(&self) -> bool {
        let lasting = !self.deleted && !self.temporary;
        matches!(self.kind, FileKind::File | FileKind::Folder | FileKind::Pipe) && lasting
    }
}

/// Folders of files that nobody keeps.
const TEMPORARY: [&str; 3] = ["/tmp/", "/var/tmp/", "/dev/shm/"];

/// A file and the link of `/proc` that leads to it, even if no path does.
struct Seen {
    file: UsedFile,
    link: PathBuf,
}

/// The files of `tree`, with what they hold if `hash`.
///
/// Files that are closed meanwhile are left out.
pub(super) fn of(
    tree: &Tree,
    descriptors: &[Descriptor],
    mappings: &[Mapping],
    hash: bool,
) -> Vec<UsedFile> {
    let mut files = Files::default();
    for &Descriptor { pid, fd, ref open, writable } in descriptors {
        if let Open::Path(path) = open {
            let link = format!("/proc/{pid}/fd/{fd}");
            files.note(pid, &path.to_string_lossy(), link.into(), |file| {
                file.open.push(Holder { pid, fd });
                file.written |= writable;
            });
        }
    }
    for mapping in mappings.iter().filter(|mapping| is_file(mapping)) {
        let Mapping { pid, address: (first, after), ref path, .. } = *mapping;
        let link = format!("/proc/{pid}/map_files/{first:x}-{after:x}");
        files.note(pid, path, link.into(), |file| {
            if !file.mapped.contains(&pid) {
                file.mapped.push(pid);
            }
            file.written |= mapping.shared && mapping.writable;
        });
    }
    for process in tree.running() {
        for what in ["cwd", "root"] {
            let link = PathBuf::from(format!("/proc/{}/{what}", process.pid));
            if let Ok(path) = fs::read_link(&link) {
                files.note(process.pid, &path.to_string_lossy(), link, |file| {
                    if !file.folder_of.contains(&process.pid) {
                        file.folder_of.push(process.pid);
                    }
                });
            }
        }
    }
    files.finish(hash)
}

/// Memory without a file has a path as well.
fn is_file(mapping: &Mapping) -> bool {
    let memory = ["/dev/zero (deleted)", "/memfd:", "/SYSV", "/anon_hugepage", "/[aio]"];
    mapping.path.starts_with('/')
        && mapping.object.system_v.is_none()
        && !memory.iter().any(|start| mapping.path.starts_with(start))
}

#[derive(Default)]
struct Files(BTreeMap<(String, u64), Seen>);

impl Files {
    /// Notes that process `pid` uses the file that the kernel calls `told` and
    /// that `link` leads to.
    fn note(&mut self, pid: i32, told: &str, link: PathBuf, how: impl FnOnce(&mut UsedFile)) {
        let (path, said_deleted) = match told.strip_suffix(" (deleted)") {
            Some(path) => (path, true),
            None => (told, false),
        };
        let by_path = PathBuf::from(format!("/proc/{pid}/root{path}"));
        // Links to mapped files are for whoever may checkpoint processes.
        let (link, metadata) = match fs::metadata(&link) {
            Ok(metadata) => (link, metadata),
            Err(_) => match fs::metadata(&by_path) {
                Ok(metadata) if !said_deleted => (by_path.clone(), metadata),
                _ => return,
            },
        };
        let inode = metadata.ino();
        let seen = self.0.entry((path.to_owned(), inode)).or_insert_with(|| {
            let there = fs::metadata(&by_path).is_ok_and(|there| there.ino() == inode);
            // A file may really be called so.
            let deleted = metadata.nlink() == 0 || (said_deleted && !there);
            let elsewhere = deleted && metadata.nlink() > 0;
            let described = describe(path, &metadata);
            Seen { file: UsedFile { deleted, elsewhere, ..described }, link }
        });
        how(&mut seen.file);
    }

    fn finish(self, hash: bool) -> Vec<UsedFile> {
        let finish = |mut seen: Seen| {
            if hash && seen.file.must_exist() && seen.file.kind == FileKind::File {
                seen.file.sha256 = sha256(&seen.link).ok();
            }
            seen.file
        };
        self.0.into_values().map(finish).collect()
    }
}

fn describe(path: &str, metadata: &Metadata) -> UsedFile {
    UsedFile {
        path: path.to_owned(),
        kind: kind(path, metadata),
        deleted: false,
        elsewhere: false,
        temporary: TEMPORARY.iter().any(|folder| path.starts_with(folder)),
        size: metadata.len(),
        written: false,
        open: Vec::new(),
        mapped: Vec::new(),
        folder_of: Vec::new(),
        sha256: None,
    }
}

/// What the file at `path` is.
pub(super) fn kind(path: &str, metadata: &Metadata) -> FileKind {
    let file_type = metadata.file_type();
    if file_type.is_char_device() || file_type.is_block_device() {
        let number = metadata.rdev();
        device_kind(file_type.is_char_device(), major(number), minor(number))
    } else if path.starts_with("/proc/") || path.starts_with("/sys/") {
        FileKind::Kernel
    } else if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Folder
    } else if file_type.is_fifo() {
        FileKind::Pipe
    } else {
        FileKind::Other
    }
}

/// By the numbers of the kernel's `Documentation/admin-guide/devices.txt`.
fn device_kind(character: bool, major: u64, minor: u64) -> FileKind {
    match (character, major, minor) {
        // null, zero, full, random, urandom, kmsg
        (true, 1, 3 | 5 | 7 | 8 | 9 | 11) => FileKind::HarmlessDevice,
        (true, 5, 2) => FileKind::TerminalMaster,
        // ttys, tty and console, Unix98 pseudoterminals
        (true, 4 | 5 | 136..=143, _) => FileKind::Terminal,
        _ => FileKind::Device,
    }
}

/// What the file at `path` holds, as `sha256sum` prints it.
///
/// # Errors
/// It cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut DigestWriter(&mut digest))?;
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct DigestWriter<'a>(&'a mut Sha256);

impl io::Write for DigestWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_their_numbers() {
        assert_eq!(device_kind(true, 1, 3), FileKind::HarmlessDevice);
        assert_eq!(device_kind(true, 136, 7), FileKind::Terminal);
        assert_eq!(device_kind(true, 5, 0), FileKind::Terminal);
        assert_eq!(device_kind(true, 5, 2), FileKind::TerminalMaster);
        assert_eq!(device_kind(true, 1, 1), FileKind::Device, "/dev/mem");
        assert_eq!(device_kind(false, 1, 3), FileKind::Device, "/dev/ram3");
    }

    #[test]
    fn what_a_file_holds_is_told_as_by_sha256sum() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(file.path()).unwrap(), expected);
    }
}
