//! The estimators of a monitor, each behind the same call.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;

use super::budget::{EXPECTED_PRODUCTS, MIN_BATCHES, Size, Work};
use super::config::SharpnessMonitorConfig;
use super::{Measure, Spectrum, Value};
use crate::error::{Error, Result};
use crate::estimator::{
    BatchSharpness, BatchSharpnessConfig, FullBatchSharpness, FullBatchSharpnessConfig,
    MiniBatchSharpness, MiniBatchSharpnessConfig, SharpnessGapConfig, SolveMemory,
};
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian, HessianOperator};
use crate::samples::{Borrowed, Samples};

/// What is measured: a model, all data, and the batch of a training step.
pub(super) struct Subject<'a, M, S: Samples> {
    pub model: &'a M,
    pub data: &'a S,
    pub batch: Option<&'a S::Batch>,
}

/// What was found, and what of its work was over mini-batches though the quantity is one of all data.
pub(super) struct Found {
    pub value: Value,
    pub beside: Work,
}

impl From<Value> for Found {
    fn from(value: Value) -> Self {
        Self { value, beside: Work::NONE }
    }
}

/// The memory of each solve, and the other streams of random numbers.
pub(super) struct Memories<'a> {
    pub solves: Vec<(String, &'a mut SolveMemory)>,
    pub others: [(&'static str, &'a mut u64); 3],
}

/// One estimator per quantity, with its memory.
#[derive(Debug)]
pub(super) struct Instruments<F> {
    config: SharpnessMonitorConfig,
    loss: F,
    mini_batch: MiniBatchSharpness<F>,
    batch: BatchSharpness<F>,
    full_batch: FullBatchSharpness<F>,
    groups: BTreeMap<String, FullBatchSharpness<F>>,
    /// Measurements along gradients of training batches so far: streams of random numbers.
    n_steps: u64,
    /// Measurements of gaps and spectra so far: streams of random numbers.
    n_others: u64,
}

impl<F: Clone> Instruments<F> {
    pub fn new(config: &SharpnessMonitorConfig, loss: F) -> Self {
        let SharpnessMonitorConfig { batch_size, rel_tol, memory_mib, mode, seed, .. } = *config;
        let mini_batch = MiniBatchSharpnessConfig::new(batch_size)
            .with_rel_tol(rel_tol)
            .with_memory_mib(memory_mib)
            .with_mode(mode)
            .with_seed(seed);
        let batch = BatchSharpnessConfig::new(batch_size)
            .with_memory_mib(memory_mib)
            .with_mode(mode)
            .with_seed(seed);
        let full_batch = FullBatchSharpnessConfig::new()
            .with_chunk_size(config.chunk_size)
            .with_rel_tol(rel_tol)
            .with_mode(mode)
            .with_seed(seed);
        let group = |measure: &Measure| match measure {
            Measure::Group(path) => {
                let of_group = full_batch.clone().with_group(Some(path.clone()));
                Some((path.clone(), of_group.init(loss.clone())))
            }
            _ => None,
        };
        Self {
            mini_batch: mini_batch.init(loss.clone()),
            batch: batch.init(loss.clone()),
            groups: config.measures.iter().filter_map(group).collect(),
            full_batch: full_batch.init(loss.clone()),
            config: config.clone(),
            loss,
            n_steps: 0,
            n_others: 0,
        }
    }
}

impl<F> Instruments<F> {
    /// What later measurements depend on, by names.
    pub fn memories(&mut self) -> Memories<'_> {
        let mut solves = vec![
            ("mini_batch".to_string(), &mut self.mini_batch.frozen),
            ("live".to_string(), &mut self.mini_batch.live),
            ("full_batch".to_string(), &mut self.full_batch.memory),
        ];
        let groups = self.groups.iter_mut();
        solves.extend(groups.map(|(path, group)| (format!("group.{path}"), &mut group.memory)));
        let others = [
            ("batch", &mut self.batch.n_measured),
            ("step", &mut self.n_steps),
            ("others", &mut self.n_others),
        ];
        Memories { solves, others }
    }

    /// How much there is of a quantity (`None`: the spectrum), in a data set of `n_samples` and for a model of
    /// `n_params`.
    pub fn size(&self, measure: Option<&Measure>, (n_samples, n_params): (usize, usize)) -> Size {
        let SharpnessMonitorConfig { batch_size, num_batches, num_gradients, .. } = self.config;
        let unit = |n_samples, n_hvps| Work { n_batches: 1, n_samples, n_hvps };
        let of_batches = |n_units, n_hvps| Size {
            n_units,
            min_units: MIN_BATCHES,
            unit: unit(batch_size, n_hvps),
            beside: Work::NONE,
            is_solve: n_hvps > 1,
        };
        let of_data =
            |n_hvps| Size { unit: unit(n_samples, n_hvps), ..of_batches(1, EXPECTED_PRODUCTS) };
        match (measure, &self.config.spectrum) {
            (Some(Measure::MiniBatchSharpness), _) => of_batches(num_batches, EXPECTED_PRODUCTS),
            (Some(Measure::BatchSharpness), _) => of_batches(num_gradients, 1),
            (Some(Measure::LiveSharpness), _) => of_batches(1, EXPECTED_PRODUCTS),
            (Some(Measure::StepSharpness), _) => of_batches(1, 1),
            (Some(Measure::Gap(n_samples)), _) => {
                // A solve, and a product along the eigenvector of all data.
                let n_hvps = num_batches.saturating_mul(EXPECTED_PRODUCTS + 1);
                let beside = Work { n_batches: num_batches, n_samples: *n_samples, n_hvps };
                Size { beside, ..of_data(EXPECTED_PRODUCTS) }
            }
            // As many products as it makes, unless it finds an invariant space before.
            (None, Some((_, config))) => {
                of_data(config.num_probes.saturating_mul(config.num_steps.min(n_params)))
            }
            _ => of_data(EXPECTED_PRODUCTS),
        }
    }

    /// Measures a quantity over `n_units` mini-batches, where it is one over mini-batches. `loss` is set to
    /// that of all data if it is not known and comes along.
    pub fn measure<M, S>(
        &mut self,
        measure: &Measure,
        subject: &Subject<'_, M, S>,
        n_units: usize,
        is_warm: bool,
        loss: &mut Option<f64>,
    ) -> Result<Found>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let Subject { model, data, batch } = *subject;
        let live = || batch.cloned().ok_or_else(|| unmeasured(measure));
        let value = match measure {
            Measure::MiniBatchSharpness => {
                self.mini_batch.frozen.start.take_if(|_| !is_warm);
                self.mini_batch.config.num_batches = n_units;
                let found = self.mini_batch.measure(model, data)?;
                let value = Value::of_estimate(&found.estimate, &found.values);
                Value { n_unconverged: found.n_unconverged, n_hvps: found.n_hvps, ..value }
            }
            Measure::BatchSharpness => {
                self.batch.config.num_batches = n_units;
                let found = self.batch.measure(model, data)?;
                let value = Value::of_estimate(&found.estimate, &found.values);
                Value { n_hvps: found.n_hvps, ..value }
            }
            Measure::FullBatchSharpness => {
                self.full_batch.memory.start.take_if(|_| !is_warm);
                let found = self.full_batch.measure(model, data)?;
                loss.get_or_insert(found.loss);
                Value::of_eigenvalue(&found)
            }
            Measure::LiveSharpness => {
                self.mini_batch.live.start.take_if(|_| !is_warm);
                Value::of_eigenvalue(&self.mini_batch.measure_live(model, live()?)?)
            }
            Measure::StepSharpness => {
                let state = ModelState::in_mode(model, self.config.mode)?;
                let state = state.with_measurement(self.n_steps);
                self.n_steps += 1;
                let hessian = HessianOperator::of(&state, model, live()?, &self.loss)?;
                let found = hessian.directional_sharpness()?;
                let zero = Error::ZeroGradients { quantity: "gᵀHg/‖g‖²" };
                Value { n_hvps: 1, ..Value::of(found.ok_or(zero)?) }
            }
            Measure::Group(path) => {
                let group = self.groups.get_mut(path).ok_or_else(|| unmeasured(measure))?;
                group.memory.start.take_if(|_| !is_warm);
                Value::of_eigenvalue(&group.measure(model, data)?)
            }
            Measure::Gap(batch_size) => return self.gap(*batch_size, model, data),
            Measure::Custom(_) => return Err(unmeasured(measure)),
        };
        Ok(value.into())
    }

    fn gap<M, S>(&mut self, batch_size: usize, model: &M, data: &S) -> Result<Found>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let mut gap = SharpnessGapConfig::new(vec![batch_size])
            .with_num_batches(self.config.num_batches)
            .with_num_eigenvalues(1)
            .with_chunk_size(self.config.chunk_size)
            .with_memory_mib(self.config.memory_mib)
            .with_mode(self.config.mode)
            .with_seed(self.config.seed.wrapping_add(self.n_others))
            .init(&self.loss);
        let found = gap.measure(model, data)?;
        self.n_others += 1;
        let at = found.gaps.first().ok_or_else(|| unmeasured(&Measure::Gap(batch_size)))?;
        let (value, n_hvps) = (Value::of_estimate(&at.gap, &[]), at.n_hvps);
        let beside = Work { n_batches: at.gap.count, n_samples: batch_size, n_hvps };
        let n_hvps = n_hvps + found.full_batch.n_hvps;
        Ok(Found { value: Value { n_unconverged: at.n_unconverged, n_hvps, ..value }, beside })
    }

    /// The density of eigenvalues of the Hessian of all data, and its mean as a value.
    pub fn spectrum<M, S>(&mut self, subject: &Subject<'_, M, S>) -> Result<(Spectrum, Value)>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let Some((_, config)) = self.config.spectrum.clone() else {
            return Err(unmeasured(&Measure::Custom("spectrum".into())));
        };
        let state = ModelState::in_mode(subject.model, self.config.mode)?;
        let state = state.with_measurement(self.n_others);
        let (data, chunk_size) = (Borrowed(subject.data), self.config.chunk_size);
        let (loss, keep) = (&self.loss, ChunkMemory::Keep);
        let hessian = FullBatchHessian::at(state, subject.model, data, loss, chunk_size, keep)?;
        let seed = config.seed.wrapping_add(self.n_others);
        let density = config.with_seed(seed).init().estimate(&hessian)?;
        self.n_others += 1;
        let value = Value::of_estimate(&density.moment(1), &[]);
        Ok((Spectrum::from(&density), Value { n_hvps: density.n_applies, ..value }))
    }
}

fn unmeasured(measure: &Measure) -> Error {
    Error::InvalidSetting {
        setting: "measures",
        value: measure.to_string(),
        expected: "what a monitor can measure here; the training batch for live quantities",
    }
}
