//! Second-moment contraction: λ_max(−2ηH + η²·E\[H_B²]).
//!
//! SGD on the quadratic approximation, θ ← θ − ηH_Bθ, has E‖θ‖² ← θᵀ(I − 2ηH + η²E[H_B²])θ: where the largest
//! eigenvalue of −2ηH + η²E[H_B²] is above zero, some direction grows in mean square at once. Not above zero
//! is sufficient for stability; a direction on which all H_B are zero gives exactly zero.
//!
//! The mean over batches is not sampled. With f = (n − b)/(b(n − 1)) without replacement, 1/b with it,
//!
//! ```text
//! E[H_B²] = (1 − f)·H² + f·(1/n)·Σ_i H_i²
//! ```
//!
//! exactly, which needs two products with each sample; a sample of the samples errs in the last term alone.

use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::sampling::{Sampling, draw_batches};
use super::whole::{for_each_sample_group, variance_factor, whole_hessian};
use super::{Estimate, student_t_95};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{
    ChunkMemory, ClosureOperator, HessianLanes, LaneVectors, Lanes, LinearOperator,
};
use crate::params::{ParamVector, finite, read};
use crate::samples::{self, Samples};
use crate::solver::{EigenSolver, LanczosConfig};

/// Settings of [`Contraction`].
#[derive(Config, Debug)]
pub struct ContractionConfig {
    /// Samples per mini-batch b.
    pub batch_size: usize,
    /// η.
    pub learning_rate: f64,
    /// How training draws its batches: decides the factor f.
    #[config(default = "Sampling::WithoutReplacement")]
    pub sampling: Sampling,
    /// Samples from which (1/n)Σ H_i² is estimated; all, and exactly, by default.
    #[config(default = "None")]
    pub num_samples: Option<usize>,
    /// Converged when the residual is at most `rel_tol`·|λ|.
    #[config(default = 1e-2)]
    pub rel_tol: f64,
    /// The most products with the operator.
    #[config(default = 60)]
    pub max_applies: usize,
    /// Samples per chunk of the full-batch Hessian (at most half of the data, so that the loss is checked to
    /// be a mean over samples).
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Whether the residuals of all chunks stay in memory between products.
    #[config(default = "ChunkMemory::Keep")]
    pub memory: ChunkMemory,
    /// Memory for the samples that are worked on side by side, in MiB, on a processor for
    /// each of its threads.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Seed of the start vector and of the samples.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured: not one with noise, which is another for each batch.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl ContractionConfig {
    /// The estimator for `loss`, which must be a mean over samples.
    pub fn init<F>(&self, loss: F) -> Contraction<F> {
        Contraction { config: self.clone(), loss }
    }
}

/// λ_max(−2ηH + η²·E\[H_B²]) at frozen weights.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::estimator::ContractionConfig;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(4, 2).init(&device);
/// # let x = Tensor::<2>::random([64, 4], Distribution::Default, &device);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// let found = ContractionConfig::new(8, 0.1).init(loss).measure(&model, &x)?;
/// println!("{} unstable: {}", found.value, found.is_unstable());
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Contraction<F> {
    config: ContractionConfig,
    loss: F,
}

/// One measurement of second-moment contraction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ContractionMeasurement {
    /// The Rayleigh quotient of the operator: a lower bound of its largest eigenvalue.
    pub value: f64,
    /// Some eigenvalue lies within this distance of `value`.
    pub residual_norm: f64,
    /// Whether the residual is within the tolerance. Values near zero, next to the many zeros of a network's
    /// Hessian, often are not; their sign is what the residual says.
    pub converged: bool,
    /// Standard error of `value` from the sampling of samples, at its eigenvector; 0 where all were used. The
    /// largest eigenvalue of an estimated operator is biased upwards by about its square.
    pub standard_error: f64,
    /// 95% interval for the sampling of samples, value ± t·standard error.
    pub interval: (f64, f64),
    /// The direction that grows most, of norm 1.
    pub vector: ParamVector,
    /// Samples that were used.
    pub count: usize,
    /// Products with the operator: each is two products with each sample, which are recomputed, and two on the
    /// whole data set.
    pub n_applies: usize,
    /// Wall time.
    pub elapsed: Duration,
}

impl ContractionMeasurement {
    /// Whether a growing direction was found: the value is above zero by more than its residual and, where
    /// samples were sampled, its interval.
    pub fn is_unstable(&self) -> bool {
        self.value > self.residual_norm && self.interval.0 > 0.0
    }
}

impl<F> Contraction<F> {
    /// Measures at the model's present parameters.
    ///
    /// Cost per product with the operator: two products on the whole data set, a primal pass and two products
    /// with each of the samples. Most need ten to fifty. A source that is not in memory loads each sample by itself,
    /// for each of these products, unless it [is row-wise](Samples::is_row_wise).
    ///
    /// # Errors
    /// [`Error::BatchSize`]; [`Error::InvalidSetting`]; [`Error::BatchesAreNoParts`] for batch normalization in
    /// training and for noise; [`Error::NotAMeanOverSamples`]; and everything of
    /// [`FullBatchHessian::new`](crate::operator::FullBatchHessian::new). Not converging is a result.
    pub fn measure<M, S>(&self, model: &M, data: &S) -> Result<ContractionMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let (began, config) = (Instant::now(), &self.config);
        let (eta, n) = (config.learning_rate, samples::count(data)?);
        let samples = self.samples(n)?;
        let state = ModelState::in_mode(model, config.mode)?;
        let (inputs, chunks) = ((model, data, &self.loss), (config.chunk_size, config.memory));
        let quantity = "second-moment contraction";
        let whole = whole_hessian(&state, model, data, &self.loss, chunks, quantity)?;
        let factor = variance_factor(config.sampling, n, config.batch_size);
        let operator = ClosureOperator::new(state.space().clone(), |v: &ParamVector| {
            let first = whole.apply(v)?;
            let mut sum = whole.apply(&first)?.scale(eta * eta * (1.0 - factor));
            sum = sum.axpy(-2.0 * eta, &first)?;
            let weight = eta * eta * factor / samples.len() as f64;
            for_each_sample_group(&state, inputs, &samples, config.memory_mib, |lanes| {
                let first = lanes.apply(&lanes.images_of(v)?)?;
                let second = lanes.apply(&lanes.images(&first)?)?;
                sum = sum.axpy(weight, &sum_of_lanes(lanes, &second)?)?;
                Ok(())
            })?;
            Ok(sum)
        });
        let solver = LanczosConfig::new()
            .with_rel_tol(config.rel_tol)
            .with_max_applies(config.max_applies)
            .with_seed(config.seed);
        let found = solver.init().solve(&operator, None)?;
        let pair = found.first();
        // ‖H_iv‖² of the samples, whose mean is the sampled part of the value.
        let mut squares = Vec::new();
        if samples.len() < n {
            for_each_sample_group(&state, inputs, &samples, config.memory_mib, |lanes| {
                let product = lanes.apply(&lanes.images_of(&pair.vector)?)?;
                let product = LaneVectors::new(lanes, product)?;
                squares.extend(read(product.squared_norms().flatten(0, 1))?);
                Ok(())
            })?;
        }
        let (standard_error, half) = sampling_error(&squares, eta * eta * factor, n);
        Ok(ContractionMeasurement {
            value: finite("second-moment contraction", pair.value)?,
            residual_norm: pair.residual_norm,
            converged: pair.converged,
            standard_error,
            interval: (pair.value - half, pair.value + half),
            vector: pair.vector.clone(),
            count: samples.len(),
            n_applies: found.n_applies,
            elapsed: began.elapsed(),
        })
    }

    /// Checks the settings, and says which samples are used.
    fn samples(&self, n_samples: usize) -> Result<Vec<usize>> {
        let ContractionConfig { batch_size, learning_rate, num_samples, seed, .. } = self.config;
        if !(learning_rate > 0.0 && learning_rate.is_finite()) {
            let (setting, value) = ("learning_rate", learning_rate.to_string());
            return Err(Error::InvalidSetting { setting, value, expected: "above 0" });
        }
        if batch_size == 0 || batch_size > n_samples {
            return Err(Error::BatchSize { batch_size, n_samples });
        }
        match num_samples {
            None => Ok((0..n_samples).collect()),
            Some(m) => {
                let sampling = Sampling::WithoutReplacement;
                Ok(draw_batches(sampling, n_samples, m, 1, seed, 0)?.concat())
            }
        }
    }
}

/// Standard error and half the 95% interval of `weight` times the mean of `values`, of some of n samples; zero
/// where there are none because all samples were used.
fn sampling_error(values: &[f64], weight: f64, n: usize) -> (f64, f64) {
    let Some(estimate) = Estimate::of(values) else { return (0.0, 0.0) };
    let left = 1.0 - values.len() as f64 / n as f64;
    let error = weight * estimate.standard_error * left.sqrt();
    if error.is_nan() {
        return (error, f64::INFINITY); // a single sample
    }
    (error, student_t_95(values.len().saturating_sub(1)) * error)
}

/// The sum over lanes of vectors with these coordinates.
fn sum_of_lanes(lanes: &HessianLanes, coordinates: &Tensor<2>) -> Result<ParamVector> {
    let ([k, width], space) = (lanes.shape(), lanes.space());
    if lanes.is_dense() {
        return Ok(space.vector(coordinates.clone().sum_dim(0).reshape([width])));
    }
    let mut sum = lanes.expand(coordinates, 0)?;
    for lane in 1..k {
        sum = sum.axpy(1.0, &lanes.expand(coordinates, lane)?)?;
    }
    Ok(sum)
}
