//! When a quantity is due.

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::Value;
use crate::error::{Error, Result};

/// At which steps a quantity is measured.
///
/// A monitor that does not see every step measures at the first one that it sees after a due step.
#[derive(Config, Debug, PartialEq)]
pub enum Cadence {
    /// Steps 0, n, 2n, ..
    Every(usize),
    /// Step 0, then this many steps in each factor of ten, evenly in the logarithm: 1, 2, 3, 6, 10, 18, .. for
    /// four.
    Logarithmic {
        /// Steps per factor of ten.
        per_decade: usize,
    },
    /// The first step of every n-th epoch.
    Epochs(usize),
    /// These steps.
    Steps(Vec<usize>),
    /// Every `shortest` to `longest` steps: twice as often after the value changed by more than `tolerance`
    /// relative to its size and two standard errors of the change, half as often after it did not.
    Adaptive {
        /// The fewest steps between measurements, and the first interval.
        shortest: usize,
        /// The most.
        longest: usize,
        /// Relative change that matters.
        tolerance: f64,
    },
}

impl Cadence {
    pub(super) fn check(&self) -> Result<()> {
        let fail =
            |setting, value, expected| Err(Error::InvalidSetting { setting, value, expected });
        match *self {
            Self::Every(0) | Self::Epochs(0) | Self::Logarithmic { per_decade: 0 } => {
                fail("cadence", format!("{self:?}"), "at least 1")
            }
            Self::Adaptive { shortest, longest, tolerance }
                if shortest == 0
                    || longest < shortest
                    || tolerance.is_nan()
                    || tolerance <= 0.0 =>
            {
                let expected = "1 ≤ shortest ≤ longest, and a tolerance above 0";
                fail("cadence", format!("{self:?}"), expected)
            }
            _ => Ok(()),
        }
    }
}

/// A cadence's memory: what it has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Clock {
    /// The last step and epoch that were seen.
    seen: Option<(usize, Option<usize>)>,
    /// A due step has passed and nothing was measured since.
    is_pending: bool,
    /// The step of the last measurement, its mean and its standard error.
    measured: Option<(usize, f64, f64)>,
    /// The step of the last measurement that failed.
    failed: Option<usize>,
    /// Steps between measurements of an adaptive cadence, once it has adapted.
    interval: Option<usize>,
}

impl Clock {
    /// Sees a step; whether a measurement is due, at this step or still.
    pub fn tick(&mut self, cadence: &Cadence, step: usize, epoch: Option<usize>) -> bool {
        let seen = self.seen.replace((step, epoch));
        let last_step = seen.map(|(step, _)| step);
        // The number of due steps up to and including s: one has passed if it has grown.
        let passed = |count: &dyn Fn(usize) -> usize| match last_step {
            Some(last) => count(step) > count(last),
            None => count(step) > step.checked_sub(1).map_or(0, count),
        };
        self.is_pending |= match cadence {
            Cadence::Every(n) => passed(&|s| s / n + 1),
            Cadence::Logarithmic { per_decade } => passed(&|s| logarithmic_steps(*per_decade, s)),
            Cadence::Steps(steps) => passed(&|s| steps.iter().filter(|due| **due <= s).count()),
            Cadence::Epochs(n) => match (seen, epoch) {
                (None, _) => true,
                (Some((_, before)), Some(now)) => before.is_none_or(|before| now / n > before / n),
                _ => false,
            },
            Cadence::Adaptive { shortest, .. } => {
                let tried = self.measured.map(|(at, ..)| at).max(self.failed);
                tried.is_none_or(|at| step >= at + self.interval.unwrap_or(*shortest))
            }
        };
        self.is_pending
    }

    /// A measurement at `step`.
    pub fn measured(&mut self, cadence: &Cadence, step: usize, value: &Value) {
        self.is_pending = false;
        let error = value.standard_error.unwrap_or(0.0);
        let before = self.measured.replace((step, value.mean, error));
        if let (Cadence::Adaptive { shortest, longest, tolerance }, Some((_, mean, earlier))) =
            (cadence, before)
        {
            let change = (value.mean - mean).abs();
            let matters = tolerance * value.mean.abs().max(mean.abs());
            let changed = change > matters.max(2.0 * error.hypot(earlier));
            let interval = self.interval.unwrap_or(*shortest);
            let interval = if changed { interval / 2 } else { 2 * interval };
            self.interval = Some(interval.clamp(*shortest, *longest));
        }
    }

    /// Gives a due measurement up: it failed at `step`.
    pub fn skip(&mut self, step: usize) {
        self.is_pending = false;
        self.failed = Some(step);
    }
}

/// The number of different steps among 0 and round(10^(k/per_decade)), k = 0, 1, .., up to `step`.
fn logarithmic_steps(per_decade: usize, step: usize) -> usize {
    let (mut count, mut last) = (1, 0);
    for k in 0.. {
        let due = 10f64.powf(k as f64 / per_decade as f64).round();
        if due > step as f64 {
            break;
        }
        count += usize::from(due as usize > last);
        last = due as usize;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of `seen` at which something is measured, with a value of its step.
    fn measured(cadence: &Cadence, seen: impl Iterator<Item = usize>) -> Vec<usize> {
        let (mut clock, mut steps) = (Clock::default(), Vec::new());
        for step in seen {
            if clock.tick(cadence, step, Some(step / 10)) {
                clock.measured(cadence, step, &Value::of(1.0));
                steps.push(step);
            }
        }
        steps
    }

    #[test]
    fn each_cadence_measures_at_its_steps() {
        assert_eq!(measured(&Cadence::Every(3), 0..10), [0, 3, 6, 9]);
        assert_eq!(measured(&Cadence::Every(3), 1..10), [3, 6, 9]);
        assert_eq!(measured(&Cadence::Steps(vec![7, 2]), 0..10), [2, 7]);
        assert_eq!(measured(&Cadence::Epochs(2), 0..60), [0, 20, 40]);
        let logarithmic = measured(&Cadence::Logarithmic { per_decade: 4 }, 0..101);
        assert_eq!(logarithmic, [0, 1, 2, 3, 6, 10, 18, 32, 56, 100]);
    }

    #[test]
    fn a_due_step_that_is_not_seen_is_made_up_for_at_the_next_one() {
        assert_eq!(measured(&Cadence::Every(10), (0..50).step_by(7)), [0, 14, 21, 35, 42]);
        assert_eq!(measured(&Cadence::Steps(vec![8, 9]), (0..50).step_by(7)), [14]);
    }

    #[test]
    fn an_adaptive_cadence_slows_down_on_a_constant_and_speeds_up_on_a_ramp() {
        let cadence = Cadence::Adaptive { shortest: 2, longest: 16, tolerance: 0.1 };
        assert_eq!(measured(&cadence, 0..64), [0, 2, 6, 14, 30, 46, 62]);
        let mut clock = Clock::default();
        let mut steps = Vec::new();
        for step in 0..100 {
            // Constant, then doubling at every step.
            let value = 2f64.powi((step as i32 - 60).max(0));
            if clock.tick(&cadence, step, None) {
                clock.measured(&cadence, step, &Value::of(value));
                steps.push(step);
            }
        }
        assert_eq!(
            steps,
            [0, 2, 6, 14, 30, 46, 62, 70, 74, 76, 78, 80, 82, 84, 86, 88, 90, 92, 94, 96, 98]
        );
    }

    #[test]
    fn a_failure_is_tried_again_after_the_interval() {
        let cadence = Cadence::Adaptive { shortest: 2, longest: 16, tolerance: 0.1 };
        let (mut clock, mut steps) = (Clock::default(), Vec::new());
        for step in 0..60 {
            if clock.tick(&cadence, step, None) {
                // It works for a while, on a constant.
                match (8..40).contains(&step) {
                    true => clock.measured(&cadence, step, &Value::of(1.0)),
                    false => clock.skip(step),
                }
                steps.push(step);
            }
        }
        // Fails at the first interval; doubles it from the second value on; fails at the last one.
        assert_eq!(steps, [0, 2, 4, 6, 8, 10, 14, 22, 38, 54]);
    }

    #[test]
    fn a_clock_of_an_older_file_is_read() {
        let mut old = serde_json::to_value(Clock::default()).unwrap();
        assert!(old.as_object_mut().unwrap().remove("failed").is_some());
        assert_eq!(serde_json::from_value::<Clock>(old).unwrap(), Clock::default());
    }

    #[test]
    fn noise_within_its_error_does_not_speed_up() {
        let cadence = Cadence::Adaptive { shortest: 2, longest: 16, tolerance: 0.1 };
        let mut clock = Clock::default();
        for step in 0..200 {
            let sign = if step % 4 == 0 { 1.0 } else { -1.0 };
            let value = Value { standard_error: Some(0.5), ..Value::of(1.0 + 0.5 * sign) };
            if clock.tick(&cadence, step, None) {
                clock.measured(&cadence, step, &value);
            }
        }
        assert_eq!(clock.interval, Some(16));
    }
}
