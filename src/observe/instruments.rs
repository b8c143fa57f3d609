//! The estimators of a monitor, each behind the same call.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::config::SharpnessMonitorConfig;
use super::{Measure, Spectrum, Value};
use crate::error::{Error, Result};
use crate::estimator::{
    BatchSharpness, BatchSharpnessConfig, FullBatchSharpness, FullBatchSharpnessConfig,
    MiniBatchSharpness, MiniBatchSharpnessConfig, SharpnessGapConfig,
};
use crate::model_state::ModelState;
use crate::operator::{
    ChunkMemory, FullBatchHessian, HessianOperator, LinearOperator, OperatorExt, ParamGroup,
};
use crate::params::{ParamBlock, ParamVector};
use crate::samples::{Borrowed, Samples};
use crate::solver::{EigenSolver, LanczosConfig};

/// What is measured: a model, all data, and the batch of a training step.
pub(super) struct Subject<'a, M, S: Samples> {
    pub model: &'a M,
    pub data: &'a S,
    pub batch: Option<&'a S::Batch>,
}

/// One estimator per quantity, with its memory.
#[derive(Debug)]
pub(super) struct Instruments<F> {
    config: SharpnessMonitorConfig,
    loss: F,
    pub mini_batch: MiniBatchSharpness<F>,
    pub batch: BatchSharpness<F>,
    pub full_batch: FullBatchSharpness<F>,
    /// The last eigenvector of each group.
    pub groups: BTreeMap<String, ParamVector>,
    /// Measurements of the gap and of groups so far: streams of random numbers.
    pub n_others: u64,
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
        Self {
            mini_batch: mini_batch.init(loss.clone()),
            batch: batch.init(loss.clone()),
            full_batch: full_batch.init(loss.clone()),
            config: config.clone(),
            loss,
            groups: BTreeMap::new(),
            n_others: 0,
        }
    }
}

impl<F> Instruments<F> {
    /// Measures a quantity over `n_units` mini-batches, where it is one over mini-batches. `loss` is set to
    /// that of all data if it is not known and comes along.
    pub fn measure<M, S>(
        &mut self,
        measure: &Measure,
        subject: &Subject<'_, M, S>,
        n_units: usize,
        is_warm: bool,
        loss: &mut Option<f64>,
    ) -> Result<Value>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let Subject { model, data, batch } = *subject;
        let live = || batch.cloned().ok_or_else(|| unmeasured(measure));
        match measure {
            Measure::MiniBatchSharpness => {
                if !is_warm {
                    self.mini_batch.forget_start();
                }
                self.mini_batch.set_num_batches(n_units);
                let found = self.mini_batch.measure(model, data)?;
                let value = Value::of_estimate(&found.estimate, &found.values);
                Ok(Value { n_unconverged: found.n_unconverged, n_hvps: found.n_hvps, ..value })
            }
            Measure::BatchSharpness => {
                self.batch.set_num_batches(n_units);
                let found = self.batch.measure(model, data)?;
                let value = Value::of_estimate(&found.estimate, &found.values);
                Ok(Value { n_hvps: found.n_hvps, ..value })
            }
            Measure::FullBatchSharpness => {
                if !is_warm {
                    self.full_batch.forget_start();
                }
                let found = self.full_batch.measure(model, data)?;
                loss.get_or_insert(found.loss);
                Ok(Value::of_eigenvalue(&found))
            }
            Measure::LiveSharpness => {
                if !is_warm {
                    self.mini_batch.forget_live_start();
                }
                Ok(Value::of_eigenvalue(&self.mini_batch.measure_live(model, live()?)?))
            }
            Measure::StepSharpness => {
                let state = ModelState::in_mode(model, self.config.mode)?;
                let hessian = HessianOperator::of(&state, model, live()?, &self.loss)?;
                let found = hessian.directional_sharpness()?;
                let zero = Error::NonFinite {
                    quantity: "gᵀHg/‖g‖² of a zero gradient",
                    value: f64::NAN,
                };
                Ok(Value { n_hvps: 1, ..Value::of(found.ok_or(zero)?) })
            }
            Measure::Group(path) => self.group(path, model, data, is_warm),
            Measure::Gap(batch_size) => self.gap(*batch_size, model, data),
            Measure::Custom(_) => Err(unmeasured(measure)),
        }
    }

    /// λ_max of the Hessian of all data on the parameters at or below a path.
    fn group<M, S>(&mut self, path: &str, model: &M, data: &S, is_warm: bool) -> Result<Value>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let hessian = self.whole(model, data)?;
        let space = hessian.space().clone();
        let group = ParamGroup::by_prefix(&space, path)?;
        let seed = self.config.seed.wrapping_add(self.n_others);
        let random = space.random(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
        let mut start = group.restrict(&random)?.normalized()?.0;
        start = start.axpy(1.0, &group.restrict(hessian.gradient())?.normalized()?.0)?;
        let earlier = self.groups.get(path).filter(|_| is_warm);
        if let Some(earlier) = earlier.filter(|v| space.check(v.space()).is_ok()) {
            start = start.axpy(1.0, earlier)?;
        }
        let solver = LanczosConfig::new().with_rel_tol(self.config.rel_tol).with_seed(seed);
        let operator = (&hessian).restricted(group)?;
        let found = solver.init().solve(&operator, Some(&ParamBlock::from_vectors(&[start])?))?;
        let pair = found.first();
        self.groups.insert(path.to_string(), pair.vector.clone());
        self.n_others += 1;
        Ok(Value {
            standard_error: Some(pair.residual_norm),
            n_unconverged: usize::from(!pair.converged),
            n_hvps: found.n_applies,
            ..Value::of(pair.value)
        })
    }

    fn gap<M, S>(&mut self, batch_size: usize, model: &M, data: &S) -> Result<Value>
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
        let value = Value::of_estimate(&at.gap, &[]);
        Ok(Value {
            n_unconverged: at.n_unconverged,
            n_hvps: at.n_hvps + found.full_batch.n_hvps,
            ..value
        })
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
        let hessian = self.whole(subject.model, subject.data)?;
        let seed = config.seed.wrapping_add(self.n_others);
        let density = config.with_seed(seed).init().estimate(&hessian)?;
        self.n_others += 1;
        let value = Value::of_estimate(&density.moment(1), &[]);
        Ok((Spectrum::from(&density), Value { n_hvps: density.n_applies, ..value }))
    }

    fn whole<'a, M, S>(&self, model: &M, data: &'a S) -> Result<FullBatchHessian<Borrowed<'a, S>>>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let state = ModelState::in_mode(model, self.config.mode)?.with_measurement(self.n_others);
        let chunk_size = self.config.chunk_size;
        let (loss, data) = (&self.loss, Borrowed(data));
        FullBatchHessian::at(state, model, data, loss, chunk_size, ChunkMemory::Keep)
    }
}

fn unmeasured(measure: &Measure) -> Error {
    Error::InvalidSetting {
        setting: "measures",
        value: measure.to_string(),
        expected: "what a monitor can measure here; the training batch for live quantities",
    }
}
