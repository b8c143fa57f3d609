//! The monitor: estimators, cadences, a budget, a history and its sinks, beside a training loop.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::budget::{Budget, Ledger, MIN_BATCHES, Size, passes};
use super::cadence::{Cadence, Clock};
use super::instruments::{Instruments, Subject};
use super::warm_start::WarmStart;
use super::{History, Measure, Observe, Row, RowPhase, Value};
use crate::batch;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::spectrum::SpectralDensityConfig;
use crate::stability::{PhaseDetector, PhaseDetectorConfig, SgdStabilityConfig, Stability};

/// Settings of [`SharpnessMonitor`].
#[derive(Config, Debug)]
pub struct SharpnessMonitorConfig {
    /// Samples per mini-batch: those of the training.
    pub batch_size: usize,
    /// What is measured.
    #[config(default = "vec![Measure::MiniBatchSharpness, Measure::BatchSharpness]")]
    pub measures: Vec<Measure>,
    /// When, unless `cadences` says otherwise.
    #[config(default = "Cadence::Every(100)")]
    pub cadence: Cadence,
    /// When, for single quantities.
    #[config(default = "Vec::new()")]
    pub cadences: Vec<(Measure, Cadence)>,
    /// What all measurements may cost.
    #[config(default = "Budget::Time(0.05)")]
    pub budget: Budget,
    /// Mini-batches of a measurement of mini-batch sharpness.
    #[config(default = 16)]
    pub num_batches: usize,
    /// Mini-batches of a measurement of batch sharpness, which takes one product for each.
    #[config(default = 64)]
    pub num_gradients: usize,
    /// Samples per chunk of the Hessian of all data.
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Eigenvalues are converged when ‖Hv − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-3)]
    pub rel_tol: f64,
    /// Memory for the mini-batches that are worked on side by side, in MiB; thousands on a GPU.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Which network is measured.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
    /// Seed of batches and start vectors.
    #[config(default = 0)]
    pub seed: u64,
    /// The density of eigenvalues of all data, and when; none by default: it takes 512 products.
    #[config(default = "None")]
    pub spectrum: Option<(Cadence, SpectralDensityConfig)>,
    /// How phases are told.
    #[config(default = "PhaseDetectorConfig::new()")]
    pub phases: PhaseDetectorConfig,
}

impl SharpnessMonitorConfig {
    /// The monitor for `loss`, a closure from model and batch to one number.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a cadence, a budget or a quantity that makes no sense.
    pub fn init<F: Clone>(&self, loss: F) -> Result<SharpnessMonitor<F>> {
        let fail =
            |setting, value, expected| Err(Error::InvalidSetting { setting, value, expected });
        if let Some(fraction) = self.budget.fraction()
            && !(fraction > 0.0 && fraction.is_finite())
        {
            return fail("budget", fraction.to_string(), "positive and finite");
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
        })
    }
}

/// Where training stands: what a monitor cannot see by itself.
///
/// A `usize` is a step of which nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TrainingStep {
    /// Updates that the parameters have had.
    pub step: usize,
    /// Passes through the data before this step. Without it, `step` · `batch_size` / samples.
    pub epoch: Option<usize>,
    /// η of the update that follows.
    pub learning_rate: Option<f64>,
    /// The training loss, for the history.
    pub loss: Option<f64>,
}

impl TrainingStep {
    /// Step number `step`: the parameters have had that many updates.
    pub fn new(step: usize) -> Self {
        Self { step, ..Self::default() }
    }

    /// With the epoch.
    pub fn with_epoch(self, epoch: usize) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    /// With the learning rate η of the update that follows: the threshold is that of η.
    pub fn with_learning_rate(self, learning_rate: f64) -> Self {
        Self { learning_rate: Some(learning_rate), ..self }
    }

    /// With the training loss.
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss: Some(loss), ..self }
    }
}

impl From<usize> for TrainingStep {
    fn from(step: usize) -> Self {
        Self::new(step)
    }
}

/// The update that follows a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    /// η, as the optimizer gets it.
    pub learning_rate: Option<f64>,
    /// Gradients of mini-batches that the optimizer gets the sum of.
    pub n_summed: usize,
}

/// A row that was measured and waits for its update, and what failed.
#[derive(Debug)]
pub(crate) struct Measured {
    row: Row,
    result: Result<()>,
}

/// One quantity (`None`: the spectrum), and when it was measured at which cost.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub measure: Option<Measure>,
    cadence: Cadence,
    pub clock: Clock,
    pub ledger: Ledger,
    pub warm_start: WarmStart,
}

impl Watch {
    fn new(measure: Option<Measure>, cadence: Cadence) -> Result<Self> {
        cadence.check()?;
        let (clock, ledger, warm_start) = Default::default();
        Ok(Self { measure, cadence, clock, ledger, warm_start })
    }

    fn needs_batch(&self) -> bool {
        matches!(self.measure, Some(Measure::LiveSharpness | Measure::StepSharpness))
    }
}

/// Time and work of training and of measurements. Training is what happens between two calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stopwatch {
    /// Seconds of training.
    pub training: f64,
    /// Seconds of measurements.
    pub measuring: f64,
    /// Steps of training.
    pub n_steps: usize,
    /// The last step that was seen, and when its call returned; no time after the run was interrupted.
    last: Option<(usize, Option<Instant>)>,
}

impl Stopwatch {
    /// Sees a step.
    fn tick(&mut self, step: usize) {
        if let Some((last, returned)) = self.last {
            self.training += returned.map_or(0.0, |returned| returned.elapsed().as_secs_f64());
            self.n_steps += step.saturating_sub(last);
        }
        self.last = Some((step, Some(Instant::now())));
    }

    /// The call of this step returns.
    fn resume(&mut self) {
        self.last = self.last.map(|(step, _)| (step, Some(Instant::now())));
    }

    /// Time since the last [`tick`](Self::tick) or [`resume`](Self::resume), in seconds.
    fn elapsed(&self) -> f64 {
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

/// Measures the sharpness of a model while it trains: what, when, at which cost, and where it goes.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::{GradientsParams, SgdConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::observe::{Budget, Cadence, TrainingStep};
/// use burn_sharpness::prelude::*;
///
/// # let device = Device::flex().autodiff();
/// # let mut model = LinearConfig::new(4, 2).init(&device);
/// # let data = Tensor::<2>::random([64, 4], Distribution::Default, &device);
/// # let (mut optimizer, eta) = (SgdConfig::new().init(), 0.1);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// let mut monitor = SharpnessMonitorConfig::new(8)
///     .with_cadence(Cadence::Every(10))
///     .with_budget(Budget::Unlimited)
///     .init(loss)?;
/// for step in 0..30 {
///     if let Some(row) = monitor.observe(TrainingStep::new(step).with_learning_rate(eta), &model, &data)? {
///         println!("step {step}: {:.2} of the edge", row.ratio().unwrap());
///     }
///     let gradients = loss(&model, data.clone().narrow(0, step % 8 * 8, 8)).backward();
///     model = optimizer.step(eta, model.clone(), GradientsParams::from_grads(gradients, &model));
/// }
/// assert_eq!(monitor.history().rows().len(), 3);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
///
/// Measurements see the parameters before the update of their step, change nothing, and leave the random
/// streams of the training alone: with and without them it is the same, bit for bit.
pub struct SharpnessMonitor<F> {
    pub(super) config: SharpnessMonitorConfig,
    pub(super) instruments: Instruments<F>,
    pub(super) watches: Vec<Watch>,
    edge: Option<Stability>,
    watched: Option<Measure>,
    pub(super) detector: PhaseDetector,
    notes: BTreeMap<Measure, Value>,
    pub(super) history: History,
    sinks: Vec<Box<dyn Observe>>,
    pub(super) stopwatch: Stopwatch,
}

impl<F> fmt::Debug for SharpnessMonitor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharpnessMonitor")
            .field("config", &self.config)
            .field("n_rows", &self.history.rows().len())
            .finish_non_exhaustive()
    }
}

impl<F> SharpnessMonitor<F> {
    /// The edge of the optimizer. Without it, the edge is that of plain SGD, 2/η, as soon as a
    /// [`TrainingStep`] has η. With η in a step, the edge is moved there.
    pub fn with_edge(mut self, edge: Stability) -> Self {
        self.edge = Some(edge);
        self
    }

    /// The quantity that is compared with the threshold and tells the phase. Without it: full-batch
    /// sharpness for an edge of full-batch training; else batch sharpness; of those that are
    /// not measured, the first that is.
    pub fn with_watched(mut self, measure: Measure) -> Self {
        self.watched = Some(measure);
        self
    }

    /// Sends every row to `sink`, too.
    pub fn with_sink(mut self, sink: impl Observe + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// What was measured so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Time of measurements over time of training without them, as far as it was seen.
    pub fn overhead(&self) -> Option<f64> {
        let Stopwatch { training, measuring, .. } = self.stopwatch;
        (training > 0.0).then(|| measuring / training)
    }

    /// Adds a quantity of the user's own to the next row.
    pub fn note(&mut self, name: &str, value: Value) {
        self.notes.insert(Measure::Custom(name.into()), value);
    }

    /// Sees a training step, before its update, and measures what is due. The row, if anything was
    /// measured.
    ///
    /// Call it at every step: the time between two calls is what counts as training.
    ///
    /// # Errors
    /// What the estimators raise, for example [`Error::NonFinite`] when the training diverged: the row is
    /// recorded with the message, quantities that were measured before stay in it, and the monitor
    /// goes on at the next step that is due. What a sink raises.
    pub fn observe<M, B>(
        &mut self,
        at: impl Into<TrainingStep>,
        model: &M,
        data: &B,
    ) -> Result<Option<&Row>>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        self.see(at.into(), model, data, None)
    }

    /// As [`observe`](Self::observe), with the batch of the training step, for
    /// [`Measure::LiveSharpness`] and [`Measure::StepSharpness`].
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub fn observe_with_batch<M, B>(
        &mut self,
        at: impl Into<TrainingStep>,
        model: &M,
        data: &B,
        batch: &B,
    ) -> Result<Option<&Row>>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        self.see(at.into(), model, data, Some(batch))
    }

    /// Whether a quantity is one of the batch of a training step.
    #[cfg(feature = "train")]
    pub(crate) fn needs_batch(&self) -> bool {
        self.watches.iter().any(Watch::needs_batch)
    }

    fn see<M, B>(
        &mut self,
        at: TrainingStep,
        model: &M,
        data: &B,
        batch: Option<&B>,
    ) -> Result<Option<&Row>>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let Some(measured) = self.measure_at(at, model, data, batch)? else { return Ok(None) };
        let learning_rate = at.learning_rate;
        self.complete(measured, Some(Update { learning_rate, n_summed: 1 })).map(Some)
    }

    /// Sees a step and measures what is due. The row waits for [`complete`](Self::complete).
    pub(crate) fn measure_at<M, B>(
        &mut self,
        at: TrainingStep,
        model: &M,
        data: &B,
        batch: Option<&B>,
    ) -> Result<Option<Measured>>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        self.stopwatch.tick(at.step);
        let n_samples = batch::n_samples(data)?;
        let epoch = at.epoch.unwrap_or(at.step * self.config.batch_size / n_samples);
        let due = self.due(at.step, epoch, n_samples, batch.is_some());
        if due.is_empty() {
            self.stopwatch.resume();
            return Ok(None);
        }
        // Work that a device has still to do is training's.
        if let Some(device) = model.devices().first() {
            let synced = device.sync();
            synced.map_err(|error| Error::Execution { message: error.to_string() })?;
        }
        self.stopwatch.tick(at.step);
        let mut row = Row { epoch: Some(epoch), ..self.blank_row(at) };
        let subject = Subject { model, data, batch };
        #[cfg(feature = "tracing")]
        let _span = tracing::info_span!("measure_sharpness", step = at.step).entered();
        let result = self.measure(&mut row, &due, &subject);
        if let Err(error) = &result {
            row.error = Some(error.to_string());
        }
        row.values.append(&mut self.notes);
        let seconds = self.stopwatch.elapsed();
        self.stopwatch.measuring += seconds;
        row.cost.seconds = seconds;
        row.cost.overhead = self.overhead();
        self.stopwatch.resume();
        Ok(Some(Measured { row, result }))
    }

    /// Judges a measured row by the update that followed, keeps it and hands it to the sinks. Without an
    /// update, or with one that has no single learning rate, the row has no threshold.
    pub(crate) fn complete(&mut self, measured: Measured, update: Option<Update>) -> Result<&Row> {
        let Measured { mut row, result } = measured;
        // What follows is no training either.
        self.stopwatch.tick(row.step);
        let judged = update.map_or(Ok(()), |update| self.judge(&mut row, update));
        self.history.push(row)?;
        let rows = self.history.rows();
        let row = &rows[rows.len() - 1]; // the one that was pushed
        let sent: Vec<_> = self.sinks.iter_mut().map(|sink| sink.on_row(row)).collect();
        let sent: Result<()> = sent.into_iter().collect();
        self.stopwatch.resume();
        result.and(judged).and(sent)?;
        Ok(row)
    }

    fn blank_row(&self, at: TrainingStep) -> Row {
        Row {
            learning_rate: at.learning_rate,
            batch_size: Some(self.config.batch_size),
            loss: at.loss,
            ..Row::at(at.step)
        }
    }

    /// The watches that are due and affordable, with the units that they may measure.
    fn due(
        &mut self,
        step: usize,
        epoch: usize,
        n_samples: usize,
        has_batch: bool,
    ) -> Vec<(usize, usize)> {
        let Stopwatch { training, n_steps, .. } = self.stopwatch;
        let trained = (n_steps * self.config.batch_size) as f64;
        let (available, per_pass) = match self.config.budget {
            Budget::Unlimited => (None, 1.0),
            Budget::Work(fraction) => (Some(fraction * trained), 1.0),
            Budget::Time(fraction) => {
                (Some(fraction * training), training / trained.max(f64::MIN_POSITIVE))
            }
        };
        let share = available.map(|available| available / self.watches.len() as f64);
        let mut due = Vec::new();
        for number in 0..self.watches.len() {
            let size = self.size(number, n_samples);
            let watch = &mut self.watches[number];
            let is_due = watch.clock.tick(&watch.cadence, step, Some(epoch));
            if is_due
                && (has_batch || !watch.needs_batch())
                && let Some(n_units) = watch.ledger.affordable(size, share, per_pass)
            {
                due.push((number, n_units));
            }
        }
        due
    }

    fn size(&self, number: usize, n_samples: usize) -> Size {
        let SharpnessMonitorConfig { batch_size, num_batches, num_gradients, .. } = self.config;
        let of_batches = |n_units, is_solve| Size {
            n_units,
            min_units: MIN_BATCHES,
            samples_per_unit: batch_size,
            is_solve,
        };
        let of_data = Size { samples_per_unit: n_samples, ..of_batches(1, true) };
        match self.watches[number].measure {
            Some(Measure::MiniBatchSharpness) => of_batches(num_batches, true),
            Some(Measure::BatchSharpness) => of_batches(num_gradients, false),
            Some(Measure::LiveSharpness) => of_batches(1, true),
            Some(Measure::StepSharpness) => of_batches(1, false),
            _ => of_data,
        }
    }

    /// Measures what is due, until something fails.
    fn measure<M, B>(
        &mut self,
        row: &mut Row,
        due: &[(usize, usize)],
        subject: &Subject<'_, M, B>,
    ) -> Result<()>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let mut first = Ok(());
        for &(number, n_units) in due {
            let size = self.size(number, batch::n_samples(subject.data)?);
            let watch = &mut self.watches[number];
            let began = Instant::now();
            let is_warm = watch.warm_start.is_worthwhile();
            let result = match &watch.measure {
                None => self.instruments.spectrum(subject).map(|(spectrum, value)| {
                    row.spectrum = Some(spectrum);
                    value
                }),
                Some(measure) => {
                    self.instruments.measure(measure, subject, n_units, is_warm, &mut row.loss)
                }
            };
            let seconds = began.elapsed().as_secs_f64();
            let n_hvps = result.as_ref().map_or(0, |value| value.n_hvps);
            let per_unit = n_hvps as f64 / n_units as f64;
            watch.ledger.pay(
                match self.config.budget {
                    Budget::Work(_) => {
                        n_units as f64 * passes(size.samples_per_unit as f64, per_unit)
                    }
                    _ => seconds,
                },
                n_units,
            );
            row.cost.n_hvps += n_hvps;
            match result {
                Ok(mut value) => {
                    value.seconds = seconds;
                    watch.clock.measured(&watch.cadence, row.step, &value);
                    if size.is_solve {
                        watch.warm_start.record(is_warm, per_unit);
                    }
                    if let Some(measure) = &watch.measure {
                        row.values.insert(measure.clone(), value);
                    }
                }
                Err(error) => {
                    watch.clock.skip();
                    first = first.and(Err(error));
                }
            }
        }
        first
    }

    /// Threshold, watched quantity and phase of a row.
    fn judge(&mut self, row: &mut Row, update: Update) -> Result<()> {
        row.learning_rate = update.learning_rate;
        let edge = match (&self.edge, update.learning_rate) {
            (Some(edge), Some(rate)) => edge.at(rate)?,
            (Some(edge), None) => edge.clone(),
            (None, Some(rate)) => SgdStabilityConfig::new(rate).init()?,
            (None, None) => return Ok(()),
        };
        // The optimizer sees the loss that is the sum, which is `n_summed` times as curved as the mean.
        let threshold = edge.threshold() / update.n_summed as f64;
        row.threshold = Some(threshold);
        row.watched = self.watched();
        if let Some(value) = row.watched.as_ref().and_then(|measure| row.mean(measure)) {
            let phase = self.detector.push(row.step, value, threshold)?;
            row.phase = Some(RowPhase::from(&phase));
        }
        Ok(())
    }

    fn watched(&self) -> Option<Measure> {
        use crate::stability::Quantity;
        let is_full = self.edge.as_ref().is_some_and(|edge| {
            matches!(
                edge.quantity(),
                Quantity::FullBatchSharpness | Quantity::PreconditionedSharpness { .. }
            )
        });
        let order = if is_full {
            [Measure::FullBatchSharpness, Measure::MiniBatchSharpness, Measure::BatchSharpness]
        } else {
            [Measure::BatchSharpness, Measure::MiniBatchSharpness, Measure::FullBatchSharpness]
        };
        let is_measured = |measure: &Measure| self.config.measures.contains(measure);
        let default = || order.into_iter().find(is_measured);
        self.watched.clone().or_else(default)
    }
}
