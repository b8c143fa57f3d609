//! Batch sharpness: E_B\[g_Bᵀ H_B g_B / ‖g_B‖²], the mean over mini-batches of the curvature of the
//! mini-batch loss along its own gradient (arXiv 2412.20553, Equation 5; from version 3 on the
//! quantity that sits at 2/η).
//!
//! The mean is of ratios, batch by batch. Each ratio is a Rayleigh quotient of H_B, so batch
//! sharpness never exceeds [mini-batch sharpness](super::MiniBatchSharpness) on the same batches.

use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::monte_carlo::{Group, MonteCarlo, Sample};
use super::sampling::{Draws, Sampling};
use super::{Estimate, RatioOfMeans};
use crate::error::Result;
use crate::mode::Mode;
use crate::operator::{HessianLanes, LaneVectors, Lanes, row_dots};
use crate::params::{finite, read};
use crate::samples::Samples;

/// Settings of [`BatchSharpness`].
#[derive(Config, Debug)]
pub struct BatchSharpnessConfig {
    /// Samples per mini-batch.
    pub batch_size: usize,
    /// Number of mini-batches; with a target, the maximum.
    #[config(default = 64)]
    pub num_batches: usize,
    /// Stop as soon as standard error / |mean| is below this, after `min_batches`.
    #[config(default = "None")]
    pub target_relative_error: Option<f64>,
    /// The fewest batches before the target counts.
    #[config(default = 16)]
    pub min_batches: usize,
    /// How batches are drawn.
    #[config(default = "Sampling::WithoutReplacement")]
    pub sampling: Sampling,
    /// Whether each measurement draws anew.
    #[config(default = "Draws::Fresh")]
    pub draws: Draws,
    /// Memory for the mini-batches that are worked on side by side, in MiB, on a processor for each of its
    /// threads: as many as fit, at least one. Results do not depend on it beyond rounding. The default suits
    /// a processor, whose caches hold little more; a GPU runs faster with thousands.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Seed of batches.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl BatchSharpnessConfig {
    /// The estimator for `loss`, a closure from model and batch to one number.
    pub fn init<F>(&self, loss: F) -> BatchSharpness<F> {
        BatchSharpness { config: self.clone(), loss, n_measured: 0, n_live: 0 }
    }

    pub(super) fn monte_carlo(&self) -> MonteCarlo {
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

/// E_B\[g_Bᵀ H_B g_B / ‖g_B‖²] at frozen weights, and the same along other steps than the gradient
/// ([`measure_momentum`](Self::measure_momentum), [`measure_step`](Self::measure_step)). Cost: one product
/// per batch.
#[derive(Clone, Debug)]
pub struct BatchSharpness<F> {
    pub(crate) config: BatchSharpnessConfig,
    pub(super) loss: F,
    pub(crate) n_measured: u64,
    /// Measurements of live batches so far.
    pub(super) n_live: u64,
}

/// One measurement of batch sharpness.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BatchSharpnessMeasurement {
    /// Mean of the ratios over the batches, with its error.
    pub estimate: Estimate,
    /// E\[gᵀH_Bg]/E\[‖g‖²] over the same batches: batches with large gradients count for more.
    pub ratio_of_means: RatioOfMeans,
    /// The ratio of each batch with a nonzero gradient.
    pub values: Vec<f64>,
    /// Batches left out because their gradient is zero.
    pub n_zero_gradients: usize,
    /// Hessian-vector products.
    pub n_hvps: usize,
    /// Number of this measurement: [`draw_batches`](super::draw_batches) with it gives the batches
    /// again.
    pub draw: u64,
    /// Wall time.
    pub elapsed: Duration,
}

impl<F> BatchSharpness<F> {
    /// Measures at the model's present parameters. `data` is the set that batches are drawn
    /// from: tensors whose first dimension counts samples, or any other [`Samples`].
    ///
    /// # Errors
    /// As [`MiniBatchSharpness::measure`](super::MiniBatchSharpness::measure), and
    /// [`ZeroGradients`](crate::Error::ZeroGradients) when every batch has a zero gradient.
    pub fn measure<M, S>(&mut self, model: &M, data: &S) -> Result<BatchSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        let (mut n_hvps, mut found) = (0, Vec::new());
        let ratio = |group: &Group<'_, S>| {
            let of_group = directional_sharpness(group.lanes)?;
            n_hvps += of_group.len();
            let ratios = of_group.iter().map(|(_, ratio)| *ratio).collect();
            found.extend(of_group);
            Ok(ratios)
        };
        let monte_carlo = self.config.monte_carlo();
        let sample = monte_carlo.sample(model, data, &self.loss, self.n_measured, ratio)?;
        self.n_measured += 1;
        let Sample { estimate, values, n_batches, draw } = sample;
        // Products of batches after the one at which the target was reached were computed too.
        found.truncate(n_batches);
        let pair = |(square, ratio): &(f64, Option<f64>)| (square * ratio.unwrap_or(0.0), *square);
        let ratio_of_means = RatioOfMeans::of(&found.iter().map(pair).collect::<Vec<_>>())?;
        let n_zero_gradients = n_batches - values.len();
        let elapsed = began.elapsed();
        Ok(BatchSharpnessMeasurement {
            estimate,
            ratio_of_means,
            values,
            n_zero_gradients,
            n_hvps,
            draw,
            elapsed,
        })
    }
}

/// ‖g‖² and gᵀHg/‖g‖² of each lane; `None` where the gradient is zero. One product in each lane.
pub(super) fn directional_sharpness(lanes: &HessianLanes) -> Result<Vec<(f64, Option<f64>)>> {
    let gradient = LaneVectors::new(lanes, lanes.gradients())?;
    let unit = gradient.normalized();
    let product = lanes.apply(&unit.images)?;
    let ratios = row_dots(&product, &unit.images);
    let columns = Tensor::cat(vec![gradient.squared_norms(), ratios], 1);
    let ratio = |pair: &[f64]| {
        let squared_norm = finite("the norm of a gradient", pair[0])?;
        let is_zero = squared_norm <= 0.0;
        let ratio = if is_zero { None } else { Some(finite("gᵀHg/‖g‖²", pair[1])?) };
        Ok((squared_norm.max(0.0), ratio))
    };
    read(columns.flatten(0, 1))?.chunks_exact(2).map(ratio).collect()
}
