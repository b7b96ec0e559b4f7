//! The figures of one round, and what follows from comparing its ways.

use std::collections::HashMap;

use super::{
    OTHERS, PAPER, PASSES, RATE, RELAYS, SAVED, SOURCE, TIME, UNSAMPLED, WAYS, WHOLE, passes,
    way::Window,
};
use crate::{
    profile::{
        layer::Layer::{self, Copying, Scheduler, Socket, Tcp, User},
        sampler::Ticks,
    },
    recorder::Recorder,
};

/// Nanoseconds of a packet by layer, in the order of [`Layer::ALL`].
type Nanoseconds = [f64; Layer::ALL.len()];

/// What has been measured in this round.
#[derive(Debug, Default)]
pub(super) struct Round(HashMap<&'static str, Nanoseconds>);

impl Round {
    /// How many ways have been measured.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Records what was seen of the way `name`, `alone` and then `sampled`.
    pub(super) fn record(
        &mut self,
        recorder: &mut Recorder,
        name: &'static str,
        alone: &Window,
        sampled: &Window,
        ticks: &Ticks,
    ) {
        let layers = by_layer(ticks, sampled);
        for (layer, ns) in Layer::ALL.into_iter().zip(layers) {
            recorder.record(TIME, layer.name(), name, ns);
        }
        let sum = layers.iter().sum();
        recorder.record(TIME, "all layers", name, sum);
        recorder.record(WHOLE, "sum of the layers", name, sum);
        recorder.record(WHOLE, "scheduler's account, sampled", name, account(sampled));
        recorder.record(WHOLE, UNSAMPLED, name, account(alone));
        for (what, passes) in passes::COUNTED.into_iter().zip(&alone.passes) {
            recorder.record(PASSES, what, name, *passes);
        }
        let rate = alone.packets / alone.elapsed.as_secs_f64() / 1e3;
        recorder.record(RATE, "not sampled", name, rate);
        let others = ticks.period.as_secs_f64() * ticks.others as f64;
        recorder.record(OTHERS, "sampled", name, 100.0 * others / sampled.elapsed.as_secs_f64());
        self.0.insert(name, layers);
    }

    /// Records what the ways have saved against the relay that stands for the
    /// deputy, and sets the relays beside the paper.
    pub(super) fn compare(self, recorder: &mut Recorder) {
        let Some(relay) = RELAYS.into_iter().find(|name| self.0.contains_key(name)) else {
            return;
        };
        for part in &PARTS {
            for name in RELAYS {
                if let Some(layers) = self.0.get(name) {
                    recorder.record(PAPER, part.name, name, part.microseconds(layers));
                }
            }
            for (&name, layers) in self.others() {
                let saved = part.microseconds(&self.0[relay]) - part.microseconds(layers);
                recorder.record(SAVED, part.name, name, saved);
            }
            if let Some(once) = part.quoted {
                // Up and down.
                recorder.quote(PAPER, part.name, SOURCE, 2.0 * once);
                recorder.quote(SAVED, part.name, SOURCE, 2.0 * once);
            }
        }
        let whole: f64 = self.0[relay].iter().sum();
        for (name, layers) in self.others() {
            let saved = whole - layers.iter().sum::<f64>();
            recorder.record(SAVED, "all layers", name, saved / 1e3);
        }
    }

    /// Those that save something against relays, in the order of reports.
    fn others(&self) -> impl Iterator<Item = (&&'static str, &Nanoseconds)> {
        let names = WAYS.iter().filter(|name| !RELAYS.contains(name));
        names.filter_map(|name| self.0.get_key_value(name))
    }
}

/// What the papers give a figure for, or a letter.
struct Part {
    name: &'static str,
    /// Microseconds, once.
    quoted: Option<f64>,
    layers: &'static [Layer],
}

const PARTS: [Part; 3] = [
    Part { name: "TCP, up and down", quoted: Some(24.22), layers: &[Tcp, Copying] },
    Part { name: "socket, up and down", quoted: Some(2.9), layers: &[Socket] },
    Part { name: "user space and scheduler: M", quoted: None, layers: &[User, Scheduler] },
];

impl Part {
    /// Its part of a packet's time.
    fn microseconds(&self, of: &Nanoseconds) -> f64 {
        self.layers.iter().map(|&layer| of[layer as usize]).sum::<f64>() / 1e3
    }
}

/// Ticks as time of a packet.
///
/// A tick is worth its period, whatever became of the others: a processor that
/// sleeps is not woken for each, and is given those it missed as one.
fn by_layer(ticks: &Ticks, window: &Window) -> Nanoseconds {
    let tick = ticks.period.as_nanos() as f64;
    ticks.by_layer.map(|ticks| ticks as f64 * tick / window.packets)
}

/// Nanoseconds that home's threads ran for a packet.
fn account(window: &Window) -> f64 {
    window.work.as_nanos() as f64 / window.packets
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{progress::Progress, result::Better};

    fn window() -> Window {
        let elapsed = Duration::from_millis(100);
        Window { packets: 10_000.0, passes: vec![1.0; 6], elapsed, work: Duration::from_millis(40) }
    }

    /// 1,000 of them make 100 ms; the processor has slept through the idle ones.
    fn ticks(by_layer: &[(Layer, u64)]) -> Ticks {
        let mut ticks = Ticks { period: Duration::from_micros(100), ..Ticks::default() };
        for &(layer, n) in by_layer {
            ticks.by_layer[layer as usize] = n;
        }
        ticks
    }

    #[test]
    fn ticks_become_time_of_a_packet() {
        // 40 % of 100 ms for 10,000 packets, by the ticks and by the scheduler.
        let layers = by_layer(&ticks(&[(Tcp, 300), (Socket, 100)]), &window());
        assert_eq!(layers[Tcp as usize], 3_000.0);
        assert_eq!(layers.iter().sum::<f64>(), 4_000.0);
        assert_eq!(account(&window()), 4_000.0);
    }

    #[test]
    fn what_is_saved_is_the_difference_to_the_deputy() {
        let mut recorder = Recorder::new("layers", "", Progress::silent());
        for metric in [TIME, WHOLE, PAPER, SAVED, PASSES, RATE, OTHERS] {
            recorder.metric(metric, "", Better::Neither);
        }
        let mut round = Round::default();
        let mut record = |name, seen: &[(Layer, u64)]| {
            round.record(&mut recorder, name, &window(), &window(), &ticks(seen));
        };
        record("socat", &[(Tcp, 900)]);
        record("deputy", &[(Tcp, 300), (Copying, 100), (User, 50)]);
        record("iptables", &[(Tcp, 100), (Layer::Ip, 100)]);
        assert_eq!(round.len(), 3);
        round.compare(&mut recorder);
        let suite = recorder.finish();
        let saved = suite.metric(SAVED).unwrap();
        assert_eq!(saved.rounds("TCP, up and down", "iptables"), Some(&[3.0][..]));
        assert_eq!(saved.rounds("user space and scheduler: M", "iptables"), Some(&[0.5][..]));
        assert_eq!(saved.rounds("all layers", "iptables"), Some(&[2.5][..]));
        let paper = suite.metric(PAPER).unwrap();
        assert_eq!(paper.rounds("TCP, up and down", "socat"), Some(&[9.0][..]));
        assert_eq!(paper.rounds("TCP, up and down", SOURCE), Some(&[48.44][..]));
    }
}
