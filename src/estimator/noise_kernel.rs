//! The norm K of the noise kernel of SGD (Agarwala and Pennington 2404.19261): the edge of stochastic stability
//! is K = 1.
//!
//! For ½-MSE and eigenvectors that are spread over the samples K = p Σ_a ηλ_a/(2 − (1−p)ηλ_a), over the
//! eigenvalues of the full-batch Gauss-Newton matrix, with p the variance of a batch's mean over that of a
//! sample; for small ηλ that is η·tr(H)/(2b). The top eigenvalues are computed, the rest enters by its trace, to
//! first order in ηλ. [`stability::noise_kernel`](crate::stability::noise_kernel) is the formula by itself.

use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::sampling::Sampling;
use super::{Estimate, whole::whole_hessian};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, LinearOperator, OperatorExt};
use crate::samples::{self, Samples};
use crate::solver::{EigenSolver, LanczosConfig};
use crate::spectrum::TraceConfig;

/// Settings of [`NoiseKernel`].
#[derive(Config, Debug)]
pub struct NoiseKernelConfig {
    /// Samples per mini-batch b.
    pub batch_size: usize,
    /// η.
    pub learning_rate: f64,
    /// How training draws its batches: the factor is 1/b with replacement.
    #[config(default = "Sampling::WithoutReplacement")]
    pub sampling: Sampling,
    /// Top eigenvalues that are computed one by one.
    #[config(default = 4)]
    pub num_eigenvalues: usize,
    /// Probes for the trace of the rest.
    #[config(default = 16)]
    pub num_probes: usize,
    /// Converged when ‖Hv − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-2)]
    pub rel_tol: f64,
    /// The most products for the eigenvalues.
    #[config(default = 100)]
    pub max_applies: usize,
    /// Samples per chunk of the full-batch Hessian (at most half of the data, so that the loss is checked to
    /// be a mean over samples).
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Whether the residuals of all chunks stay in memory between products.
    #[config(default = "ChunkMemory::Keep")]
    pub memory: ChunkMemory,
    /// Seed of probes and start vectors.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured: not one with noise, which is another for each batch.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl NoiseKernelConfig {
    /// The estimator for `loss`, which must be a mean over samples.
    pub fn init<F>(&self, loss: F) -> NoiseKernel<F> {
        NoiseKernel { config: self.clone(), loss }
    }
}

/// The noise-kernel norm K at frozen weights.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::estimator::NoiseKernelConfig;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(4, 2).init(&device);
/// # let x = Tensor::<2>::random([64, 4], Distribution::Default, &device);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// let found = NoiseKernelConfig::new(8, 0.1).init(loss).measure(&model, &x)?;
/// println!("K = {} ± {}", found.norm.mean, found.norm.standard_error);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NoiseKernel<F> {
    config: NoiseKernelConfig,
    loss: F,
}

/// One measurement of the noise-kernel norm.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NoiseKernelMeasurement {
    /// K, with the error of the trace of the rest; its count is that of the probes. Infinite where (1−p)ηλ ≥ 2
    /// for a computed eigenvalue. K is at least 1 wherever ηλ ≥ 2 and gradient descent itself is unstable.
    pub norm: Estimate,
    /// p·η·tr/2, the same to first order in every eigenvalue.
    pub first_order: f64,
    /// How much K would grow if every eigenvalue of the rest were as large as the last computed one. For a rest
    /// that is not negative K lies between `norm` and `norm` plus this.
    pub rest_can_add: f64,
    /// tr(H) with its error: Hutchinson's estimate on the complement of the computed eigenvectors.
    pub trace: Estimate,
    /// The computed eigenvalues, the largest first.
    pub top: Vec<f64>,
    /// Whether all of them converged.
    pub converged: bool,
    /// Products.
    pub n_hvps: usize,
    /// Wall time.
    pub elapsed: Duration,
}

impl<F> NoiseKernel<F> {
    /// K of the full-batch Hessian, which is the Gauss-Newton matrix where the model is linear or fits the data.
    ///
    /// Cost: the top eigenpairs, then one product per probe, all on the whole data set.
    ///
    /// # Errors
    /// [`Error::BatchSize`]; [`Error::InvalidSetting`]; [`Error::BatchesAreNoParts`] for batch normalization in
    /// training and for noise; [`Error::NotAMeanOverSamples`]; and everything of
    /// [`FullBatchHessian::new`](crate::operator::FullBatchHessian::new).
    pub fn measure<M, S>(&self, model: &M, data: &S) -> Result<NoiseKernelMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let NoiseKernelConfig { chunk_size, memory, mode, .. } = self.config;
        let state = ModelState::in_mode(model, mode)?;
        let (loss, quantity) = (&self.loss, "the noise-kernel norm");
        let whole = whole_hessian(&state, model, data, loss, (chunk_size, memory), quantity)?;
        self.measure_operator(&whole, samples::count(data)?)
    }

    /// K of any full-batch operator of n samples, for example a Gauss-Newton matrix.
    ///
    /// # Errors
    /// [`Error::BatchSize`], [`Error::InvalidSetting`], and what the operator raises.
    pub fn measure_operator(
        &self,
        operator: &dyn LinearOperator,
        n_samples: usize,
    ) -> Result<NoiseKernelMeasurement> {
        let began = Instant::now();
        let (config, before) = (&self.config, operator.n_applies());
        config.check(n_samples)?;
        let eta = config.learning_rate;
        let k = config.num_eigenvalues.min(operator.dim());
        let solver = LanczosConfig::new()
            .with_num_eigenvalues(k)
            .with_rel_tol(config.rel_tol)
            .with_max_applies(config.max_applies.max(k + 1))
            .with_seed(config.seed);
        let pairs = solver.init().solve(operator, None)?;
        let top: Vec<f64> = pairs.pairs.iter().map(|p| p.value).collect();
        // Without the top eigenvectors the probes scatter less.
        let rest = operator.projected_away_from(&pairs.vectors()?)?;
        let probes = TraceConfig::new().with_num_products(config.num_probes).with_seed(config.seed);
        let rest = probes.init().estimate(&rest)?.trace;
        let trace = rest.affine(top.iter().sum(), 1.0);
        let factor = config.factor(n_samples);
        let share = |x: f64| match 2.0 - (1.0 - factor) * x {
            room if room > 0.0 => 1.0 / room,
            _ => f64::INFINITY,
        };
        let of_top: f64 = top.iter().map(|lambda| eta * lambda * share(eta * lambda)).sum();
        let last = top.last().map_or(0.0, |last| (eta * last).max(0.0));
        let can_add = share(last) - 0.5;
        let rest_trace = rest.mean.max(f64::MIN_POSITIVE);
        // A sum without bound is one without noise too, where the factor is zero.
        let scaled = |sum: f64| if sum.is_finite() { factor * sum } else { sum };
        Ok(NoiseKernelMeasurement {
            norm: rest.affine(scaled(of_top), 0.5 * factor * eta),
            first_order: 0.5 * factor * eta * trace.mean,
            rest_can_add: scaled(eta * rest_trace * can_add),
            trace,
            top,
            converged: pairs.converged(),
            n_hvps: operator.n_applies() - before,
            elapsed: began.elapsed(),
        })
    }
}

impl NoiseKernelConfig {
    /// p: the variance of a batch's mean over that of a sample.
    fn factor(&self, n_samples: usize) -> f64 {
        let (b, n) = (self.batch_size as f64, n_samples as f64);
        match self.sampling {
            Sampling::WithReplacement => 1.0 / b,
            Sampling::WithoutReplacement | Sampling::Epoch => (n - b) / (b * (n - 1.0).max(1.0)),
        }
    }

    fn check(&self, n_samples: usize) -> Result<()> {
        let fail = |setting, value: String, expected| {
            Err(Error::InvalidSetting { setting, value, expected })
        };
        let Self { batch_size, learning_rate, num_probes, num_eigenvalues, .. } = *self;
        if batch_size == 0 || batch_size > n_samples {
            return Err(Error::BatchSize { batch_size, n_samples });
        }
        if !(learning_rate > 0.0 && learning_rate.is_finite()) {
            return fail("learning_rate", learning_rate.to_string(), "above 0");
        }
        if num_probes == 0 {
            return fail("num_probes", "0".into(), "at least 1");
        }
        if num_eigenvalues == 0 {
            return fail("num_eigenvalues", "0".into(), "at least 1");
        }
        Ok(())
    }
}
