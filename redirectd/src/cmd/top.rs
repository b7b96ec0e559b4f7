//! `redirect top`

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{Event, KeyCode, KeyEvent, KeyModifiers, poll, read},
    queue,
    terminal::{
        self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
        enable_raw_mode,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::{Context, stats::rates, table::Table, units};
use crate::{
    api::types::Stats,
    error::{Error, Kind},
};

/// Watch what goes through each redirect; q ends it
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
}

impl Top {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        if context.json || !io::stdout().is_terminal() {
            return Err(Error::new(Kind::Usage, "`redirect top` draws on a terminal")
                .cure("`redirect stats --interval 1 --json` is made for programs"));
        }
        // Ask first: an error is not to flash by on the other screen.
        let first: Stats = context.client.get("/v1/stats").await?;
        let screen = Screen::open().map_err(|error| no_terminal(&error))?;
        let result = watch(context, first, Duration::from_secs(self.interval)).await;
        drop(screen);
        result
    }
}

async fn watch(context: &Context, first: Stats, interval: Duration) -> Result<(), Error> {
    let mut stop = signal(SignalKind::terminate()).map_err(|error| no_terminal(&error))?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(|error| no_terminal(&error))?;
    let mut keys = keys();
    let (mut before, mut then) = (first, Instant::now());
    let mut rate = None;
    loop {
        draw(&before, rate.as_ref()).map_err(|error| no_terminal(&error))?;
        tokio::select! {
            () = tokio::time::sleep(interval) => {
                let after: Stats = context.client.get("/v1/stats").await?;
                let now = Instant::now();
                rate = Some(rates(&before, &after, (now - then).as_secs_f64()));
                (before, then) = (after, now);
            }
            key = keys.recv() => if key.is_none() { return Ok(()) },
            _ = stop.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

/// Says something whenever the picture has to be drawn anew, and ends when the
/// user wants to go.
fn keys() -> tokio::sync::mpsc::Receiver<()> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        loop {
            // Looks up now and then whether anybody still listens.
            match poll(Duration::from_millis(200)) {
                Ok(false) if !sender.is_closed() => {}
                Ok(true) => match read() {
                    Ok(Event::Key(key)) if ends(key) => return,
                    Ok(Event::Resize(..)) => drop(sender.try_send(())),
                    Ok(_) => {}
                    Err(_) => return,
                },
                _ => return,
            }
        }
    });
    receiver
}

fn ends(key: KeyEvent) -> bool {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

fn draw(stats: &Stats, rates: Option<&Table>) -> io::Result<()> {
    let (_, rows) = terminal::size()?;
    let mut out = io::stdout().lock();
    queue!(out, MoveTo(0, 0), Clear(ClearType::All))?;
    let mut lines = vec![summary(stats), String::new()];
    match rates {
        Some(rates) if !stats.redirects.is_empty() => lines.extend(rates.lines()),
        Some(_) => lines.push("no redirects; `redirect add` makes the first".to_owned()),
        None => lines.push("measuring …".to_owned()),
    }
    for (row, line) in lines.iter().take(rows.into()).enumerate() {
        queue!(out, MoveTo(0, row as u16))?;
        write!(out, "{line}")?;
    }
    out.flush()
}

fn summary(stats: &Stats) -> String {
    let dropped = stats.reasons.iter().filter(|count| count.verdict == "dropped");
    let dropped: u64 = dropped.map(|count| count.traffic.packets).sum();
    format!(
        "redirect top: {} redirects, {} open flows, {} refused, {} packets dropped; q ends",
        stats.redirects.len(),
        units::count(stats.open_flows),
        units::count(stats.total.flows_refused),
        units::count(dropped),
    )
}

/// The alternate screen in raw mode; the terminal is as it was when this goes.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        let screen = Self;
        let mut out = io::stdout();
        queue!(out, EnterAlternateScreen, Hide)?;
        out.flush()?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout();
        let _ = queue!(out, LeaveAlternateScreen, Show);
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

fn no_terminal(error: &io::Error) -> Error {
    Error::new(Kind::Failed, format!("the terminal cannot be used: {error}"))
}
