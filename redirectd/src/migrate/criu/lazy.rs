//! The CRIU that gives revived processes their memory when they reach for it:
//! `criu lazy-pages`.
//!
//! On the host, in this order:
//!
//! 1. The images have come, without the memory: [`LazyPages::start`].
//! 2. [`Taker::take`] begins to take pages from home. It ends when all are there,
//!    long after the processes run.
//! 3. [`Criu::restore_lazily`] revives the processes, on a thread of its own.
//!
//! Should the memory not come, for whatever reason, the processes are killed: when
//! home or the way there is lost, when this CRIU dies, and when this process does.
//! They never run on without it.

use std::{
    fs::{self, File},
    io::Read as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{fcntl::OFlag, unistd::pipe2};

use super::{
    Criu, failure,
    guard::{Guard, below, keep_open, userfaults},
    messages::Response,
    pages::take::Taker,
    remnants,
};
use crate::error::{Error, Kind};

/// What CRIU calls the socket over which it is given processes; in the folder of
/// the images.
const SOCKET: &str = "lazy-pages.socket";
const LOG: &str = "lazy-pages.log";
/// How long CRIU may take to have taken the processes that it was given. They lie
/// in its socket already.
const TAKING: Duration = Duration::from_secs(5);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// A running `criu lazy-pages`. Dropping it before its time ends the processes that
/// it serves.
#[derive(Debug)]
pub struct LazyPages {
    images: PathBuf,
    child: Mutex<Child>,
    state: Mutex<State>,
}

/// What is known of the processes.
#[derive(Debug)]
enum State {
    /// They are not revived yet.
    Waiting,
    /// They run, or will soon.
    Guarded(Guard),
    /// Their memory does not come.
    Lost,
    /// All their memory is there.
    Whole,
}

impl LazyPages {
    /// Starts it for the processes in the folder `images`, and waits until it can
    /// take them. Gives who takes their memory, too.
    ///
    /// # Errors
    /// It cannot be run, or makes nothing of the images.
    pub fn start(criu: &Criu, images: &Path) -> Result<(Self, Taker), Error> {
        let (ours, crius) = super::pages::ends()?;
        let (ready, tell_ready) = pipe2(OFlag::O_CLOEXEC)
            .map_err(|errno| failed(format!("cannot make a pipe for CRIU: {errno}")))?;
        let child = spawn(criu, images, &crius, &tell_ready)?;
        drop((crius, tell_ready));
        let lazy = Self {
            images: images.to_owned(),
            child: Mutex::new(child),
            state: Mutex::new(State::Waiting),
        };
        match File::from(ready).read(&mut [0]) {
            Ok(1) => Ok((lazy, Taker(ours))),
            _ => Err(lazy.why()),
        }
    }

    /// From here on `processes`, which have just been revived and do not run yet,
    /// end if their memory does not come.
    pub(super) fn guard(&self, processes: &[i32]) -> Result<(), Error> {
        let userfaults = self.taken(processes.iter().filter(|pid| !is_dead(**pid)).count())?;
        let mut state = self.state();
        if !matches!(*state, State::Waiting | State::Whole) {
            return Err(failed("the memory of the processes has been lost on the way".into()));
        }
        if matches!(*state, State::Waiting) {
            *state = State::Guarded(
                Guard::new(processes, &userfaults)
                    .map_err(|why| failed(format!("cannot run sh to guard them: {why}")))?,
            );
        }
        Ok(())
    }

    /// No more memory comes: `whole` if none is missing. Otherwise the processes are
    /// dead when this returns, and so is the CRIU that revives them, if it still does:
    /// shortly before their resumption it no longer notices their death.
    pub(super) fn end(&self, whole: bool) {
        let mut state = self.state();
        let before = std::mem::replace(&mut *state, if whole { State::Whole } else { State::Lost });
        match before {
            State::Guarded(guard) if whole => guard.release(),
            State::Guarded(guard) => {
                // Ends what it guards.
                drop(guard);
                remnants::abandon(&self.images, &below(self.child().id().cast_signed()));
            }
            State::Waiting | State::Lost | State::Whole => {}
        }
    }

    /// The userfaultfds of `count` processes, which CRIU has been given.
    fn taken(&self, count: usize) -> Result<Vec<OwnedFd>, Error> {
        let deadline = Instant::now() + TAKING;
        let child = self.child().id().cast_signed();
        loop {
            for pid in [vec![child], below(child)].concat() {
                match userfaults(pid) {
                    Ok(found) if found.len() >= count => return Ok(found),
                    _ => {}
                }
            }
            if Instant::now() >= deadline {
                return Err(self.why());
            }
            thread::sleep(LOOK);
        }
    }

    /// Why it has not done what it should.
    fn why(&self) -> Error {
        let log = fs::read(self.images.join(LOG)).unwrap_or_default();
        let what = "CRIU cannot give the processes their memory when they reach for it";
        failure::explain(what, &String::from_utf8_lossy(&log), &Response::default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LazyPages {
    fn drop(&mut self) {
        if !matches!(*self.state(), State::Whole) {
            self.end(false);
            // If it still waits for processes, this is none, and it gives up.
            drop(UnixStream::connect(self.images.join(SOCKET)));
            let _ = self.child().kill();
        }
        let _ = self.child().wait();
    }
}

fn spawn(criu: &Criu, images: &Path, pages: &OwnedFd, ready: &OwnedFd) -> Result<Child, Error> {
    let words = criu.words();
    let (program, arguments) = words.split_first().expect("CRIU is run by some program");
    let fds = [pages.as_raw_fd(), ready.as_raw_fd()];
    let mut command = Command::new(program);
    command.args(arguments).args(["lazy-pages", "--page-server", "-v1", "--log-file", LOG]);
    command.arg("--images-dir").arg(images);
    command.args(["--ps-socket", &fds[0].to_string(), "--status-fd", &fds[1].to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // What is typed at our terminal is not for it.
    command.process_group(0);
    // SAFETY: between fork and exec only fcntl is called, which is
    // async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(move || fds.iter().try_for_each(|fd| keep_open(*fd)));
    }
    command.spawn().map_err(|why| {
        let what = format!("cannot run CRIU as `{}`: {why}", criu.line());
        failed(what).cure("install CRIU 4.2 or later, or name the one to use")
    })
}

/// Whether a process has been revived as a zombie, which has no memory.
fn is_dead(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name may have anything in it.
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
