//! How long training took, and how long its measurements.

use std::time::Instant;

/// Time and work of training and of measurements. Training is what happens between two calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stopwatch {
    /// Seconds of training.
    pub training: f64,
    /// Seconds of measurements, and of looking whether one is due.
    pub measuring: f64,
    /// Steps of training.
    pub n_steps: usize,
    /// The last step that was seen, and when its call returned; no time while training stands still.
    last: Option<(usize, Option<Instant>)>,
}

impl Stopwatch {
    /// Sees a step.
    pub fn tick(&mut self, step: usize) {
        if let Some((last, returned)) = self.last {
            self.training += returned.map_or(0.0, |returned| returned.elapsed().as_secs_f64());
            self.n_steps += step.saturating_sub(last);
        }
        self.last = Some((step, Some(Instant::now())));
    }

    /// The call of this step returns: what it took since the last tick was no training.
    pub fn resume(&mut self) {
        self.measuring += self.elapsed();
        self.last = self.last.map(|(step, _)| (step, Some(Instant::now())));
    }

    /// Training stops for a while: what follows, up to the next tick, is no part of it.
    pub fn pause(&mut self) {
        self.training += self.elapsed();
        self.last = self.last.map(|(step, _)| (step, None));
    }

    /// Time since the last [`tick`](Self::tick) or [`resume`](Self::resume), in seconds.
    pub fn elapsed(&self) -> f64 {
        self.last.and_then(|(_, since)| since).map_or(0.0, |since| since.elapsed().as_secs_f64())
    }

    /// That of a run that was interrupted.
    pub fn stopped(
        training: f64,
        measuring: f64,
        n_steps: usize,
        last_step: Option<usize>,
    ) -> Self {
        Self { training, measuring, n_steps, last: last_step.map(|step| (step, None)) }
    }

    pub fn last_step(&self) -> Option<usize> {
        self.last.map(|(step, _)| step)
    }
}
