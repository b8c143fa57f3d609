//! Full-batch sharpness: λ_max of the Hessian of the mean loss over a whole data set.

use std::time::Instant;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::{SolveMemory, TopEigenvalue};
use crate::error::Result;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian, LinearOperator, OperatorExt, ParamGroup};
use crate::params::{ParamBlock, ParamVector};
use crate::samples::{Borrowed, Samples};
use crate::solver::{EigenSolver, LanczosConfig};

/// Settings of [`FullBatchSharpness`].
#[derive(Config, Debug)]
pub struct FullBatchSharpnessConfig {
    /// Samples per chunk: bounds the memory of one pass, and with [`ChunkMemory::Recompute`] that of
    /// the whole measurement. The result does not depend on it, for a loss that is a mean over
    /// samples; others are an error where there is more than one chunk.
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Whether the residuals of all chunks stay in memory between products.
    #[config(default = "ChunkMemory::Keep")]
    pub memory: ChunkMemory,
    /// Converged when ‖Hv − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-3)]
    pub rel_tol: f64,
    /// The most products of one measurement.
    #[config(default = 100)]
    pub max_applies: usize,
    /// Only the parameters at or below this path, for example a layer: λ_max of that block of the
    /// Hessian. All parameters by default.
    #[config(default = "None")]
    pub group: Option<String>,
    /// Seed of the start vector.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl FullBatchSharpnessConfig {
    /// The estimator for `loss`, which must be a mean over samples.
    pub fn init<F>(&self, loss: F) -> FullBatchSharpness<F> {
        FullBatchSharpness { config: self.clone(), loss, memory: SolveMemory::default() }
    }
}

/// λ_max(∇²L) over a data set, exact for any chunk size, started from the last eigenvector.
#[derive(Clone, Debug)]
pub struct FullBatchSharpness<F> {
    config: FullBatchSharpnessConfig,
    loss: F,
    pub(crate) memory: SolveMemory,
}

impl<F> FullBatchSharpness<F> {
    /// Measures at the model's present parameters. `data` is the whole set: tensors whose first
    /// dimension counts samples, or any other [`Samples`].
    ///
    /// Cost: a primal pass over the data, then at least eight products of about 1.2 gradients of the
    /// whole data each.
    ///
    /// # Errors
    /// As [`FullBatchHessian::new`]; [`Error::InvalidSetting`](crate::Error::InvalidSetting) for a `group`
    /// that no parameter is in. Not converging is a result.
    pub fn measure<M, S>(&mut self, model: &M, data: &S) -> Result<TopEigenvalue>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        let FullBatchSharpnessConfig {
            chunk_size, memory, rel_tol, max_applies, seed, mode, ..
        } = self.config;
        let SolveMemory { start, n_measured } = &mut self.memory;
        let state = ModelState::in_mode(model, mode)?.with_measurement(*n_measured);
        *n_measured += 1;
        let (loss, data) = (&self.loss, Borrowed(data));
        let hessian = FullBatchHessian::at(state, model, data, loss, chunk_size, memory)?;
        let group = self.config.group.as_ref();
        let group = group.map(|path| ParamGroup::by_prefix(hessian.space(), path)).transpose()?;
        let solver = LanczosConfig::new()
            .with_rel_tol(rel_tol)
            .with_max_applies(max_applies)
            .with_seed(seed)
            .init();
        let seed = seed.wrapping_add(*n_measured);
        let from = begin(hessian.gradient(), group.as_ref(), start.as_ref(), seed)?;
        let found = match group {
            None => solver.solve(&hessian, Some(&from))?,
            Some(group) => solver.solve(&(&hessian).restricted(group)?, Some(&from))?,
        };
        let pair = found.first();
        *start = Some(pair.vector.clone());
        Ok(TopEigenvalue {
            value: pair.value,
            residual_norm: pair.residual_norm,
            converged: pair.converged,
            n_hvps: found.n_applies,
            vector: pair.vector.clone(),
            loss: hessian.loss(),
            elapsed: began.elapsed(),
        })
    }
}

/// The sum of the gradient, a random vector and the last eigenvector, each of norm 1: see
/// [`start`](super::lane_solve::start).
fn begin(
    gradient: &ParamVector,
    group: Option<&ParamGroup>,
    earlier: Option<&ParamVector>,
    seed: u64,
) -> Result<ParamBlock> {
    let space = gradient.space();
    let random = space.random(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    let unit = |v: &ParamVector| match group {
        None => v.normalized(),
        Some(group) => group.restrict(v)?.normalized(),
    };
    let mut sum = unit(&random)?.0.axpy(1.0, &unit(gradient)?.0)?;
    // One of another model is no start.
    if let Some(earlier) = earlier.filter(|v| space.check(v.space()).is_ok()) {
        sum = sum.axpy(1.0, earlier)?;
    }
    ParamBlock::from_vectors(&[sum])
}
