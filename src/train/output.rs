//! What a training step gives to the metrics: the output of the model, and the row that was measured.

use std::fmt;
use std::sync::{Arc, OnceLock};

use burn_backend::ExecutionError;
use burn_train::metric::{
    AccuracyInput, Adaptor, BleuInput, CerInput, ConfusionStatsInput, HammingScoreInput, ItemLazy,
    LossInput, PerplexityInput, RougeLInput, TopKAccuracyInput, WerInput,
};

use crate::observe::Row;

/// A place for the row of a step. It is filled when the update of the step is known, which is before burn
/// hands the output to the metrics.
pub(super) type Slot = Arc<OnceLock<Arc<Row>>>;

/// The output of a [`Monitored`](super::Monitored) model's training step: that of the model itself, which
/// burn's metrics read as before, with the row of the step if something was measured.
pub struct MonitoredOutput<O> {
    inner: O,
    row: Slot,
}

impl<O> MonitoredOutput<O> {
    pub(super) fn new(inner: O, row: Slot) -> Self {
        Self { inner, row }
    }

    /// The output of the model.
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// What was measured at this step.
    pub fn row(&self) -> Option<&Row> {
        self.row.get().map(AsRef::as_ref)
    }
}

impl<O> fmt::Debug for MonitoredOutput<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitoredOutput").field("row", &self.row()).finish_non_exhaustive()
    }
}

impl<O: ItemLazy> ItemLazy for MonitoredOutput<O> {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(Self { inner: self.inner.sync()?, row: self.row })
    }
}

/// What a [`SharpnessMetric`](super::SharpnessMetric) reads.
#[derive(Clone, Debug)]
pub struct SharpnessInput {
    pub(super) row: Option<Arc<Row>>,
}

impl<O> Adaptor<SharpnessInput> for MonitoredOutput<O> {
    fn adapt(&self) -> SharpnessInput {
        SharpnessInput { row: self.row.get().cloned() }
    }
}

/// Inputs of metrics that a [`MonitoredOutput`] takes from the output of the model.
///
/// Implemented for all of burn's. For a metric of your own, one line beside its input type:
/// `impl burn_sharpness::train::Forward for MyInput {}`.
pub trait Forward {}

impl<O: Adaptor<I>, I: Forward> Adaptor<I> for MonitoredOutput<O> {
    fn adapt(&self) -> I {
        self.inner.adapt()
    }
}

macro_rules! forward {
    ($($input:ty),+ $(,)?) => { $(impl Forward for $input {})+ };
}
forward!(
    AccuracyInput,
    BleuInput,
    CerInput,
    ConfusionStatsInput,
    HammingScoreInput,
    LossInput,
    PerplexityInput,
    RougeLInput,
    TopKAccuracyInput,
    WerInput,
);
