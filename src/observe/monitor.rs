//! The monitor: estimators, cadences, a budget, a history and its sinks, beside a training loop.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::budget::{Budget, Currency, Ledger, Size, Work};
use super::cadence::{Cadence, Clock};
use super::config::SharpnessMonitorConfig;
use super::instruments::{Found, Instruments, Subject};
use super::stopwatch::Stopwatch;
use super::training_step::TrainingStep;
use super::warm_start::WarmStart;
use super::{History, Measure, Observe, Row, RowPhase, Value};
use crate::error::{Error, Result};
use crate::samples::{self, Samples};
use crate::stability::{PhaseDetector, Quantity, SgdStabilityConfig, Stability};

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
    /// Its measurement failed for a reason that stays.
    is_given_up: bool,
}

impl Watch {
    pub fn new(measure: Option<Measure>, cadence: Cadence) -> Result<Self> {
        cadence.check()?;
        let (clock, ledger, warm_start) = Default::default();
        Ok(Self { measure, cadence, clock, ledger, warm_start, is_given_up: false })
    }

    fn needs_batch(&self) -> bool {
        matches!(self.measure, Some(Measure::LiveSharpness | Measure::StepSharpness))
    }
}

/// A watch that is due, by its number, and how much of it is paid for.
#[derive(Clone, Copy)]
struct Due {
    number: usize,
    n_units: usize,
    size: Size,
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
///     let at = TrainingStep::new(step).with_learning_rate(eta);
///     // Within a budget each quantity comes at its own steps: not every row has the one that is compared.
///     if let Some(ratio) = monitor.observe(at, &model, &data)?.and_then(|row| row.ratio()) {
///         println!("step {step}: {ratio:.2} of the edge");
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
    pub(super) edge: Option<Stability>,
    pub(super) watched: Option<Measure>,
    pub(super) detector: PhaseDetector,
    pub(super) notes: BTreeMap<Measure, Value>,
    pub(super) history: History,
    pub(super) sinks: Vec<Box<dyn Observe>>,
    pub(super) stopwatch: Stopwatch,
    /// Samples, and parameters of the model with frozen ones, as far as known since the last measurement.
    pub(super) counts: Option<(usize, usize)>,
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

    /// The quantity that is compared with the threshold and tells the phase. Without it, the one that the
    /// edge is for ([`Stability::quantity`]) if it is measured: full-batch sharpness, or batch sharpness and
    /// in its place mini-batch sharpness, its upper bound. An edge with a preconditioner (Adam, RMSProp) is for a
    /// quantity that the monitor does not measure: [`note`](Self::note) it and name it here. Where nothing
    /// is watched, rows have no ratio and no phase, and an edge is an error.
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

    /// The step that comes next: the one after the last that was seen, 0 at first. A monitor that was
    /// [loaded](Self::load) goes on there, and so does its file:
    /// [`HistoryFile::resume(path, monitor.next_step())`](super::HistoryFile::resume).
    pub fn next_step(&self) -> usize {
        self.stopwatch.last_step().map_or(0, |step| step + 1)
    }

    /// Time of measurements over time of training without them, as far as it was seen.
    pub fn overhead(&self) -> Option<f64> {
        let Stopwatch { training, measuring, .. } = self.stopwatch;
        (training > 0.0).then(|| measuring / training)
    }

    /// What follows, up to the next call of [`observe`](Self::observe), is no training and pays for no
    /// measurements: an evaluation, a pause.
    pub fn pause(&mut self) {
        self.stopwatch.pause();
    }

    /// Adds a quantity of the user's own to the next row, as [`Measure::Custom`].
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a value with NaN or infinity, which rows cannot hold; [`Error::InvalidSetting`] for
    /// the name of a quantity that a monitor measures, such as `batch_sharpness`: files know quantities by name.
    pub fn note(&mut self, name: &str, value: Value) -> Result<()> {
        value.check()?;
        let measure = Measure::from(name);
        if !matches!(measure, Measure::Custom(_)) {
            let expected = "a name of your own, which is no key of a `Measure`; name it after how it differs, or add \
                            the quantity to `measures` and let the monitor measure it";
            return Err(Error::InvalidSetting { setting: "name", value: name.into(), expected });
        }
        self.notes.insert(measure, value);
        Ok(())
    }

    /// Sees a training step, before its update, and measures what is due. The row, if anything was
    /// measured.
    ///
    /// Call it at every step: the time between two calls is what counts as training, up to a
    /// [`pause`](Self::pause). Nothing is measured
    /// before the model was used for the first time, when burn draws its parameters.
    ///
    /// # Errors
    /// What the estimators raise, for example [`Error::NonFinite`] when the training diverged: the row is
    /// recorded with the message, quantities that were measured before stay in it, and the monitor
    /// goes on at the next step that is due; a quantity whose loss cannot be recorded is not tried again.
    /// [`Error::InvalidSetting`] for an edge of a quantity that is not measured. What a sink raises.
    pub fn observe<M, S>(
        &mut self,
        at: impl Into<TrainingStep>,
        model: &M,
        data: &S,
    ) -> Result<Option<&Row>>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.see(at.into(), model, data, None)
    }

    /// As [`observe`](Self::observe), with the batch of the training step, for
    /// [`Measure::LiveSharpness`] and [`Measure::StepSharpness`].
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub fn observe_with_batch<M, S>(
        &mut self,
        at: impl Into<TrainingStep>,
        model: &M,
        data: &S,
        batch: &S::Batch,
    ) -> Result<Option<&Row>>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.see(at.into(), model, data, Some(batch))
    }

    /// Whether a quantity is one of the batch of a training step.
    #[cfg(feature = "train")]
    pub(crate) fn needs_batch(&self) -> bool {
        self.watches.iter().any(Watch::needs_batch)
    }

    fn see<M, S>(
        &mut self,
        at: TrainingStep,
        model: &M,
        data: &S,
        batch: Option<&S::Batch>,
    ) -> Result<Option<&Row>>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let Some(measured) = self.measure_at(at, model, data, batch)? else { return Ok(None) };
        let learning_rate = at.learning_rate;
        self.complete(measured, Some(Update { learning_rate, n_summed: 1 })).map(Some)
    }

    /// Sees a step and measures what is due. The row waits for [`complete`](Self::complete).
    pub(crate) fn measure_at<M, S>(
        &mut self,
        at: TrainingStep,
        model: &M,
        data: &S,
        batch: Option<&S::Batch>,
    ) -> Result<Option<Measured>>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.stopwatch.tick(at.step);
        let counts = match self.counts {
            Some(counts) => counts,
            None => (samples::count(data)?, model.num_params()),
        };
        self.counts = Some(counts);
        let epoch = at.epoch.unwrap_or(at.step * self.config.batch_size / counts.0);
        let due = self.due(at.step, epoch, counts, batch.is_some());
        // What is due waits while burn has still to draw parameters: it draws them at their first use, and a
        // measurement would use them in another order than training.
        if due.is_empty() || !is_initialized(model) {
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
        row.cost.seconds = self.stopwatch.elapsed();
        self.stopwatch.resume();
        row.cost.overhead = self.overhead();
        self.counts = None; // data may change between measurements; steps are too many to count at each
        Ok(Some(Measured { row, result }))
    }

    /// Judges a measured row by the update that followed, keeps it and hands it to the sinks. Without an
    /// update, or with one that has no single learning rate, the row has no threshold.
    pub(crate) fn complete(&mut self, measured: Measured, update: Option<Update>) -> Result<&Row> {
        let Measured { mut row, result } = measured;
        // What follows is no training either.
        self.stopwatch.tick(row.step);
        let judged = update.map_or(Ok(()), |update| self.judge(&mut row, update));
        if let Err(error) = &judged {
            row.error.get_or_insert_with(|| error.to_string());
        }
        self.history.push(row)?;
        let rows = self.history.rows();
        let row = &rows[rows.len() - 1]; // the one that was pushed
        let mut sent = Ok(());
        for sink in &mut self.sinks {
            sent = sent.and(sink.on_row(row)); // every sink sees it
        }
        self.stopwatch.resume();
        result.and(judged).and(sent)?;
        Ok(row)
    }

    fn blank_row(&self, at: TrainingStep) -> Row {
        Row {
            batch_size: Some(self.config.batch_size),
            // That of a training that diverged is no number, and the row is to be kept.
            loss: at.loss.filter(|loss| loss.is_finite()),
            ..Row::at(at.step)
        }
    }

    /// The watches that are due and affordable.
    fn due(
        &mut self,
        step: usize,
        epoch: usize,
        counts: (usize, usize),
        has_batch: bool,
    ) -> Vec<Due> {
        let Stopwatch { training, measuring, n_steps, .. } = self.stopwatch;
        let trained = (n_steps * self.config.batch_size) as f64;
        let (available, per_pass) = match self.config.budget {
            Budget::Unlimited => (None, 1.0),
            Budget::Work(fraction) => (Some(fraction * trained), 1.0),
            Budget::Time(fraction) => {
                // Rows, sinks and looking whether something is due are no quantity's, and are paid first.
                let paid: f64 = self.watches.iter().map(|watch| watch.ledger.spent).sum();
                let others = measuring - paid;
                let per_pass = training / trained.max(f64::MIN_POSITIVE);
                (Some(fraction * training - others), per_pass)
            }
        };
        let share = available.map(|available| available / self.watches.len() as f64);
        let mut due = Vec::new();
        for number in 0..self.watches.len() {
            let size = self.instruments.size(self.watches[number].measure.as_ref(), counts);
            let watch = &mut self.watches[number];
            let is_due = watch.clock.tick(&watch.cadence, step, Some(epoch));
            if is_due
                && !watch.is_given_up
                && (has_batch || !watch.needs_batch())
                && let Some(n_units) = watch.ledger.affordable(size, share, per_pass)
            {
                due.push(Due { number, n_units, size });
            }
        }
        due
    }

    /// Measures everything that is due; the first failure.
    fn measure<M, S>(
        &mut self,
        row: &mut Row,
        due: &[Due],
        subject: &Subject<'_, M, S>,
    ) -> Result<()>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let mut first = Ok(());
        for &Due { number, n_units, size } in due {
            let watch = &mut self.watches[number];
            let began = Instant::now();
            let is_warm = watch.warm_start.is_worthwhile();
            let result = match &watch.measure {
                None => self.instruments.spectrum(subject).map(|(spectrum, value)| {
                    row.spectrum = Some(spectrum);
                    Found::from(value)
                }),
                Some(measure) => {
                    self.instruments.measure(measure, subject, n_units, is_warm, &mut row.loss)
                }
            };
            let seconds = began.elapsed().as_secs_f64();
            let (n_hvps, beside) = match &result {
                Ok(found) => (found.value.n_hvps, found.beside),
                Err(_) => (0, Work::NONE),
            };
            let own = Work { n_batches: n_units, n_hvps: n_hvps - beside.n_hvps, ..size.unit };
            let cost = match self.config.budget.currency() {
                Currency::Passes => own.passes() + beside.passes(),
                Currency::Seconds => seconds,
            };
            watch.ledger.pay(cost, n_units);
            row.cost.n_hvps += n_hvps;
            match result {
                Ok(Found { mut value, .. }) => {
                    value.seconds = seconds;
                    watch.clock.measured(&watch.cadence, row.step, &value);
                    if size.is_solve {
                        watch.warm_start.record(is_warm, n_hvps as f64 / n_units as f64);
                    }
                    if let Some(measure) = &watch.measure {
                        row.values.insert(measure.clone(), value);
                    }
                }
                Err(error) => {
                    watch.clock.skip(row.step);
                    watch.is_given_up = error.is_lasting();
                    first = first.and(Err(error));
                }
            }
        }
        first
    }

    /// Threshold, watched quantity and phase of a row.
    fn judge(&mut self, row: &mut Row, update: Update) -> Result<()> {
        row.learning_rate = update.learning_rate.filter(|rate| rate.is_finite());
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
        self.check_edge()?;
        if let Some(value) = row.watched.as_ref().and_then(|measure| row.mean(measure)) {
            let phase = self.detector.push(row.step, value, threshold)?;
            row.phase = Some(RowPhase::from(&phase));
        }
        Ok(())
    }

    /// Fails for an edge that nothing can be compared with.
    fn check_edge(&self) -> Result<()> {
        let Some(edge) = &self.edge else { return Ok(()) };
        if self.watched().is_some() {
            return Ok(());
        }
        Err(Error::InvalidSetting {
            setting: "edge",
            value: format!("that of {}", edge.quantity()),
            expected: "that of a quantity which is measured: add it to `measures`; hand a quantity that the monitor \
                       does not know (those with a preconditioner) to `note` and name it with `with_watched`",
        })
    }

    fn watched(&self) -> Option<Measure> {
        use Measure::{BatchSharpness, FullBatchSharpness, MiniBatchSharpness};
        let candidates: &[Measure] = match self.edge.as_ref().map(Stability::quantity) {
            // 2/η is the edge of plain SGD and of gradient descent.
            None => &[BatchSharpness, MiniBatchSharpness, FullBatchSharpness],
            Some(Quantity::BatchSharpness) => &[BatchSharpness, MiniBatchSharpness],
            Some(Quantity::FullBatchSharpness) => &[FullBatchSharpness],
            Some(_) => &[],
        };
        let default = candidates.iter().find(|measure| self.config.measures.contains(measure));
        self.watched.as_ref().or(default).cloned()
    }
}

fn is_initialized<M: Module>(model: &M) -> bool {
    struct Check(bool);
    impl ModuleVisitor for Check {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 &= param.is_initialized();
        }
    }
    let mut check = Check(true);
    model.visit(&mut check);
    check.0
}
