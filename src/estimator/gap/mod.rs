//! The gap E_B\[λ_max(H_B)] − λ_max(H) between mini-batch and full-batch sharpness, over batch sizes, at frozen
//! weights.
//!
//! The gap shrinks like 1/b while the values of single batches scatter like 1/√b, so that at large b it drowns
//! in their noise. With v₁ the top eigenvector of H, v₁ᵀH_Bv₁ has the mean λ₁ exactly and nearly all of that
//! noise: λ_max(H_B) − v₁ᵀH_Bv₁ has the gap as its mean and a fraction of the error, at the price of one
//! product per batch. It is never below zero, by the Rayleigh quotient.

mod power_law;
mod second_order;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::lane_solve::top_of_lanes;
use super::monte_carlo::{MonteCarlo, lane_seed};
use super::sampling::{Draws, Sampling};
use super::whole::{variance_factor, whole_hessian};
use super::{Estimate, TopEigenvalue};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian, HessianLanes, Lanes, row_dots};
use crate::params::{ParamVector, finite, read};
use crate::samples::{self, Samples};
use crate::solver::{EigenResult, EigenSolver, LanczosConfig};

pub use power_law::{Crossover, PowerLaw, PowerLawPoint};
pub use second_order::{GapPrediction, SecondOrder};

/// Settings of [`SharpnessGap`].
#[derive(Config, Debug)]
pub struct SharpnessGapConfig {
    /// Samples per mini-batch: one gap for each.
    pub batch_sizes: Vec<usize>,
    /// Number of mini-batches per batch size.
    #[config(default = 32)]
    pub num_batches: usize,
    /// How batches are drawn. Without replacement the gap ends at b = n, with it, it does not.
    #[config(default = "Sampling::WithoutReplacement")]
    pub sampling: Sampling,
    /// Whether each measurement draws anew; fixed draws compare weights on the same batches.
    #[config(default = "Draws::Fresh")]
    pub draws: Draws,
    /// Converged when ‖Hv − λv‖ ≤ `rel_tol`·|λ|. A Ritz value is below λ by about the square of the residual
    /// over the distance to the next eigenvalue: small against the gap only for a small residual.
    #[config(default = 1e-4)]
    pub rel_tol: f64,
    /// The most products of one solve.
    #[config(default = 200)]
    pub max_applies: usize,
    /// Eigenpairs of H for the second-order prediction, the top one included; below 2 there is none.
    #[config(default = 4)]
    pub num_eigenvalues: usize,
    /// Samples from which the variances of the prediction are estimated, at least three, or all; all, and exactly, by
    /// default.
    #[config(default = "None")]
    pub prediction_samples: Option<usize>,
    /// Samples per chunk of the full-batch Hessian (at most half of the data, so that the loss is checked to
    /// be a mean over samples).
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Whether the residuals of all chunks stay in memory between products.
    #[config(default = "ChunkMemory::Keep")]
    pub memory: ChunkMemory,
    /// Memory for the mini-batches that are worked on side by side, in MiB, on a processor for
    /// each of its threads.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Seed of batches and start vectors.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured: not one with noise, which is another for each batch.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl SharpnessGapConfig {
    /// The estimator for `loss`, which must be a mean over samples.
    pub fn init<F>(&self, loss: F) -> SharpnessGap<F> {
        SharpnessGap { config: self.clone(), loss, n_measured: 0 }
    }

    fn solver(&self) -> LanczosConfig {
        LanczosConfig::new()
            .with_rel_tol(self.rel_tol)
            .with_max_applies(self.max_applies)
            .with_seed(self.seed)
    }

    /// The batches of a size, from a stream of their own: they are the same whatever other sizes are measured.
    fn monte_carlo(&self, batch_size: usize) -> MonteCarlo {
        MonteCarlo {
            batch_size,
            num_batches: self.num_batches,
            target_relative_error: None,
            min_batches: 0,
            sampling: self.sampling,
            draws: self.draws,
            seed: lane_seed(self.seed, batch_size),
            mode: self.mode,
            memory_mib: self.memory_mib,
        }
    }
}

/// E_B\[λ_max(H_B)] − λ_max(H) at several batch sizes.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::estimator::SharpnessGapConfig;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(4, 2).init(&device);
/// # let x = Tensor::<2>::random([64, 4], Distribution::Default, &device);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// let mut gap = SharpnessGapConfig::new(vec![4, 8, 16]).with_num_batches(8).init(loss);
/// let measured = gap.measure(&model, &x)?;
/// for gap in &measured.gaps {
///     println!("b = {}: {} ± {}", gap.batch_size, gap.gap.mean, gap.gap.standard_error);
/// }
/// if let Some(law) = measured.against_inverse_size {
///     println!("(1/b − 1/n)^{} in {:?}", law.exponent, law.interval);
/// }
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharpnessGap<F> {
    config: SharpnessGapConfig,
    loss: F,
    n_measured: u64,
}

/// The gap at one batch size.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GapAtBatchSize {
    /// Samples per batch b.
    pub batch_size: usize,
    /// The gap: mean over batches of λ_max(H_B) − v₁ᵀH_Bv₁. Its error is that of the sampling of batches alone.
    pub gap: Estimate,
    /// The same without the control variate: mean of λ_max(H_B) − λ₁.
    pub plain: Estimate,
    /// Standard error of `plain` over that of `gap`; NaN where both are zero.
    pub gain: f64,
    /// E\[λ_max(H_B)] by way of the better gap, λ₁ + gap: mini-batch sharpness.
    pub minibatch_sharpness: f64,
    /// λ_max(H_B) and v₁ᵀH_Bv₁ of each batch.
    pub values: Vec<(f64, f64)>,
    /// What second-order perturbation theory says; `None` where it was not asked for, or where λ₁ and λ₂ are
    /// not told apart by their residuals: the theory does not hold there.
    pub predicted: Option<GapPrediction>,
    /// Batches whose residual did not reach the tolerance: their values are lower bounds.
    pub n_unconverged: usize,
    /// The largest ‖H_Bv − λv‖.
    pub max_residual: f64,
    /// Hessian-vector products with mini-batches.
    pub n_hvps: usize,
    /// Seed of these batches: [`draw_batches`](super::draw_batches) with it and `draw` gives them again.
    pub seed: u64,
}

/// One measurement of the gap.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SharpnessGapMeasurement {
    /// λ₁ and v₁ of the full-batch Hessian. `n_hvps` counts the products for all eigenpairs.
    pub full_batch: TopEigenvalue,
    /// One gap for each batch size, in the order of the setting.
    pub gaps: Vec<GapAtBatchSize>,
    /// The gap as a power of 1/b − 1/n. See [`PowerLaw`] for which points count; `None` for fewer than two.
    pub against_inverse_size: Option<PowerLaw>,
    /// The gap as a power of 1/b, whose local exponent without replacement is n/(n − b): it rises towards b = n.
    pub against_inverse_batch: Option<PowerLaw>,
    /// The variances behind the predictions.
    pub second_order: Option<SecondOrder>,
    /// Number of the draw.
    pub draw: u64,
    /// Wall time.
    pub elapsed: Duration,
}

impl<F> SharpnessGap<F> {
    /// Measures at the model's present parameters. `data` holds the set that batches are drawn from, whose
    /// Hessian is the full-batch one.
    ///
    /// Cost: the full-batch eigenpairs (some ten to some ten times k products on the whole data); per batch
    /// those of mini-batch sharpness and one product more; for the prediction one product with each sample,
    /// together about one on the whole data.
    ///
    /// # Errors
    /// [`Error::BatchSize`]; [`Error::InvalidSetting`] for no batch size; [`Error::BatchesAreNoParts`] for batch
    /// normalization in training and for noise; [`Error::NotAMeanOverSamples`]; and everything of
    /// [`FullBatchHessian::new`]. Not converging is counted in the result.
    pub fn measure<M, S>(&mut self, model: &M, data: &S) -> Result<SharpnessGapMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.measure_each(model, data, |_| {})
    }

    /// [`measure`](Self::measure), and `seen` gets the gap of each batch size as soon as it is known, in the order of
    /// the setting: to show how far a long measurement is, or to keep what it has found.
    ///
    /// # Errors
    /// Those of [`measure`](Self::measure).
    pub fn measure_each<M, S>(
        &mut self,
        model: &M,
        data: &S,
        mut seen: impl FnMut(&GapAtBatchSize),
    ) -> Result<SharpnessGapMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        let (config, loss) = (&self.config, &self.loss);
        self.check(samples::count(data)?)?;
        let state = ModelState::in_mode(model, config.mode)?;
        let chunks = (config.chunk_size, config.memory);
        let whole = whole_hessian(&state, model, data, loss, chunks, "the sharpness gap")?;
        let n_pairs = config.num_eigenvalues.clamp(1, state.space().n_params());
        let pairs = config.solver().with_num_eigenvalues(n_pairs);
        let pairs = pairs.with_max_applies(config.max_applies.max(n_pairs + 1));
        let pairs = pairs.init().solve(&whole, None)?;
        let full_batch = top_eigenvalue(&whole, &pairs, began);
        let second_order = if n_pairs < 2 {
            None
        } else {
            let (m, seed) = (config.prediction_samples, config.seed);
            let inputs = (model, data, loss);
            SecondOrder::measure(&state, inputs, &pairs, (m, seed, config.memory_mib))?
        };
        let (n, mut gaps, mut draw) = (samples::count(data)?, Vec::new(), 0);
        for &batch_size in &config.batch_sizes {
            let (found, of_draw) = self.at(batch_size, model, data, &full_batch)?;
            let factor = variance_factor(config.sampling, n, found.batch_size);
            let predicted = second_order.as_ref().map(|s| s.gap(factor));
            gaps.push(GapAtBatchSize { predicted, ..found });
            gaps.last().map(&mut seen);
            draw = of_draw;
        }
        let fit = |x: &dyn Fn(f64) -> f64| fit(&gaps, &full_batch, state.space().epsilon(), x);
        let measured = SharpnessGapMeasurement {
            against_inverse_size: fit(&|b| 1.0 / b - 1.0 / n as f64),
            against_inverse_batch: fit(&|b| 1.0 / b),
            full_batch,
            gaps,
            second_order,
            draw,
            elapsed: began.elapsed(),
        };
        self.n_measured += 1;
        Ok(measured)
    }

    /// Says before any work whether a setting is out of range.
    fn check(&self, n_samples: usize) -> Result<()> {
        let SharpnessGapConfig { batch_sizes, num_batches, prediction_samples, .. } = &self.config;
        let fail = |setting, value: &str, expected| {
            Err(Error::InvalidSetting { setting, value: value.into(), expected })
        };
        if batch_sizes.is_empty() {
            return fail("batch_sizes", "empty", "one or more batch sizes");
        }
        if *num_batches == 0 {
            return fail("num_batches", "0", "at least 1");
        }
        let sizes = batch_sizes.iter().chain(prediction_samples);
        if let Some(batch_size) = sizes.copied().find(|&b| b == 0 || b > n_samples) {
            return Err(Error::BatchSize { batch_size, n_samples });
        }
        match *prediction_samples {
            // One deviates from its mean by nothing, two by the same: neither shows how variances scatter.
            Some(m) if m < 3 && m < n_samples => {
                let expected =
                    "at least 3, or all samples: fewer do not tell the error of a variance";
                fail("prediction_samples", &m.to_string(), expected)
            }
            _ => Ok(()),
        }
    }

    /// The gap at a batch size.
    fn at<M, S>(
        &self,
        batch_size: usize,
        model: &M,
        data: &S,
        full_batch: &TopEigenvalue,
    ) -> Result<(GapAtBatchSize, u64)>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let (monte_carlo, solver) = (self.config.monte_carlo(batch_size), self.config.solver());
        let v1 = &full_batch.vector;
        let drawn = monte_carlo.draw(model, data, self.n_measured)?;
        let (mut values, mut n_unconverged, mut n_hvps) = (Vec::new(), 0, 0);
        let mut max_residual = 0.0_f64;
        monte_carlo.for_each_group(&drawn, model, data, &self.loss, |group| {
            let seed_of = |i| lane_seed(monte_carlo.seed, i);
            let seeds: Vec<u64> = group.numbers().map(seed_of).collect();
            let whole = |lane| group.whole(lane);
            let tops = top_of_lanes(group.lanes, Some(v1), &solver, &seeds, whole)?;
            for (top, along) in tops.iter().zip(rayleigh_quotients(group.lanes, v1)?) {
                values.push((top.value, along));
                n_unconverged += usize::from(!top.converged);
                max_residual = max_residual.max(top.residual_norm);
                n_hvps += top.n_hvps + 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let none = Error::NonFinite { quantity: "a gap over no batches", value: f64::NAN };
            Estimate::of(&values.iter().map(of).collect::<Vec<_>>()).ok_or(none)
        };
        let (gap, plain) = (mean(&|v| v.0 - v.1)?, mean(&|v| v.0 - full_batch.value)?);
        let found = GapAtBatchSize {
            batch_size: monte_carlo.batch_size,
            gain: plain.standard_error / gap.standard_error,
            minibatch_sharpness: full_batch.value + better(&gap, &plain).mean,
            gap,
            plain,
            values,
            predicted: None,
            n_unconverged,
            max_residual,
            n_hvps,
            seed: monte_carlo.seed,
        };
        Ok((found, drawn.draw))
    }
}

impl GapAtBatchSize {
    /// The one of `gap` and `plain` with the smaller standard error: that is `gap` unless the top eigenvalues
    /// of H are degenerate, where v₁ is any vector of a space and follows no batch.
    pub fn best(&self) -> &Estimate {
        better(&self.gap, &self.plain)
    }
}

fn better<'a>(gap: &'a Estimate, plain: &'a Estimate) -> &'a Estimate {
    if plain.standard_error < gap.standard_error { plain } else { gap }
}

/// vᵀHᵢv of each lane. One product in each lane.
fn rayleigh_quotients(lanes: &HessianLanes, v: &ParamVector) -> Result<Vec<f64>> {
    let images = lanes.images_of(v)?;
    let quotients = read(row_dots(&lanes.apply(&images)?, &images).flatten(0, 1))?;
    quotients.into_iter().map(|q| finite("vᵀH_Bv", q)).collect()
}

fn top_eigenvalue<S>(
    whole: &FullBatchHessian<S>,
    pairs: &EigenResult,
    began: Instant,
) -> TopEigenvalue {
    let top = pairs.first();
    TopEigenvalue {
        value: top.value,
        residual_norm: top.residual_norm,
        converged: top.converged,
        n_hvps: pairs.n_applies,
        vector: top.vector.clone(),
        loss: whole.loss(),
        elapsed: began.elapsed(),
    }
}

/// The power law of the better gaps against `x` of the batch size. An error is never below the rounding of products,
/// 32ελ₁.
fn fit(
    gaps: &[GapAtBatchSize],
    full_batch: &TopEigenvalue,
    epsilon: f64,
    x: &dyn Fn(f64) -> f64,
) -> Option<PowerLaw> {
    let rounding = 32.0 * epsilon * full_batch.value.abs();
    let point = |gap: &GapAtBatchSize| PowerLawPoint {
        x: x(gap.batch_size as f64),
        y: gap.best().mean,
        standard_error: gap.best().standard_error.max(rounding),
    };
    // `max` drops NaN: a gap from a single batch has no error, and no weight.
    let known = gaps.iter().filter(|gap| gap.gap.count > 1);
    PowerLaw::fit(&known.map(point).collect::<Vec<_>>())
}
