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

use super::monte_carlo::{MonteCarlo, Sample};
use super::sampling::{Draws, Sampling};
use super::{Estimate, TopEigenvalue, WarmStart, top_eigenvalue};
use crate::batch::Batch;
use crate::error::Result;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::HessianOperator;
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
    /// Converged when ‖H_Bv − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-2)]
    pub rel_tol: f64,
    /// The most products per batch.
    #[config(default = 100)]
    pub max_applies: usize,
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
        let (warm, live) = (WarmStart::default(), WarmStart::default());
        MiniBatchSharpness { config: self.clone(), loss, warm, live, n_measured: 0, n_live: 0 }
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
        }
    }
}

/// E_B[λ_max(H_B)] at frozen weights, by sampling mini-batches.
///
/// Lives beside the training loop: the loss is compiled at the first measurement, and each solve
/// starts from the last eigenvector found. Batches and start vectors come from a host generator
/// of its own, so that training's random streams do not move.
#[derive(Clone, Debug)]
pub struct MiniBatchSharpness<F> {
    config: MiniBatchSharpnessConfig,
    loss: F,
    warm: WarmStart,
    live: WarmStart,
    n_measured: u64,
    n_live: u64,
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

    /// Measures at the model's present parameters. `data` holds the set that batches are drawn
    /// from: tensors whose first dimension counts samples.
    ///
    /// Cost per batch: the primal pass (about one gradient) and at least nine products (Lanczos
    /// takes eight steps before convergence counts, and one measures the residual), each about 1.2
    /// gradients. The first measurement of a loss also compiles and checks it. Use the model once
    /// before it: burn draws a parameter's initial value at its first use, and a measurement would
    /// draw in visit order.
    ///
    /// # Errors
    /// [`Error::BatchSize`](crate::Error::BatchSize), [`Error::InvalidSetting`](crate::Error::InvalidSetting), and everything of [`HessianOperator::new`].
    /// Not converging is counted in the result.
    pub fn measure<M, B>(&mut self, model: &M, data: &B) -> Result<MiniBatchSharpnessMeasurement>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let began = Instant::now();
        let Self { config, loss, warm, n_measured, .. } = self;
        let (mut residual_norms, mut n_hvps, mut n_unconverged) = (Vec::new(), 0, 0);
        let top = |hessian: &HessianOperator| {
            let found = top_eigenvalue(hessian, hessian.gradient(), &config.solver(), warm)?;
            residual_norms.push(found.first().residual_norm);
            n_unconverged += usize::from(!found.converged());
            n_hvps += found.n_applies;
            Ok(Some(found.first().value))
        };
        let sample = config.monte_carlo().sample(model, data, loss, *n_measured, top)?;
        *n_measured += 1;
        let Sample { estimate, values, draw } = sample;
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
    /// As [`HessianOperator::new`].
    pub fn measure_live<M, B>(&mut self, model: &M, batch: B) -> Result<TopEigenvalue>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let began = Instant::now();
        let state = ModelState::in_mode(model, self.config.mode)?.with_measurement(self.n_live);
        self.n_live += 1;
        let hessian = HessianOperator::of(&state, model, batch, &self.loss)?;
        let found =
            top_eigenvalue(&hessian, hessian.gradient(), &self.config.solver(), &mut self.live)?;
        Ok(TopEigenvalue::from_result(&found, hessian.loss(), began))
    }
}
