//! Numbered UDP datagrams at a fixed rate, each of which an echo server
//! answers: what was lost, what came twice, who answered, and in which order.

use std::{
    net::UdpSocket,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use xtask::lab::{Host, soon, until};

use crate::echo;

/// After so long a silence, nothing comes twice any more.
const SILENCE: Duration = Duration::from_millis(500);

/// A stream of numbered datagrams; dropping it ends it.
pub(crate) struct Numbered {
    end_sending: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answers: Arc<Mutex<Vec<Answer>>>,
    threads: Vec<JoinHandle<()>>,
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// The number that was answered.
    pub(crate) number: u64,
    /// The name of the server that answered.
    pub(crate) by: char,
}

/// What became of a stream.
#[derive(Debug)]
pub(crate) struct Report {
    /// The numbers 0 to `sent` - 1 were sent.
    pub(crate) sent: u64,
    /// Every answer, in the order in which they came.
    pub(crate) answers: Vec<Answer>,
}

impl Numbered {
    /// Starts to send from `host`'s address `from` to `to`.
    pub(crate) fn start(host: &Host, from: &str, to: &str, per_second: u32) -> Result<Self> {
        let socket = echo::udp(host, from)?;
        socket.connect(to).with_context(|| format!("no way to {to}"))?;
        let end_sending = Arc::new(AtomicBool::new(false));
        let end = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let receiver = {
            let (socket, end, answers) = (socket.try_clone()?, end.clone(), answers.clone());
            std::thread::spawn(move || receive(&socket, &end, &answers))
        };
        let sender = {
            let (end, sent) = (end_sending.clone(), sent.clone());
            std::thread::spawn(move || send(&socket, per_second, &end, &sent))
        };
        Ok(Self { end_sending, end, sent, answers, threads: vec![sender, receiver] })
    }

    /// Waits until `count` more have been sent.
    pub(crate) fn send_more(&self, count: u64) -> Result<()> {
        let wanted = self.sent.load(Ordering::Relaxed) + count;
        until(Duration::from_secs(30), "the datagrams are sent", || {
            (self.sent.load(Ordering::Relaxed) >= wanted).then_some(())
        })
    }

    /// Waits until `count` more have been answered, and gives the last answer.
    pub(crate) fn hear_more(&self, count: usize) -> Result<Answer> {
        let wanted = self.heard() + count;
        soon("the datagrams are answered", || {
            let answers = self.answers.lock().expect("nobody panics with it");
            answers.last().copied().filter(|_| answers.len() >= wanted)
        })
    }

    /// Waits until an answer by `name` comes to something sent from now on.
    pub(crate) fn hear_from(&self, name: char) -> Result<Answer> {
        let first = self.sent.load(Ordering::Relaxed);
        soon(&format!("{name} answers"), || {
            let answers = self.answers.lock().expect("nobody panics with it");
            answers.last().copied().filter(|answer| answer.by == name && answer.number > first)
        })
    }

    /// Ends the stream when each number has been answered, however busy the
    /// machine is; that one is not is for the caller to judge.
    pub(crate) fn finish(self) -> Report {
        self.finish_when("all are answered", |report| report.lost().is_empty())
    }

    /// Ends a stream of which some may be lost when its last number has been
    /// answered.
    pub(crate) fn finish_with_loss(self) -> Report {
        self.finish_when("the last one is answered", |report| {
            let last = report.sent.checked_sub(1);
            report.answers.iter().any(|answer| Some(answer.number) == last)
        })
    }

    fn finish_when(mut self, what: &str, done: impl Fn(&Report) -> bool) -> Report {
        self.end_sending.store(true, Ordering::Relaxed);
        self.threads.drain(..1).for_each(|sender| sender.join().expect("the sender works"));
        let _ = soon(what, || done(&self.report()).then_some(()));
        self.end.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|receiver| receiver.join().expect("the receiver works"));
        self.report()
    }

    fn report(&self) -> Report {
        let answers = self.answers.lock().expect("nobody panics with it").clone();
        Report { sent: self.sent.load(Ordering::Relaxed), answers }
    }

    fn heard(&self) -> usize {
        self.answers.lock().expect("nobody panics with it").len()
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.end_sending.store(true, Ordering::Relaxed);
        self.end.store(true, Ordering::Relaxed);
    }
}

impl Report {
    /// The numbers that nobody answered.
    pub(crate) fn lost(&self) -> Vec<u64> {
        let answered = self.sorted();
        (0..self.sent).filter(|number| answered.binary_search(number).is_err()).collect()
    }

    /// The numbers that were answered more than once.
    pub(crate) fn doubled(&self) -> Vec<u64> {
        let answered = self.sorted();
        answered.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect()
    }

    /// The most numbers in succession that nobody answered.
    pub(crate) fn longest_loss(&self) -> usize {
        let lost = self.lost();
        lost.chunk_by(|one, next| one + 1 == *next).map(<[u64]>::len).max().unwrap_or(0)
    }

    /// Asserts that each number was answered exactly once.
    pub(crate) fn assert_complete(&self) {
        let (lost, doubled) = (self.lost(), self.doubled());
        assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), self.sent);
        assert!(doubled.is_empty(), "{} of {} came twice: {doubled:?}", doubled.len(), self.sent);
    }

    /// Asserts that all were answered once, by `names` in turn, and in order by each.
    /// The answers of two different hosts may cross: a busy one may answer an earlier
    /// datagram after a quick one has answered a later.
    pub(crate) fn assert_in_turn(&self, names: &[char]) {
        self.assert_complete();
        let mut by_number: Vec<_> = self.answers.iter().map(|one| (one.number, one.by)).collect();
        by_number.sort_unstable();
        by_number.dedup_by_key(|(_, by)| *by);
        assert_eq!(by_number.iter().map(|(_, by)| *by).collect::<Vec<_>>(), names);
        let ends = by_number.iter().skip(1).map(|(first, _)| *first).chain([u64::MAX]);
        for ((first, by), end) in by_number.iter().zip(ends) {
            let turn = self.answers.iter().map(|answer| answer.number);
            let turn: Vec<u64> = turn.filter(|number| (*first..end).contains(number)).collect();
            assert!(turn.is_sorted(), "out of order by {by}: {turn:?}");
        }
    }

    fn sorted(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.answers.iter().map(|answer| answer.number).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Holds a sender to at most so many a second. A pause of the machine is not made
/// up for: the burst would not find room in a cable's queue for XDP.
pub(crate) struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, next: Instant::now() }
    }

    /// Waits until the next one is due.
    pub(crate) fn wait(&mut self) {
        let now = Instant::now();
        self.next = (self.next + self.interval).max(now);
        std::thread::sleep(self.next - now);
    }
}

fn send(socket: &UdpSocket, per_second: u32, end: &AtomicBool, sent: &AtomicU64) {
    let mut pace = Pace::new(per_second);
    for number in 0_u64.. {
        if end.load(Ordering::Relaxed) {
            return;
        }
        // An error of an earlier datagram (port unreachable) is told here; that
        // one is lost, this one is then sent.
        if socket.send(&number.to_be_bytes()).is_err() {
            let _ = socket.send(&number.to_be_bytes());
        }
        sent.store(number + 1, Ordering::Relaxed);
        pace.wait();
    }
}

/// Takes answers until the stream has ended and it has been silent for a while.
fn receive(socket: &UdpSocket, end: &AtomicBool, answers: &Mutex<Vec<Answer>>) {
    let mut buffer = [0; 64];
    let mut heard = Instant::now();
    while !end.load(Ordering::Relaxed) || heard.elapsed() < SILENCE {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        heard = Instant::now();
        let number = buffer[1..length].try_into().expect("a number comes back whole");
        let answer = Answer { number: u64::from_be_bytes(number), by: buffer[0].into() };
        answers.lock().expect("nobody panics with it").push(answer);
    }
}
