//! Commands that go on printing.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::server::{Server, command};

/// A command that goes on printing; killed when dropped.
pub(crate) struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    pub(crate) fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut child =
            command(&server.socket()).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// `redirect monitor`, once it is known to listen.
    pub(crate) fn monitor(server: &Server, arguments: &[&str]) -> Self {
        let monitor = Self::start(server, &[&["monitor"][..], arguments].concat());
        let moment = Duration::from_millis(200);
        loop {
            server.ok(&["apply"]);
            if monitor.lines.recv_timeout(moment).is_ok() {
                break;
            }
        }
        // More of those may still be on their way; nothing is after this.
        let name = "the-monitor-listens";
        server.ok(&["add", name, "192.0.2.1:9", "--to", "c", "--no-check"]);
        server.ok(&["remove", name, "--now"]);
        for _ in 0..2 {
            while !monitor.line().contains(name) {}
        }
        monitor
    }

    /// The next line, within ten seconds.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(10)).expect("one more line")
    }

    /// The next line as JSON.
    #[track_caller]
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Expects it to print nothing more, and to end by itself with `code`.
    #[track_caller]
    pub(crate) fn ends(mut self, code: i32) {
        let more = self.lines.recv_timeout(Duration::from_secs(10));
        assert_eq!(more, Err(RecvTimeoutError::Disconnected));
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
