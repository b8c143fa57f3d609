//! Both ends of the mini-batch spectra, λ_max(H_B) and λ_min(H_B), and whether λ_max > |λ_min|.
//!
//! Lemma 4.1 of arXiv 2412.20553 takes that for granted: without it the norm of H_B is not its largest
//! eigenvalue, and mini-batch sharpness not what a spectral norm averages to.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::Estimate;
use super::lane_solve::{LaneTop, top_of_lanes};
use super::monte_carlo::{MonteCarlo, lane_seed};
use super::sampling::{Draws, Sampling};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::samples::Samples;
use crate::solver::{LanczosConfig, Which};

/// Settings of [`MiniBatchExtremes`].
#[derive(Config, Debug)]
pub struct MiniBatchExtremesConfig {
    /// Samples per mini-batch.
    pub batch_size: usize,
    /// Number of mini-batches.
    #[config(default = 16)]
    pub num_batches: usize,
    /// How batches are drawn.
    #[config(default = "Sampling::WithoutReplacement")]
    pub sampling: Sampling,
    /// Whether each measurement draws anew.
    #[config(default = "Draws::Fresh")]
    pub draws: Draws,
    /// Converged when ‖H_Bv − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-2)]
    pub rel_tol: f64,
    /// The most products per batch and end of the spectrum.
    #[config(default = 100)]
    pub max_applies: usize,
    /// Memory for the mini-batches that are worked on side by side, in MiB, on a processor for
    /// each of its threads.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Seed of batches and start vectors.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl MiniBatchExtremesConfig {
    /// The estimator for `loss`, a closure from model and batch to one number.
    pub fn init<F>(&self, loss: F) -> MiniBatchExtremes<F> {
        MiniBatchExtremes { config: self.clone(), loss, n_measured: 0 }
    }

    fn solver(&self, which: Which) -> LanczosConfig {
        LanczosConfig::new()
            .with_which(which)
            .with_rel_tol(self.rel_tol)
            .with_max_applies(self.max_applies)
            .with_seed(self.seed)
    }

    fn monte_carlo(&self) -> MonteCarlo {
        MonteCarlo {
            batch_size: self.batch_size,
            num_batches: self.num_batches,
            target_relative_error: None,
            min_batches: 0,
            sampling: self.sampling,
            draws: self.draws,
            seed: self.seed,
            mode: self.mode,
            memory_mib: self.memory_mib,
        }
    }
}

/// E_B\[λ_max(H_B)], E_B\[λ_min(H_B)], and how often λ_max > |λ_min|, at frozen weights.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::estimator::MiniBatchExtremesConfig;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(4, 2).init(&device);
/// # let x = Tensor::<2>::random([64, 4], Distribution::Default, &device);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// let ends = MiniBatchExtremesConfig::new(8).init(loss).measure(&model, &x)?;
/// println!("λ_max > |λ_min| in {:?} of the batches", ends.max_dominant.interval);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MiniBatchExtremes<F> {
    config: MiniBatchExtremesConfig,
    loss: F,
    n_measured: u64,
}

/// A share of batches, with Wilson's 95% interval: it stays within 0 and 1, and has a width at both.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fraction {
    /// Batches that count as yes.
    pub count: usize,
    /// Batches that count.
    pub total: usize,
    /// count / total; NaN for no batch.
    pub value: f64,
    /// 95% interval; (0, 1) for no batch.
    pub interval: (f64, f64),
}

impl Fraction {
    /// The share of `count` in `total`.
    ///
    /// ```
    /// use burn_sharpness::estimator::Fraction;
    ///
    /// let all = Fraction::of(20, 20);
    /// assert!(all.value == 1.0 && all.interval.0 < 0.85 && all.interval.1 == 1.0);
    /// ```
    pub fn of(count: usize, total: usize) -> Self {
        const Z: f64 = 1.959_963_984_540_054;
        let (n, value) = (total as f64, count as f64 / total as f64);
        if total == 0 {
            return Self { count, total, value, interval: (0.0, 1.0) };
        }
        let center = value + Z * Z / (2.0 * n);
        let half = Z * (value * (1.0 - value) / n + Z * Z / (4.0 * n * n)).sqrt();
        let end = |x: f64| (x / (1.0 + Z * Z / n)).clamp(0.0, 1.0);
        // At the ends the interval touches them but for rounding.
        let low = if count == 0 { 0.0 } else { end(center - half) };
        let high = if count == total { 1.0 } else { end(center + half) };
        Self { count, total, value, interval: (low, high) }
    }
}

/// Both ends of the spectrum of one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Extremes {
    /// λ_max(H_B), from below.
    pub max: f64,
    /// Its residual norm.
    pub max_residual: f64,
    /// λ_min(H_B), from above.
    pub min: f64,
    /// Its residual norm.
    pub min_residual: f64,
    /// Whether both residuals are within the tolerance.
    pub converged: bool,
}

impl Extremes {
    /// Whether λ_max > |λ_min|; `None` where the residuals leave it open. A λ_min of (nearly) zero may have a
    /// large residual in its own units and yet decide the question.
    pub fn is_max_dominant(&self) -> Option<bool> {
        let (low, high) = (self.max, self.max + self.max_residual);
        // A Ritz value is above λ_min by at most its residual, if it found the smallest one.
        let (far, near) = (self.min.max(self.min_residual - self.min), -self.min);
        match () {
            () if low > far && low > 0.0 => Some(true),
            () if near >= high => Some(false),
            () => None,
        }
    }
}

/// One measurement of both ends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MiniBatchExtremesMeasurement {
    /// Mean of λ_max(H_B): mini-batch sharpness.
    pub max: Estimate,
    /// Mean of λ_min(H_B).
    pub min: Estimate,
    /// The share of batches with λ_max > |λ_min| among those that are decided.
    pub max_dominant: Fraction,
    /// Batches for which the residuals leave that open.
    pub n_undecided: usize,
    /// Each batch.
    pub values: Vec<Extremes>,
    /// Batches of which one residual did not reach the tolerance.
    pub n_unconverged: usize,
    /// Hessian-vector products.
    pub n_hvps: usize,
    /// Number of this measurement: [`draw_batches`](super::draw_batches) with it gives the batches again.
    pub draw: u64,
    /// Wall time.
    pub elapsed: Duration,
}

impl<F> MiniBatchExtremes<F> {
    /// Measures at the model's present parameters.
    ///
    /// Cost per batch: twice that of mini-batch sharpness, and more where λ_min is close to zero.
    ///
    /// # Errors
    /// As [`MiniBatchSharpness::measure`](super::MiniBatchSharpness::measure).
    pub fn measure<M, S>(&mut self, model: &M, data: &S) -> Result<MiniBatchExtremesMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let (began, config) = (Instant::now(), &self.config);
        let monte_carlo = config.monte_carlo();
        let drawn = monte_carlo.draw(model, data, self.n_measured)?;
        let (mut values, mut n_hvps) = (Vec::new(), 0);
        monte_carlo.for_each_group(&drawn, model, data, &self.loss, |group| {
            let seeds: Vec<u64> = group.numbers().map(|i| lane_seed(config.seed, i)).collect();
            let mut end = |which| {
                let (solver, whole) = (config.solver(which), |lane| group.whole(lane));
                let found = top_of_lanes(group.lanes, None, &solver, &seeds, whole)?;
                n_hvps += found.iter().map(|top| top.n_hvps).sum::<usize>();
                Ok::<_, Error>(found)
            };
            let tops = end(Which::LargestAlgebraic)?;
            let bottoms = end(Which::SmallestAlgebraic)?;
            values.extend(tops.iter().zip(&bottoms).map(|(top, bottom)| extremes(top, bottom)));
            Ok(ControlFlow::Continue(()))
        })?;
        self.n_measured += 1;
        let mean = |of: fn(&Extremes) -> f64| {
            let none = Error::NonFinite { quantity: "a mean over no batches", value: f64::NAN };
            Estimate::of(&values.iter().map(of).collect::<Vec<_>>()).ok_or(none)
        };
        let verdicts: Vec<bool> = values.iter().filter_map(Extremes::is_max_dominant).collect();
        let dominant = verdicts.iter().filter(|holds| **holds).count();
        Ok(MiniBatchExtremesMeasurement {
            max: mean(|v| v.max)?,
            min: mean(|v| v.min)?,
            max_dominant: Fraction::of(dominant, verdicts.len()),
            n_undecided: values.len() - verdicts.len(),
            n_unconverged: values.iter().filter(|v| !v.converged).count(),
            values,
            n_hvps,
            draw: drawn.draw,
            elapsed: began.elapsed(),
        })
    }
}

fn extremes(top: &LaneTop, bottom: &LaneTop) -> Extremes {
    Extremes {
        max: top.value,
        max_residual: top.residual_norm,
        min: bottom.value,
        min_residual: bottom.residual_norm,
        converged: top.converged && bottom.converged,
    }
}
