//! A model with its monitor.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use burn_train::checkpoint::CheckpointingStrategy;
use burn_train::{Interrupter, TrainStep};

use super::MonitorCheckpoints;
use super::probe::Held;
use super::shared::{Shared, Stop, lock};
use crate::batch::Batch;
use crate::error::Error;
use crate::observe::{History, SharpnessMonitor};
use crate::samples::Samples;

/// How a batch is cloned.
pub(super) type Keep<B> = fn(&B) -> B;

/// A model with a monitor, for burn-train: it trains as the model does, bit for bit, and is measured while it
/// does. See [the module](super) for a whole training.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::prelude::*;
/// use burn_sharpness::train::Monitored;
/// use burn_train::{RegressionOutput, TrainOutput, TrainStep};
///
/// type Batch = (Tensor<2>, Tensor<2>);
///
/// #[derive(Module, Debug)]
/// struct Net {
///     layer: Linear,
/// }
///
/// // What the training steps minimize.
/// fn loss(net: &Net, (x, y): Batch) -> Tensor<1> {
///     (net.layer.forward(x) - y).powi_scalar(2).sum_dim(1).mean()
/// }
///
/// impl TrainStep for Net {
///     type Input = Batch;
///     type Output = RegressionOutput;
///     fn step(&self, (x, y): Batch) -> TrainOutput<RegressionOutput> {
///         let loss = loss(self, (x.clone(), y.clone()));
///         let output = RegressionOutput::new(loss.clone(), self.layer.forward(x), y);
///         TrainOutput::new(self, loss.backward(), output)
///     }
/// }
///
/// let device = Device::flex().autodiff();
/// let tensor = |width| Tensor::<2>::random([64, width], Distribution::Default, &device);
/// let net = Net { layer: LinearConfig::new(4, 2).init(&device) };
/// let monitor = SharpnessMonitorConfig::new(8).init(loss)?;
/// let model = Monitored::new(net, monitor, (tensor(4), tensor(2)));
///
/// // The record is that of the model.
/// let record = model.clone().into_record();
/// let net: Net = model.into_inner().load_record(record);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
///
/// As a module it has no level of its own: paths of parameters and records are those of the model, so
/// records go both ways. Clones, forks and validation copies share the monitor. Only training steps measure.
pub struct Monitored<M: TrainStep> {
    pub(super) inner: M,
    pub(super) shared: Arc<Shared<M>>,
    /// Updates that these parameters have had.
    pub(super) n_updates: usize,
    /// How to keep the batch of a step, if it is wanted.
    pub(super) keep: Option<Keep<M::Input>>,
}

impl<M: TrainStep + Module> Monitored<M> {
    /// The model, measured by `monitor` on `data`: the training set or a part of it, as tensors in memory or
    /// any other [`Samples`], for example burn's `Dataset` and `Batcher` as
    /// [`DatasetSamples`](crate::DatasetSamples).
    ///
    /// The loss of the monitor must be the one whose gradient the training step takes.
    pub fn new<F, S>(model: M, monitor: SharpnessMonitor<F>, data: S) -> Self
    where
        M: 'static,
        M::Input: Batch,
        F: Fn(&M, M::Input) -> Tensor<1> + Send + 'static,
        S: Samples<Batch = M::Input> + Send + 'static,
    {
        let keep = monitor.needs_batch().then_some(M::Input::clone as Keep<M::Input>);
        let shared = Arc::new(Shared::new(Box::new(Held::new(monitor, data))));
        Self { inner: model, shared, n_updates: 0, keep }
    }

    /// Ends the training as soon as the ratio to the threshold is above `ratio` at `n_rows` measurements in
    /// a row (at least one), with `interrupter` being that of the training
    /// (`SupervisedTraining::interrupter`). The result of the training then says why.
    ///
    /// It is asked after every measurement, so the training ends within an epoch, before its validation
    /// and checkpoint.
    pub fn stop_beyond(self, ratio: f64, n_rows: usize, interrupter: Interrupter) -> Self {
        self.shared.state().stop = Some(Stop { ratio, n_rows: n_rows.max(1), interrupter });
        self
    }

    /// A checkpointing strategy that does what `strategy` does, with the monitor's file beside each checkpoint:
    /// `monitor-EPOCH-UPDATES-FINGERPRINT.bpk` in `folder`, usually burn's own, `checkpoint` in the folder
    /// of the training. From now on records are loaded together with it: one that no file belongs to is
    /// an error, unless the folder has none at all.
    pub fn checkpoints(
        &self,
        folder: impl Into<PathBuf>,
        strategy: impl CheckpointingStrategy + 'static,
    ) -> MonitorCheckpoints {
        let place = self.shared.folder.clone();
        lock(&place).path = Some(folder.into());
        MonitorCheckpoints::new(strategy, place)
    }

    /// The model.
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// The model without its monitor.
    pub fn into_inner(self) -> M {
        self.inner
    }

    /// What was measured so far.
    pub fn history(&self) -> History {
        self.shared.state().probe.history().clone()
    }

    /// The first error of a measurement, a sink or a file of the monitor. Training goes on after it, and so do
    /// measurements.
    pub fn error(&self) -> Option<Error> {
        self.shared.state().error.clone()
    }

    /// The same monitor with another state of the model.
    pub(super) fn with_inner(self, change: impl FnOnce(M) -> M) -> Self {
        Self { inner: change(self.inner), ..self }
    }
}

impl<M: TrainStep + Clone> Clone for Monitored<M> {
    fn clone(&self) -> Self {
        let Self { inner, shared, n_updates, keep } = self;
        let (inner, shared) = (inner.clone(), shared.clone());
        Self { inner, shared, n_updates: *n_updates, keep: *keep }
    }
}

impl<M: TrainStep + fmt::Debug> fmt::Debug for Monitored<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitored")
            .field("inner", &self.inner)
            .field("n_updates", &self.n_updates)
            .finish_non_exhaustive()
    }
}

impl<M: TrainStep + fmt::Display> fmt::Display for Monitored<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
