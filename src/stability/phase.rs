//! Phases of a training run from measurements in the order of training.
//!
//! A row is a step, a measured value and its threshold; phases are those of the ratio value/threshold. The phase
//! after a row is a function of the rows so far, by this rule (names in code are settings):
//!
//! 1. A row is *unstable* if its ratio is not finite or its magnitude is above `unstable_ratio`. If the last
//!    row is, the phase is [`Unstable`](Phase::Unstable), since the first of the unstable rows in a row.
//!    Otherwise only the rows behind the last unstable one count.
//! 2. With fewer than `window` of them the phase is [`Undetermined`](Phase::Undetermined).
//! 3. The *stretch* is the last m rows, m ≥ `window`, for which (s²ₘ + f²)/m is least, s²ₘ the variance of
//!    their ratios around their mean (the marginal standard error rule of White 1997, for the end of the
//!    transient of a simulation). f² = (`tolerance`·level)²/12 with the mean of the last `window` rows as
//!    level: the variance of a drift of `tolerance`, so that series without noise have stretches too.
//! 4. A least-squares line through rows rises by D from their first to their last step. It is a *trend* if |D| is
//!    more than `significance` standard errors and more than ½ `tolerance`·|mean|. If the line of the stretch is
//!    one, or that of the last 2m rows (of all, if fewer) with a slope within `significance` standard errors of the
//!    stretch's, the phase is [`Sharpening`](Phase::Sharpening) or [`Flattening`](Phase::Flattening). It began
//!    at the first of those rows, or at earlier blocks of `window`/2 rows as long as each block's mean lies below
//!    (above) that of the block after.
//! 5. Otherwise, if the last rows by themselves, from `window`/2 (but 4) to `window` − 1 of them, have less than half of
//!    the stretch's (s²ₘ + f²)/m, their level is better known without the rows before: a change ended less than
//!    `window` rows ago, and the phase is `Undetermined` until they are as many. By chance alone rows without a
//!    change are taken for that in 1 to 2% of cases if independent, in 5% with a correlation of ½ from row to row.
//! 6. Otherwise the phase is [`Plateau`](Phase::Plateau), since the first row of the stretch.
//!
//! So a ramp slower than half the tolerance over the rows that are there is a plateau, until there are more rows;
//! and after a change, `window` rows are needed to see the new phase. A spike above `unstable_ratio` starts a
//! new history, a dip inside a plateau does so only if the rows behind it alone give a better known mean.

use burn::config::Config;

use super::level::{Drift, Level};
use super::{in_range, positive};
use crate::error::{Error, Result};

/// Settings of [`PhaseDetector`]; the [module](self) has the rule.
#[derive(Config, Debug)]
pub struct PhaseDetectorConfig {
    /// The fewest rows that make a phase, at least 4.
    #[config(default = 16)]
    pub window: usize,
    /// Relative drift that matters.
    #[config(default = 0.05)]
    pub tolerance: f64,
    /// Standard errors that a drift must exceed.
    #[config(default = 3.0)]
    pub significance: f64,
    /// Ratios above this are unstable. Mini-batch sharpness sits at ratios up to 2.
    #[config(default = 3.0)]
    pub unstable_ratio: f64,
}

impl PhaseDetectorConfig {
    /// A detector without rows.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`].
    pub fn init(&self) -> Result<PhaseDetector> {
        in_range("window", self.window as f64, self.window >= 4, "at least 4")?;
        positive("tolerance", self.tolerance)?;
        positive("significance", self.significance)?;
        positive("unstable_ratio", self.unstable_ratio)?;
        Ok(PhaseDetector {
            config: self.clone(),
            steps: Vec::new(),
            values: Vec::new(),
            ratios: Vec::new(),
        })
    }
}

/// What a training run does, as its measurements tell. Steps are training steps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// Too few rows to say, since training began or since a change.
    Undetermined {
        /// Rows so far, since the last unstable one.
        n_rows: usize,
    },
    /// The ratio rises: progressive sharpening.
    Sharpening {
        /// Step of its first row.
        since: usize,
        /// Change of the ratio since then.
        drift: Drift,
    },
    /// The ratio falls.
    Flattening {
        /// Step of its first row.
        since: usize,
        /// Change of the ratio since then.
        drift: Drift,
    },
    /// The ratio stays where it is.
    Plateau {
        /// Step of its first row.
        since: usize,
        /// The ratio's level.
        ratio: Level,
        /// The measured value's level: a mean over different thresholds where those change.
        value: Level,
    },
    /// The ratio is beyond all bounds.
    Unstable {
        /// Step of its first row.
        since: usize,
    },
}

/// Tells the phase of a run, row by row: the same rows give the same phase, pushed one by one or all at
/// once. Keeps three numbers per row; a push costs a pass over the rows.
///
/// ```
/// use burn_sharpness::stability::{Phase, PhaseDetectorConfig};
///
/// let mut detector = PhaseDetectorConfig::new().init()?;
/// for step in 0..60 {
///     let sharpness = (0.5 * step as f64).min(20.0);
///     detector.push(step, sharpness, 20.0)?;
/// }
/// let Phase::Plateau { since, ratio, .. } = detector.phase() else { panic!() };
/// assert!((39..=41).contains(&since) && (ratio.mean - 1.0).abs() < 1e-2);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PhaseDetector {
    config: PhaseDetectorConfig,
    steps: Vec<usize>,
    values: Vec<f64>,
    ratios: Vec<f64>,
}

/// The rows whose mean is best known.
struct Stretch {
    /// The first of them.
    first: usize,
    /// Fewer rows than a window would not be known far better.
    settled: bool,
}

impl PhaseDetector {
    /// Adds a row and returns the phase. A value that is NaN or infinite is a row: an unstable one.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a step that does not come after the last one or a threshold that is not
    /// positive and finite; the row is then not added.
    pub fn push(&mut self, step: usize, value: f64, threshold: f64) -> Result<Phase> {
        self.add(step, value, threshold)?;
        Ok(self.phase())
    }

    /// Adds several rows (step, value, threshold) and returns the phase after the last.
    ///
    /// # Errors
    /// As [`push`](Self::push); the rows before the one that is refused are added.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = (usize, f64, f64)>) -> Result<Phase> {
        rows.into_iter()
            .try_for_each(|(step, value, threshold)| self.add(step, value, threshold))?;
        Ok(self.phase())
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.steps.len()
    }

    fn add(&mut self, step: usize, value: f64, threshold: f64) -> Result<()> {
        positive("threshold", threshold)?;
        if self.steps.last().is_some_and(|&last| step <= last) {
            let (setting, value) = ("step", step.to_string());
            let expected = "greater than that of the row before; sort the rows, and start a new \
                            detector for a new run";
            return Err(Error::InvalidSetting { setting, value, expected });
        }
        self.steps.push(step);
        self.values.push(value);
        self.ratios.push(value / threshold);
        Ok(())
    }

    /// The phase after the last row.
    pub fn phase(&self) -> Phase {
        let unstable = |ratio: &f64| ratio.is_nan() || ratio.abs() > self.config.unstable_ratio;
        let start = self.ratios.iter().rposition(unstable).map_or(0, |last| last + 1);
        let n_rows = self.ratios.len() - start;
        if n_rows == 0 && start > 0 {
            let run = self.ratios.iter().rev().take_while(|ratio| unstable(ratio)).count();
            return Phase::Unstable { since: self.steps[start - run] };
        }
        if n_rows < self.config.window {
            return Phase::Undetermined { n_rows };
        }
        let stretch = self.stretch(&self.ratios[start..]);
        let first = start + stretch.first;
        let (drift, trends) = self.drift(first);
        // A stretch of a noisy ramp is too short to see the ramp, twice as many rows are not.
        let twice = start.max((2 * first).saturating_sub(self.ratios.len()));
        let (wide, wide_trends) = self.drift(twice);
        let distance = (wide.per_step - drift.per_step).abs();
        let goes_on = wide_trends && distance <= self.config.significance * drift.standard_error;
        if !trends && !goes_on && !stretch.settled {
            return Phase::Undetermined { n_rows };
        }
        if !trends && !goes_on {
            let (ratio, value) =
                (Level::of(&self.ratios[first..]), Level::of(&self.values[first..]));
            return Phase::Plateau { since: self.steps[first], ratio, value };
        }
        let rises = if trends { drift.per_step > 0.0 } else { wide.per_step > 0.0 };
        let first = self.onset(start, if trends { first } else { twice }, rises);
        let (since, drift) = (self.steps[first], self.drift(first).0);
        if rises { Phase::Sharpening { since, drift } } else { Phase::Flattening { since, drift } }
    }

    /// The stretch of step 3, and whether step 5 lets it be a plateau.
    fn stretch(&self, ratios: &[f64]) -> Stretch {
        let window = self.config.window;
        let recent = &ratios[ratios.len() - window..];
        let level = recent.iter().sum::<f64>() / window as f64;
        let floor = (self.config.tolerance * level).powi(2) / 12.0;
        // Around the last ratio, so that a constant series has no variance at all.
        let origin = ratios[ratios.len() - 1];
        let (mut sum, mut squares) = (0.0, 0.0);
        let (mut first, mut least, mut least_short) = (0, f64::INFINITY, f64::INFINITY);
        for (index, ratio) in ratios.iter().enumerate().rev() {
            let distance = ratio - origin;
            sum += distance;
            squares += distance * distance;
            let n_rows = ratios.len() - index;
            let m = n_rows as f64;
            let variance = (squares / m - (sum / m).powi(2)).max(0.0);
            let error = (variance + floor) / m;
            if n_rows >= window && error <= least {
                (first, least) = (index, error);
            } else if n_rows < window && n_rows >= (window / 2).max(4) {
                least_short = least_short.min(error);
            }
        }
        Stretch { first, settled: least <= 2.0 * least_short }
    }

    /// The first row of a trend that includes `first`: blocks before it are added while they continue it.
    fn onset(&self, start: usize, first: usize, rises: bool) -> usize {
        let block = self.config.window / 2;
        let mean = |from: usize| self.ratios[from..from + block].iter().sum::<f64>();
        let mut first = first;
        while first >= start + block {
            let (earlier, later) = (mean(first - block), mean(first));
            if (earlier < later) != rises || earlier == later {
                break;
            }
            first -= block;
        }
        first
    }

    /// The line through the rows from `first` on, and whether it is a trend by step 4.
    fn drift(&self, first: usize) -> (Drift, bool) {
        let origin = self.steps[first];
        let steps: Vec<f64> = self.steps[first..].iter().map(|s| (s - origin) as f64).collect();
        let ratios = &self.ratios[first..];
        let drift = Drift::of(&steps, ratios);
        let span = steps.last().copied().unwrap_or_default();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        let matters = 0.5 * self.config.tolerance * mean.abs();
        let noise = self.config.significance * drift.standard_error * span;
        (drift, (drift.per_step * span).abs() > matters.max(noise))
    }
}
