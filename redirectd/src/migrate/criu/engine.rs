//! Writing a tree of processes down, and reviving it.

use std::{
    ffi::OsString,
    fmt, fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    failure,
    messages::{self, CgroupMode, NetworkLock, Notify, Options, Request, RequestType, Response},
    pipes::Pipes,
    remnants,
    worker::Worker,
};
use crate::error::{Error, Kind};

/// The largest deleted file that goes along with a process, in bytes. It is
/// written while the process is frozen, so not without limit.
const GHOST_LIMIT: u32 = 256 << 20;
/// CRIU's errors and warnings, which is what people are told.
const LOG_LEVEL: i32 = 2;

/// What CRIU calls the stage at which it offers memory that was left behind.
pub(super) const OFFERED: &str = "status-ready";

/// The CRIU of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criu {
    words: Vec<OsString>,
}

/// A version of CRIU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second one.
    pub minor: u32,
}

/// What CRIU can do with this machine's kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Memory may be copied in rounds while the processes still run.
    pub tracks_memory: bool,
    /// Processes may run before their memory is there.
    pub lazy_pages: bool,
    /// Memory cannot be left behind: CRIU may have no pipe that is large enough for it.
    #[serde(default)]
    pub narrow_pipes: bool,
}

/// A tree of processes to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Its root, by its number in CRIU's PID namespace.
    pub pid: i32,
    /// The folder for the images and CRIU's log; it must be there.
    pub images: PathBuf,
    /// Its terminal belongs to a shell that stays behind.
    pub shell_job: bool,
}

/// How far a dump is. All processes go on unharmed unless the last stage is
/// answered well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpStage {
    /// CRIU is ready, the processes still run (`pre-dump`).
    Running,
    /// The processes are frozen, nothing is written (`query-ext-files`): from
    /// here on their packets must be held.
    Frozen,
    /// All is written, the processes are still frozen and alive (`post-dump`).
    /// Answered well, they are killed, silently for their peers: **the commit
    /// at home**. Otherwise they run on.
    Written,
}

/// Images of a tree of processes to be revived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The folder of the images; CRIU writes its log there.
    pub images: PathBuf,
    /// As in [`Dump`].
    pub shell_job: bool,
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreStage {
    /// Nothing is made yet (`pre-restore`).
    Begun,
    /// The processes are there, their sockets still silent (`post-restore`). When
    /// this is answered, they speak: the way back to the peers must be prepared by
    /// then, or connections are reset. Here is the last chance to say no.
    Revived {
        /// The root of the tree.
        pid: i32,
    },
    /// The sockets speak, the processes do not run yet (`pre-resume`): by now at
    /// the latest the redirects lead to this host.
    Resuming {
        /// The root of the tree.
        pid: i32,
    },
    /// The processes run (`post-resume`).
    Resumed {
        /// The root of the tree.
        pid: i32,
    },
}

impl Version {
    /// The oldest that works: older ones fail on the TCP sockets of Linux 6.16
    /// and later.
    pub const OLDEST: Self = Self { major: 4, minor: 2 };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl DumpStage {
    pub(super) fn of(notify: &Notify) -> Option<Self> {
        match notify.script.as_deref()? {
            "pre-dump" => Some(Self::Running),
            "query-ext-files" => Some(Self::Frozen),
            "post-dump" => Some(Self::Written),
            _ => None,
        }
    }
}

impl RestoreStage {
    pub(super) fn of(notify: &Notify) -> Option<Self> {
        let pid = notify.pid.unwrap_or_default();
        match notify.script.as_deref()? {
            "pre-restore" => Some(Self::Begun),
            "post-restore" => Some(Self::Revived { pid }),
            "pre-resume" => Some(Self::Resuming { pid }),
            "post-resume" => Some(Self::Resumed { pid }),
            _ => None,
        }
    }
}

impl Criu {
    /// The program `criu`, by its name on PATH or by its file.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { words: vec![program.into()] }
    }

    /// A CRIU that other programs run: `words` is the command line up to CRIU's
    /// own arguments.
    ///
    /// # Panics
    /// When there are no words.
    #[must_use]
    pub fn run_by(words: Vec<OsString>) -> Self {
        assert!(!words.is_empty(), "CRIU is run by some program");
        Self { words }
    }

    /// Its version.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn version(&self) -> Result<Version, Error> {
        let request = Request::new(RequestType::Version);
        let response = Worker::start(&self.words, None)?.ask(&request, &mut |_| true)?;
        let version = response.version.filter(|_| response.success);
        let number = |number: i32| u32::try_from(number).ok();
        version
            .and_then(|v| Some(Version { major: number(v.major)?, minor: number(v.minor)? }))
            .ok_or_else(|| Error::new(Kind::Failed, "CRIU does not tell its version"))
    }

    /// Whether it is new enough.
    ///
    /// # Errors
    /// It cannot be run, or is older than [`Version::OLDEST`].
    pub fn check(&self) -> Result<Version, Error> {
        let (version, oldest) = (self.version()?, Version::OLDEST);
        if version >= oldest {
            return Ok(version);
        }
        Err(Error::new(Kind::Failed, format!("this is CRIU {version}"))
            .cure(format!("install CRIU {oldest} or later")))
    }

    /// What it can do here. To know, CRIU tries the kernel's abilities out, for
    /// some 30 ms, and keeps what it found in `/run`, if that is a tmpfs: asked
    /// before a move, this spares the move the time.
    ///
    /// # Errors
    /// It cannot be run, or fails.
    pub fn features(&self) -> Result<Features, Error> {
        let all = messages::Features { mem_track: Some(true), lazy_pages: Some(true) };
        let request = Request { features: Some(all), ..Request::new(RequestType::FeatureCheck) };
        let response = Worker::start(&self.words, None)?.ask(&request, &mut |_| true)?;
        match response.features.filter(|_| response.success) {
            Some(messages::Features { mem_track, lazy_pages }) => Ok(Features {
                tracks_memory: mem_track.unwrap_or_default(),
                lazy_pages: lazy_pages.unwrap_or_default(),
                narrow_pipes: Pipes::check().is_err(),
            }),
            None => Err(failure::explain("CRIU cannot try out the kernel", "", &response)),
        }
    }

    /// Writes a tree of processes down and ends it, unless `on_stage` refuses a
    /// stage: then it runs on as if nothing had been.
    ///
    /// When this returns well, the processes are dead, but whoever is their
    /// parent may not have noticed yet: see [`super::gone`].
    ///
    /// # Errors
    /// What `on_stage` refused with, or what CRIU could not do, with the cure
    /// where one is known. The processes run on.
    pub fn dump(
        &self,
        dump: &Dump,
        on_stage: &mut dyn FnMut(DumpStage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let options = dump_options(dump)?;
        let what = format!("process {} cannot be written down", dump.pid);
        let stages = &mut |notify: &Notify, _| DumpStage::of(notify).map_or(Ok(()), &mut *on_stage);
        self.carry_out(RequestType::Dump, options, &what, None, stages).map(drop)
    }

    /// Revives a tree of processes and gives its root, by its number in CRIU's
    /// PID namespace. The processes are nobody's children: whoever adopts
    /// orphans here adopts them.
    ///
    /// # Errors
    /// What `on_stage` refused with, or what CRIU could not do, with the cure
    /// where one is known. There are no processes then.
    pub fn restore(
        &self,
        restore: &Restore,
        on_stage: &mut dyn FnMut(RestoreStage) -> Result<(), Error>,
    ) -> Result<i32, Error> {
        self.revive(restore, restore_options(restore)?, &mut |stage, _| on_stage(stage))
    }

    /// Has CRIU revive processes with these `options`; `on_stage` is told CRIU's number, or
    /// that of who runs it, too.
    pub(super) fn revive(
        &self,
        restore: &Restore,
        options: Options,
        on_stage: &mut dyn FnMut(RestoreStage, i32) -> Result<(), Error>,
    ) -> Result<i32, Error> {
        let what = format!("the processes in {} cannot be revived", restore.images.display());
        let mut running = None;
        let stages = &mut |notify: &Notify, criu| {
            let Some(stage) = RestoreStage::of(notify) else { return Ok(()) };
            on_stage(stage, criu)?;
            if let RestoreStage::Resuming { pid } | RestoreStage::Resumed { pid } = stage {
                running = Some(pid);
            }
            Ok(())
        };
        let done = self.carry_out(RequestType::Restore, options, &what, None, stages);
        restored(done, running, &restore.images)
    }

    /// The words that run it.
    pub(super) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The same as people would type them.
    pub(super) fn line(&self) -> String {
        self.words.join(" ".as_ref()).to_string_lossy().into_owned()
    }

    /// Has CRIU do one thing; it has `shared` too. What `stages` refuses with is the
    /// error, as CRIU only says that it was refused; it is told CRIU's number, or
    /// that of who runs it, too.
    pub(super) fn carry_out(
        &self,
        r#type: RequestType,
        options: Options,
        what: &str,
        shared: Option<OwnedFd>,
        stages: &mut dyn FnMut(&Notify, i32) -> Result<(), Error>,
    ) -> Result<Response, Error> {
        let log = log_of(&options);
        let request = Request { options: Some(options), ..Request::new(r#type) };
        let mut refused = None;
        let mut worker = Worker::start(&self.words, shared)?;
        let pid = worker.pid();
        let response = worker.ask(&request, &mut |notify| {
            if refused.is_some() {
                // What comes after a refusal is CRIU on its way back; but it offers
                // memory that was left behind all the same.
                return notify.script.as_deref() != Some(OFFERED);
            }
            stages(notify, pid).map_err(|error| refused = Some(error)).is_ok()
        });
        // Whoever else speaks with CRIU must see that it has ended.
        drop(worker);
        match (refused, response) {
            (Some(refusal), _) => Err(refusal),
            (None, Ok(response)) if response.success && response.r#type == i32::from(r#type) => {
                Ok(response)
            }
            (None, Ok(response)) => Err(failure::explain(what, &read(&log), &response)),
            (None, Err(error)) => Err(error),
        }
    }
}

/// What CRIU is asked for to write processes down.
pub(super) fn dump_options(dump: &Dump) -> Result<Options, Error> {
    Ok(Options {
        pid: Some(dump.pid),
        ghost_limit: Some(GHOST_LIMIT),
        ..options(&dump.images, "dump.log", dump.shell_job)?
    })
}

/// What CRIU is asked for to revive processes.
pub(super) fn restore_options(restore: &Restore) -> Result<Options, Error> {
    options(&restore.images, "restore.log", restore.shell_job)
}

/// The root of the processes that CRIU has revived from `images`, by what it answered;
/// `running` if they are known to run. Nothing is left of them if not.
fn restored(
    answer: Result<Response, Error>,
    running: Option<i32>,
    images: &Path,
) -> Result<i32, Error> {
    let response = match (answer, running) {
        (Ok(response), _) => response,
        (Err(error), Some(pid)) => {
            // All was made; it runs whether CRIU lives or not.
            warn!(pid, error = error.one_line(), "CRIU ended, the process runs");
            return Ok(pid);
        }
        (Err(error), None) => {
            remnants::clear(images)?;
            return Err(error);
        }
    };
    let pid = response.restored.map(|restored| restored.pid);
    pid.ok_or_else(|| Error::new(Kind::Failed, "CRIU does not tell which process it revived"))
}

fn options(images: &Path, log: &str, shell_job: bool) -> Result<Options, Error> {
    let images = images.to_str().filter(|path| path.starts_with('/')).ok_or_else(|| {
        let path = images.display();
        Error::new(Kind::Failed, format!("CRIU takes no folder {path} for its images"))
            .cure("take an absolute path in UTF-8")
    })?;
    Ok(Options {
        images_dir_fd: -1,
        images_dir: Some(images.to_owned()),
        tcp_established: Some(true),
        shell_job: Some(shell_job),
        file_locks: Some(true),
        log_level: Some(LOG_LEVEL),
        log_file: Some(log.to_owned()),
        notify_scripts: Some(true),
        // The new host has others.
        manage_cgroups_mode: Some(CgroupMode::Ignore.into()),
        network_lock: Some(NetworkLock::Skip.into()),
        ..Options::default()
    })
}

fn log_of(options: &Options) -> PathBuf {
    let (images, log) = (options.images_dir.as_deref(), options.log_file.as_deref());
    Path::new(images.unwrap_or_default()).join(log.unwrap_or_default())
}

/// The log, or as much of it as there is.
fn read(log: &Path) -> String {
    fs::read(log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
}
