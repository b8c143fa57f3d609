//! Settings of a monitor.

use std::collections::BTreeMap;

use burn::config::Config;

use super::budget::Budget;
use super::cadence::Cadence;
use super::instruments::Instruments;
use super::monitor::{SharpnessMonitor, Watch};
use super::stopwatch::Stopwatch;
use super::{History, Measure};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::spectrum::SpectralDensityConfig;
use crate::stability::PhaseDetectorConfig;

/// Settings of [`SharpnessMonitor`].
#[derive(Config, Debug)]
pub struct SharpnessMonitorConfig {
    /// Samples per mini-batch: those of the training.
    pub batch_size: usize,
    /// What is measured; by default mini-batch sharpness and batch sharpness.
    #[config(default = "vec![Measure::MiniBatchSharpness, Measure::BatchSharpness]")]
    pub measures: Vec<Measure>,
    /// When, unless `cadences` says otherwise; by default every 100 steps. A quantity that is due waits until the model
    /// was used for the first time and `budget` has paid for it.
    #[config(default = "Cadence::Every(100)")]
    pub cadence: Cadence,
    /// When, for single quantities; by default as `cadence` says for all.
    #[config(default = "Vec::new()")]
    pub cadences: Vec<(Measure, Cadence)>,
    /// What all measurements may cost. By default 4% by the clock, so that training takes at most 5% longer: what
    /// a measurement displaces from caches and memory pools is not on its clock.
    #[config(default = "Budget::Time(0.04)")]
    pub budget: Budget,
    /// The most mini-batches of a measurement of mini-batch sharpness, 16 by default. A budget may pay for fewer, down
    /// to four.
    #[config(default = 16)]
    pub num_batches: usize,
    /// The most mini-batches of a measurement of batch sharpness, which takes one product for each: 64 by default. A
    /// budget may pay for fewer, down to four.
    #[config(default = 64)]
    pub num_gradients: usize,
    /// Samples per chunk of the Hessian of all data, 1024 by default.
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Eigenvalues are converged when ‖Hv − λv‖ ≤ `rel_tol`·|λ|; 0.1% by default.
    #[config(default = 1e-3)]
    pub rel_tol: f64,
    /// Memory for the mini-batches that are worked on side by side, in MiB, on a processor for each of its
    /// threads: 64 by default, better thousands on a GPU.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Which network is measured; by default the one of training, without dropout and other noise.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
    /// Seed of batches and start vectors, 0 by default.
    #[config(default = 0)]
    pub seed: u64,
    /// The density of eigenvalues of all data, and when; none by default: it takes 512 products.
    #[config(default = "None")]
    pub spectrum: Option<(Cadence, SpectralDensityConfig)>,
    /// How phases are told; by default from 16 measurements on.
    #[config(default = "PhaseDetectorConfig::new()")]
    pub phases: PhaseDetectorConfig,
}

impl SharpnessMonitorConfig {
    /// The monitor for `loss`, a closure from model and batch to one number.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a batch size, a cadence, a budget or a quantity that makes no sense.
    pub fn init<F: Clone>(&self, loss: F) -> Result<SharpnessMonitor<F>> {
        let fail =
            |setting, value, expected| Err(Error::InvalidSetting { setting, value, expected });
        if let Some(fraction) = self.budget.fraction()
            && !(fraction > 0.0 && fraction.is_finite())
        {
            return fail("budget", fraction.to_string(), "positive and finite");
        }
        if self.batch_size == 0 {
            return fail("batch_size", "0".into(), "at least 1");
        }
        if let Some(Measure::Custom(name)) =
            self.measures.iter().find(|measure| matches!(measure, Measure::Custom(_)))
        {
            let expected = "one that a monitor knows how to measure; hand your own to `note`";
            return fail("measures", name.clone(), expected);
        }
        let mut watches = Vec::new();
        for measure in &self.measures {
            let own = self.cadences.iter().find(|(of, _)| of == measure);
            let cadence = own.map_or(&self.cadence, |(_, cadence)| cadence).clone();
            watches.push(Watch::new(Some(measure.clone()), cadence)?);
        }
        if let Some((of, _)) = self.cadences.iter().find(|(of, _)| !self.measures.contains(of)) {
            return fail("cadences", of.to_string(), "quantities in `measures`");
        }
        if let Some((cadence, _)) = &self.spectrum {
            watches.push(Watch::new(None, cadence.clone())?);
        }
        Ok(SharpnessMonitor {
            instruments: Instruments::new(self, loss),
            watches,
            detector: self.phases.init()?,
            config: self.clone(),
            edge: None,
            watched: None,
            notes: BTreeMap::new(),
            history: History::default(),
            sinks: Vec::new(),
            stopwatch: Stopwatch::default(),
            counts: None,
        })
    }
}
