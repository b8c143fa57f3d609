//! The largest learning rate that is stable where a model stands.
//!
//! An optimizer with learning rate η lives with a curvature up to its threshold τ(η)
//! ([table](crate::stability)). So with the measured curvature s, the largest stable rate solves τ(η) = s: for
//! plain SGD η = 2/s with s batch sharpness, E_B\[g_Bᵀ H_B g_B/‖g_B‖²].

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::estimator::{BatchSharpnessConfig, Estimate, FullBatchSharpnessConfig};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian, OperatorExt};
use crate::params::ParamVector;
use crate::samples::{Borrowed, Samples};
use crate::solver::{EigenSolver, LanczosConfig};
use crate::stability::{Quantity, Stability};

/// Settings of [`LearningRateFinder`].
#[derive(Config, Debug)]
pub struct LearningRateFinderConfig {
    /// Samples per mini-batch: those of the training.
    pub batch_size: usize,
    /// Mini-batches, where the edge is one of mini-batches.
    #[config(default = 128)]
    pub num_batches: usize,
    /// Samples per chunk, where the edge is one of all data.
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Eigenvalues are converged when ‖Hv − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-3)]
    pub rel_tol: f64,
    /// Which network is measured.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
    /// Seed of batches and start vectors.
    #[config(default = 0)]
    pub seed: u64,
}

impl LearningRateFinderConfig {
    /// The finder for `loss`, a closure from model and batch to one number.
    pub fn init<F>(&self, loss: F) -> LearningRateFinder<F> {
        LearningRateFinder { config: self.clone(), loss }
    }
}

/// Finds the largest stable learning rate of a model, its data and its optimizer.
///
/// It is the rate at which training would be at its edge of stability **now**. Training then changes the
/// curvature: below the edge it rises (progressive sharpening), at the edge it stays, and beyond the edge the loss
/// rises until the curvature has fallen. So measure after a short warm-up rather than at initialization, and
/// take the rate as a ceiling.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_sharpness::observe::LearningRateFinderConfig;
/// use burn_sharpness::prelude::*;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0], [0.5, 1.0], [2.0, 2.0]], &device);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// // The optimizer, at any rate; plain SGD on mini-batches.
/// let edge = SgdStabilityConfig::new(0.1).with_batching(Batching::Small).init()?;
/// let found = LearningRateFinderConfig::new(2).init(loss).find(&model, &x, &edge)?;
/// println!("stable up to {:.3} ({:.3} to {:.3})", found.learning_rate, found.interval.0, found.interval.1);
/// assert!((edge.at(found.learning_rate)?.ratio(found.value.mean)? - 1.0).abs() < 1e-9);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LearningRateFinder<F> {
    config: LearningRateFinderConfig,
    loss: F,
}

/// The largest stable learning rate, and what it was found from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LargestLearningRate {
    /// The rate at which the optimizer is at its edge; infinite where no rate is unstable, because the
    /// curvature is not positive.
    pub learning_rate: f64,
    /// The rates for the ends of the 95% interval of the value.
    pub interval: (f64, f64),
    /// The measured curvature. That of all data is exact up to its residual, which is its interval.
    pub value: Estimate,
    /// What was measured.
    pub quantity: Quantity,
    /// Hessian-vector products.
    pub n_hvps: usize,
}

impl<F> LearningRateFinder<F> {
    /// The largest stable rate of an optimizer without preconditioner. Of `edge` everything counts but its
    /// own rate.
    ///
    /// Cost: `num_batches` gradients and products, or λ_max of all data where the edge is one of full batches.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for an edge with a preconditioner; see
    /// [`find_preconditioned`](Self::find_preconditioned). As
    /// [`BatchSharpness::measure`](crate::estimator::BatchSharpness::measure) and
    /// [`FullBatchSharpness::measure`](crate::estimator::FullBatchSharpness::measure).
    pub fn find<M, S>(&self, model: &M, data: &S, edge: &Stability) -> Result<LargestLearningRate>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let config = &self.config;
        let (value, n_hvps) = match edge.quantity() {
            Quantity::FullBatchSharpness => {
                let full = FullBatchSharpnessConfig::new()
                    .with_chunk_size(config.chunk_size)
                    .with_rel_tol(config.rel_tol)
                    .with_mode(config.mode)
                    .with_seed(config.seed);
                let found = full.init(&self.loss).measure(model, data)?;
                (within(found.value, found.residual_norm), found.n_hvps)
            }
            Quantity::BatchSharpness => {
                let found = self.batch_sharpness().measure(model, data)?;
                (found.estimate, found.n_hvps)
            }
            _ => {
                let (setting, value) = ("edge", edge.quantity().to_string());
                let expected = "one without a preconditioner, or `find_preconditioned` with it";
                return Err(Error::InvalidSetting { setting, value, expected });
            }
        };
        rates(edge, value, n_hvps)
    }

    /// The largest stable rate of an optimizer that divides by `preconditioner`, entry by entry (feature
    /// `optim`: `operator::OptimizerState`). L2 decay belongs into the loss, and the
    /// edge is then one without.
    ///
    /// # Errors
    /// As [`find`](Self::find); [`Error::InvalidSetting`] for an edge without a preconditioner, or
    /// with L2 decay.
    pub fn find_preconditioned<M, S>(
        &self,
        model: &M,
        data: &S,
        edge: &Stability,
        preconditioner: &ParamVector,
    ) -> Result<LargestLearningRate>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let config = &self.config;
        match edge.quantity() {
            Quantity::PreconditionedSharpness { l2_decay: 0.0 } => {
                let state = ModelState::in_mode(model, config.mode)?;
                let (chunk_size, keep) = (config.chunk_size, ChunkMemory::Keep);
                let data = Borrowed(data);
                let hessian =
                    FullBatchHessian::at(state, model, data, &self.loss, chunk_size, keep)?;
                let operator = hessian.preconditioned(preconditioner)?;
                let solver = LanczosConfig::new().with_rel_tol(config.rel_tol);
                let found = solver.with_seed(config.seed).init().solve(&operator, None)?;
                let top = found.first();
                rates(edge, within(top.value, top.residual_norm), found.n_applies)
            }
            Quantity::PreconditionedBatchSharpness { l2_decay: 0.0 } => {
                let space = preconditioner.space().clone();
                let step = |gradient: &ParamVector| {
                    let direction = gradient.tensor() / preconditioner.tensor();
                    Ok(space.vector(direction.neg()))
                };
                let found = self.batch_sharpness().measure_steps(model, data, step)?;
                rates(edge, found.mean_of_ratios.estimate, found.n_hvps)
            }
            other => {
                let (setting, value) = ("edge", other.to_string());
                let expected = "one with a preconditioner and without L2 decay (put the decay into \
                                the loss)";
                Err(Error::InvalidSetting { setting, value, expected })
            }
        }
    }

    fn batch_sharpness(&self) -> crate::estimator::BatchSharpness<&F> {
        BatchSharpnessConfig::new(self.config.batch_size)
            .with_num_batches(self.config.num_batches)
            .with_mode(self.config.mode)
            .with_seed(self.config.seed)
            .init(&self.loss)
    }
}

/// An eigenvalue with its residual as its interval: the operator is known exactly.
fn within(value: f64, residual_norm: f64) -> Estimate {
    let interval = (value - residual_norm, value + residual_norm);
    Estimate { standard_error: residual_norm, interval, ..Estimate::exact(value, 1) }
}

fn rates(edge: &Stability, value: Estimate, n_hvps: usize) -> Result<LargestLearningRate> {
    let rate = |curvature: f64| match curvature.is_finite() {
        true => edge.largest_learning_rate(curvature),
        // One batch has no interval.
        false => Ok(if curvature > 0.0 { 0.0 } else { f64::INFINITY }),
    };
    Ok(LargestLearningRate {
        learning_rate: rate(value.mean)?,
        interval: (rate(value.interval.1)?, rate(value.interval.0)?),
        quantity: edge.quantity(),
        value,
        n_hvps,
    })
}
