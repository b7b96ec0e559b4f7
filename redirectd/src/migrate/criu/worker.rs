//! One running `criu swrk`, and the conversation with it.
//!
//! When this process dies, or lets go of the worker, the socket closes; CRIU
//! notices at its next stage, gives up, and lets the processes it has frozen run
//! on. So there is no need to kill it, which would leave them damaged: while it
//! works it executes its own code in them.

use std::{
    ffi::OsString,
    io::Read as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};
use prost::Message as _;

use super::{
    guard::keep_open,
    messages::{Notify, Request, RequestType, Response},
};
use crate::error::{Error, Kind};

/// Room for one message. CRIU's answers have some hundred bytes; one that does
/// not fit is refused.
const MESSAGE: usize = 64 << 10;

/// A running worker. Dropping it closes the conversation and waits for its end.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    /// Taken when the conversation closes.
    socket: Option<OwnedFd>,
    line: String,
}

impl Worker {
    /// Starts `words`, which run CRIU, with `swrk` and its socket added. CRIU has
    /// `shared` too, by the same number.
    pub(super) fn start(words: &[OsString], shared: Option<OwnedFd>) -> Result<Self, Error> {
        let line = words.join(" ".as_ref()).to_string_lossy().into_owned();
        let (ours, its) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| failed(format!("cannot make a socket for CRIU: {errno}")))?;
        let (program, arguments) = words.split_first().expect("CRIU is run by some program");
        let mut command = Command::new(program);
        command.args(arguments).arg("swrk").arg(its.as_raw_fd().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // What is typed at our terminal is not for it.
        command.process_group(0);
        let fds = [Some(its.as_raw_fd()), shared.as_ref().map(OwnedFd::as_raw_fd)];
        // SAFETY: between fork and exec only fcntl is called, which is
        // async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(move || fds.into_iter().flatten().try_for_each(keep_open));
        }
        let child = command.spawn().map_err(|error| {
            failed(format!("cannot run CRIU as `{line}`: {error}"))
                .cure("install CRIU 4.2 or later, or name the one to use")
        })?;
        Ok(Self { child, socket: Some(ours), line })
    }

    /// Its number, or that of the program that runs it.
    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Asks, answers whatever CRIU tells meanwhile with what `told` says, and
    /// gives its answer, be it success or failure.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        told: &mut dyn FnMut(&Notify) -> bool,
    ) -> Result<Response, Error> {
        self.send(request)?;
        loop {
            let response = self.receive()?;
            match response.notify {
                Some(notify) if response.r#type == i32::from(RequestType::Notify) => {
                    let go_on = told(&notify);
                    self.send(&Request::answer(go_on))?;
                }
                _ => return Ok(response),
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), Error> {
        let socket = self.socket.as_ref().expect("it is open until the end");
        // Without SIGPIPE: CRIU's end is found out by an error.
        match send(socket.as_raw_fd(), &request.encode_to_vec(), MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(errno) => Err(self.silent(&errno.to_string())),
        }
    }

    fn receive(&mut self) -> Result<Response, Error> {
        let socket = self.socket.as_ref().expect("it is open until the end").as_raw_fd();
        let mut buffer = vec![0; MESSAGE];
        let length = loop {
            match recv(socket, &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.silent(&errno.to_string())),
                Ok(0) => return Err(self.silent("it closed the connection")),
                Ok(length) => break length,
            }
        };
        let message = buffer.get(..length).ok_or_else(|| {
            failed(format!("CRIU sent a message of {length} bytes; at most {MESSAGE} are taken"))
        })?;
        Response::decode(message)
            .map_err(|error| failed(format!("CRIU sent what is not a message of its: {error}")))
    }

    /// CRIU ended before it answered: says so, with its last words.
    fn silent(&mut self, why: &str) -> Error {
        self.socket = None;
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        let what = format!("CRIU, run as `{}`, did not answer: {why} ({status})", self.line);
        match said.trim() {
            "" => failed(what),
            said => failed(format!("{what}; it said: {said}")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.socket = None;
        // It ends by itself; nobody is left to tell how.
        let _ = self.child.wait();
    }
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
