//! `redirect top`, on a terminal of its own.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};
use redirectd::rule::Protocol;

use crate::server::{Server, command, eventually};

/// `redirect top` and the other end of its terminal; killed when dropped.
struct Top {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    terminal: OwnedFd,
}

impl Top {
    fn start(server: &Server) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command(&server.socket())
            .arg("top")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let keyboard = File::from(pty.master);
        let mut output = keyboard.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { child, keyboard, screen, terminal: pty.slave }
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    fn shows(&self, text: &str) {
        eventually(text, || self.screen.lock().unwrap().contains(text));
    }

    /// Expects it to end, and the terminal to be as it was found.
    fn ended(mut self) {
        assert!(self.child.wait().unwrap().success());
        self.shows("\x1b[?1049l");
        self.shows("\x1b[?25h");
        let local = self.modes().local_flags;
        assert!(local.contains(LocalFlags::ICANON | LocalFlags::ECHO), "{local:?}");
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_draws_what_goes_on_and_a_key_ends_it() {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    let mut top = Top::start(&server);
    top.shows("redirect top: 1 redirects, 0 open flows");
    assert!(!top.modes().local_flags.contains(LocalFlags::ICANON), "keys come one by one");
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    top.shows("PKT/s TO HOST");
    top.shows("1 open flows");
    top.keyboard.write_all(b"q").unwrap();
    top.ended();
}

#[test]
fn a_signal_ends_it_in_order_too() {
    let server = Server::start();
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let top = Top::start(&server);
        top.shows("redirect top:");
        kill(Pid::from_raw(top.child.id().cast_signed()), signal).unwrap();
        top.ended();
    }
}

#[test]
fn the_daemons_end_ends_it_with_an_error_on_a_sane_terminal() {
    let mut server = Server::start();
    let mut top = Top::start(&server);
    top.shows("redirect top:");
    server.stop();
    assert_eq!(top.child.wait().unwrap().code(), Some(3));
    top.shows("redirectd does not run");
    assert!(top.modes().local_flags.contains(LocalFlags::ICANON));
}
