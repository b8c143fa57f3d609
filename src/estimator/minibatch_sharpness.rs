//! Mini-batch sharpness: E_B[λ_max(H_B)], the mean over mini-batches of the largest eigenvalue of
//! the mini-batch Hessian (arXiv 2412.20553, first versions, Definition 3.1).
//!
//! It is at least the full-batch sharpness (λ_max is convex), and at least the batch sharpness
//! E[gᵀH_Bg/‖g‖²], which is another quantity: see
//! [`BatchSharpness`](super::BatchSharpness).

use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::lane_solve::{top_of_batch, top_of_lanes};
use super::monte_carlo::{Group, MonteCarlo, Sample, lane_seed};
use super::sampling::{Draws, Sampling};
use super::{Estimate, SolveMemory, TopEigenvalue};
use crate::batch::Batch;
use crate::error::Result;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::ParamVector;
use crate::samples::Samples;
use crate::solver::LanczosConfig;

/// Settings of [`MiniBatchSharpness`].
#[derive(Config, Debug)]
pub struct MiniBatchSharpnessConfig {
    /// Samples per mini-batch.
    pub batch_size: usize,
    /// Number of mini-batches; with a target, the maximum.
    #[config(default = 16)]
    pub num_batches: usize,
    /// Stop as soon as standard error / |mean| is below this, after `min_batches`.
    #[config(default = "None")]
    pub target_relative_error: Option<f64>,
    /// The fewest batches before the target counts.
    #[config(default = 8)]
    pub min_batches: usize,
    /// How batches are drawn.
    #[config(default = "Sampling::WithoutReplacement")]
    pub sampling: Sampling,
    /// Whether each measurement draws anew.
    #[config(default = "Draws::Fresh")]
    pub draws: Draws,
    /// Converged when ‖H_Bv − λv‖ ≤ `rel_tol`·|λ|: some eigenvalue is then within that distance, and the
    /// value is right to about the square of it. At 1e-2, for a quarter to half fewer products, some two
    /// of a hundred trained batches end at their second eigenvalue, a few percent too low, before the first
    /// shows; at 1e-3 fewer than one (docs/benchmarks.md).
    #[config(default = 1e-3)]
    pub rel_tol: f64,
    /// The most products per batch. That of a start in row space, and a second solve on all of
    /// parameter space where that is needed, come on top.
    #[config(default = 100)]
    pub max_applies: usize,
    /// Memory for the mini-batches that are worked on side by side, in MiB, on a processor for each of its
    /// threads: as many as fit, at least one. Results do not depend on it beyond rounding. The default suits
    /// a processor, whose caches hold little more; a GPU runs faster with thousands.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Seed of batches and start vectors.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
    /// [`is_due`](MiniBatchSharpness::is_due) at multiples of this step.
    #[config(default = 1)]
    pub every: usize,
}

impl MiniBatchSharpnessConfig {
    /// The estimator for `loss`, a closure from model and batch to one number.
    pub fn init<F>(&self, loss: F) -> MiniBatchSharpness<F> {
        let (frozen, live) = Default::default();
        MiniBatchSharpness { config: self.clone(), loss, frozen, live }
    }

    fn solver(&self) -> LanczosConfig {
        LanczosConfig::new()
            .with_rel_tol(self.rel_tol)
            .with_max_applies(self.max_applies)
            .with_seed(self.seed)
    }

    fn monte_carlo(&self) -> MonteCarlo {
        MonteCarlo {
            batch_size: self.batch_size,
            num_batches: self.num_batches,
            target_relative_error: self.target_relative_error,
            min_batches: self.min_batches,
            sampling: self.sampling,
            draws: self.draws,
            seed: self.seed,
            mode: self.mode,
            memory_mib: self.memory_mib,
        }
    }
}

/// E_B[λ_max(H_B)] at frozen weights, by sampling mini-batches.
///
/// Lives beside the training loop: the loss is compiled at the first measurement, and each measurement
/// starts its solves from an eigenvector of the last one, the gradient and a random vector. Batches and start vectors come from a host generator
/// of its own, so that training's random streams do not move.
#[derive(Clone, Debug)]
pub struct MiniBatchSharpness<F> {
    pub(crate) config: MiniBatchSharpnessConfig,
    loss: F,
    /// Of batches that are drawn.
    pub(crate) frozen: SolveMemory,
    /// Of live batches.
    pub(crate) live: SolveMemory,
}

/// One measurement of mini-batch sharpness.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MiniBatchSharpnessMeasurement {
    /// Mean of λ_max(H_B) over the batches, with its error.
    pub estimate: Estimate,
    /// λ_max(H_B) of each batch.
    pub values: Vec<f64>,
    /// ‖H_Bv − λv‖ of each batch.
    pub residual_norms: Vec<f64>,
    /// Batches whose residual did not reach the tolerance: their values are lower bounds.
    pub n_unconverged: usize,
    /// Hessian-vector products.
    pub n_hvps: usize,
    /// Number of this measurement: [`draw_batches`](super::draw_batches) with it gives the batches again.
    pub draw: u64,
    /// Wall time.
    pub elapsed: Duration,
}

impl<F> MiniBatchSharpness<F> {
    /// Whether `step` is a multiple of the setting `every`.
    pub fn is_due(&self, step: usize) -> bool {
        step.is_multiple_of(self.config.every.max(1))
    }

    /// Measures at the model's present parameters. `data` is the set that batches are drawn
    /// from: tensors whose first dimension counts samples, or any other [`Samples`].
    ///
    /// Cost per batch: a primal pass (about one gradient) and at least eight products, nine where
    /// vectors are in row space, whose start is a product too. A dense product takes about 1.2
    /// gradients, one in row space less. Batches run side by side, as many as
    /// [`memory_mib`](MiniBatchSharpnessConfig::memory_mib) holds. The first measurement of a loss also compiles and checks it. Use the model once
    /// before it: burn draws a parameter's initial value at its first use, and a measurement would
    /// draw in visit order.
    ///
    /// # Errors
    /// [`Error::BatchSize`](crate::Error::BatchSize), [`Error::InvalidSetting`](crate::Error::InvalidSetting), and everything of [`HessianOperator::new`](crate::HessianOperator::new).
    /// Not converging is counted in the result.
    pub fn measure<M, S>(&mut self, model: &M, data: &S) -> Result<MiniBatchSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        let Self { config, loss, frozen: SolveMemory { start, n_measured }, .. } = self;
        let (mut tops, mut last) = (Vec::new(), None);
        let top = |group: &Group<'_, S>| {
            let seeds: Vec<u64> = group.numbers().map(|i| lane_seed(config.seed, i)).collect();
            let solver = config.solver();
            let whole = |lane| group.whole(lane);
            let found = top_of_lanes(group.lanes, start.as_ref(), &solver, &seeds, whole)?;
            let lane = found.len() - 1;
            last = Some(found[lane].vector(group.lanes, lane)?);
            let values = found.iter().map(|top| Some(top.value)).collect();
            tops.extend(found);
            Ok(values)
        };
        let sample = config.monte_carlo().sample(model, data, loss, *n_measured, top)?;
        *n_measured += 1;
        *start = last;
        let Sample { estimate, values, draw, .. } = sample;
        // Products of batches after the one at which the target was reached were computed too.
        let n_hvps = tops.iter().map(|top| top.n_hvps).sum();
        tops.truncate(values.len());
        let residual_norms = tops.iter().map(|top| top.residual_norm).collect();
        let n_unconverged = tops.iter().filter(|top| !top.converged).count();
        let elapsed = began.elapsed();
        Ok(MiniBatchSharpnessMeasurement {
            estimate,
            values,
            residual_norms,
            n_unconverged,
            n_hvps,
            draw,
            elapsed,
        })
    }

    /// λ_max(H_B) of the one batch that a training step uses ("live batch"). The moving average of
    /// these over steps is a mean along the trajectory, not at frozen weights.
    ///
    /// # Errors
    /// As [`HessianOperator::new`](crate::HessianOperator::new).
    pub fn measure_live<M, B>(&mut self, model: &M, batch: B) -> Result<TopEigenvalue>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let state =
            ModelState::in_mode(model, self.config.mode)?.with_measurement(self.live.n_measured);
        self.live.n_measured += 1;
        let (earlier, solver) = (self.live.start.as_ref(), self.config.solver());
        let top = top_of_batch(&state, model, batch, &self.loss, earlier, &solver)?;
        self.live.start = Some(top.vector.clone());
        Ok(top)
    }

    /// Starts the next measurement from the direction of `vector`, for example the eigenvector of
    /// full-batch sharpness, instead of the last eigenvector of this estimator. One of another model is
    /// ignored.
    pub fn start_from(&mut self, vector: &ParamVector) {
        self.frozen.start = Some(vector.clone());
    }
}
