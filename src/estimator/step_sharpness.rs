//! Batch sharpness along other steps than the gradient: what the optimizer does instead of θ − ηg.
//!
//! For a step s of any optimizer, θ ← θ + s, the loss of a quadratic falls as long as
//! sᵀHs/(−sᵀg) < 2: the **curvature along the step**, whose threshold is 2 whatever the learning rates. For SGD with
//! momentum, θ ← θ − ηs with s = μv + g_B, **momentum batch sharpness** is E\[sᵀH_Bs/(sᵀg_B)], to be compared
//! with 2(1 − μ)/η for small batches and 2(1 + μ)/η for large ones (arXiv 2604.14108). At s = −ηg it
//! is η·gᵀHg/‖g‖², and at μ = 0 momentum batch sharpness is batch sharpness.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Tensor;

use super::monte_carlo::Group;
use super::{BatchSharpness, Draws, MeanOfRatios, RatioOfMeans};
use crate::batch::{self, Batch};
use crate::compiled::PreparedLoss;
use crate::error::{Error, Result};
use crate::model_state::ModelState;
use crate::operator::{HessianLanes, LaneVectors, Lanes, row_dots};
use crate::params::{ParamVector, finite, read};
use crate::samples::Samples;

/// The loss of one batch along one step, to second order.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepCurvature {
    /// sᵀHs.
    pub curvature: f64,
    /// The first-order decrease of the loss: sᵀg for a direction θ − ηs, −sᵀg for a step θ + s. Negative where the
    /// step goes uphill.
    pub decrease: f64,
    /// Whether the decrease is more than the rounding of an inner product, 32ε‖s‖‖g‖.
    pub is_defined: bool,
    /// Whether the gradient of the batch is zero.
    pub has_zero_gradient: bool,
}

impl StepCurvature {
    /// curvature / decrease; `None` where rounding is all there is of the decrease.
    pub fn ratio(&self) -> Option<f64> {
        self.is_defined.then(|| self.curvature / self.decrease)
    }
}

/// One measurement of the curvature along steps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepSharpnessMeasurement {
    /// E\[sᵀH_Bs/(sᵀg_B)]: the mean of the ratios of the batches.
    pub mean_of_ratios: MeanOfRatios,
    /// E\[sᵀH_Bs]/E\[sᵀg_B] over the same batches, those without a ratio included.
    pub ratio_of_means: RatioOfMeans,
    /// Each batch.
    pub values: Vec<StepCurvature>,
    /// Batches whose gradient is zero.
    pub n_zero_gradients: usize,
    /// Batches for which the step goes uphill: their ratios are negative for a positive curvature.
    pub n_uphill: usize,
    /// Hessian-vector products.
    pub n_hvps: usize,
    /// Number of this measurement: [`draw_batches`](super::draw_batches) with it gives the batches again.
    pub draw: u64,
    /// Wall time.
    pub elapsed: Duration,
}

/// Steps of all lanes: their images, and ‖s‖² as a column `[K, 1]`.
struct Steps {
    images: Tensor<2>,
    squared_norms: Tensor<2>,
    /// 1 where θ − ηs is the step, −1 where θ + s is.
    sign: f64,
}

impl<F> BatchSharpness<F> {
    /// Momentum batch sharpness E\[sᵀH_Bs/(sᵀg_B)], s = μv + g_B, with v the momentum buffer before the step
    /// (v ← μv + g in burn's and PyTorch's SGD without dampening). Counts as a measurement of this estimator.
    ///
    /// Cost: one product per batch.
    ///
    /// # Errors
    /// As [`measure`](Self::measure); a buffer of another space; [`Error::InvalidSetting`] for a `momentum` that
    /// is not finite; [`Error::NonFinite`] when no batch has a ratio.
    pub fn measure_momentum<M, S>(
        &mut self,
        model: &M,
        data: &S,
        momentum: f64,
        buffer: &ParamVector,
    ) -> Result<StepSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        if !momentum.is_finite() {
            let (setting, value) = ("momentum", momentum.to_string());
            return Err(Error::InvalidSetting { setting, value, expected: "a finite number" });
        }
        let buffer_square = finite("the norm of a vector", buffer.dot(buffer)?)?;
        self.along(model, data, |lanes| {
            let gradient = LaneVectors::new(lanes, lanes.gradients())?;
            let buffer = lanes.images_of(buffer)?;
            let cross = row_dots(&gradient.coordinates, &buffer);
            let squares = gradient.squared_norms() + cross.mul_scalar(2.0 * momentum);
            let squared_norms = squares.add_scalar(momentum * momentum * buffer_square);
            let images = gradient.images + buffer.mul_scalar(momentum);
            let sign = 1.0;
            curvatures(lanes, Steps { images, squared_norms: squared_norms.clamp_min(0.0), sign })
        })
    }

    /// Step sharpness E\[sᵀH_Bs/(−sᵀg_B)] of one step s, θ ← θ + s, that does not depend on the batch: for example
    /// the last step of the optimizer, as the difference of two parameter vectors. Counts as a measurement of
    /// this estimator.
    ///
    /// Cost: one product per batch.
    ///
    /// # Errors
    /// As [`measure_momentum`](Self::measure_momentum).
    pub fn measure_step<M, S>(
        &mut self,
        model: &M,
        data: &S,
        step: &ParamVector,
    ) -> Result<StepSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.along(model, data, |lanes| fixed_step(lanes, step))
    }

    /// Step sharpness E\[s_BᵀH_Bs_B/(−s_Bᵀg_B)] of steps that depend on the gradient of the batch in any way:
    /// `step` makes s_B of g_B, as an optimizer with its state would. Counts as a measurement of this estimator.
    ///
    /// Cost: one product per batch, and the gradient of each batch as a dense vector.
    ///
    /// # Errors
    /// As [`measure_momentum`](Self::measure_momentum), and what `step` raises.
    pub fn measure_steps<M, S>(
        &mut self,
        model: &M,
        data: &S,
        mut step: impl FnMut(&ParamVector) -> Result<ParamVector>,
    ) -> Result<StepSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.along(model, data, |lanes| {
            let (gradients, [k, _]) = (lanes.gradients(), lanes.shape());
            let mut of_lane = |lane: usize| {
                let step = step(&lanes.expand(&gradients, lane)?)?;
                fixed_step(&lanes.selected(&[lane])?, &step)
            };
            let found: Result<Vec<_>> = (0..k).map(&mut of_lane).collect();
            Ok(found?.concat())
        })
    }

    /// sᵀHs and −sᵀg of the one batch that a training step uses, for the step s that the optimizer takes from
    /// here: its [`ratio`](StepCurvature::ratio) is the curvature along the step, of the live batch.
    ///
    /// Cost: one gradient and one product.
    ///
    /// # Errors
    /// As [`HessianOperator::new`](crate::HessianOperator::new), and a step of another space.
    pub fn measure_step_live<M, B>(
        &mut self,
        model: &M,
        batch: B,
        step: &ParamVector,
    ) -> Result<StepCurvature>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let draw = match self.config.draws {
            Draws::Fresh => self.n_live,
            Draws::Fixed => 0,
        };
        self.n_live += 1;
        let state = ModelState::in_mode(model, self.config.mode)?.with_measurement(draw);
        batch::signature(&batch, state.space().device())?;
        let prepared = PreparedLoss::of(model, &state, &batch, &self.loss)?;
        let lanes = HessianLanes::at(&state, 1, &batch::tensors(batch), &prepared)?;
        Ok(fixed_step(&lanes, step)?[0])
    }

    fn along<M, S>(
        &mut self,
        model: &M,
        data: &S,
        mut of_lanes: impl FnMut(&HessianLanes) -> Result<Vec<StepCurvature>>,
    ) -> Result<StepSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        let mut values = Vec::new();
        let of_group = |group: &Group<'_, S>| {
            let found = of_lanes(group.lanes)?;
            let ratios = found.iter().map(StepCurvature::ratio).collect();
            values.extend(found);
            Ok(ratios)
        };
        let monte_carlo = self.config.monte_carlo();
        let (ratios, draw) =
            monte_carlo.values(model, data, &self.loss, self.n_measured, of_group)?;
        self.n_measured += 1;
        let n_hvps = values.len();
        values.truncate(ratios.len());
        let quantity = "sᵀHs/(sᵀg) of batches whose sᵀg are all zero to rounding";
        let pairs: Vec<_> = values.iter().map(|v| (v.curvature, v.decrease)).collect();
        let count = |f: fn(&StepCurvature) -> bool| values.iter().filter(|v| f(v)).count();
        Ok(StepSharpnessMeasurement {
            mean_of_ratios: MeanOfRatios::of(&ratios, quantity)?,
            ratio_of_means: RatioOfMeans::of(&pairs)?,
            n_zero_gradients: count(|v| v.has_zero_gradient),
            n_uphill: count(|v| v.is_defined && v.decrease < 0.0),
            values,
            n_hvps,
            draw,
            elapsed: began.elapsed(),
        })
    }
}

/// One step θ + s in every lane.
fn fixed_step(lanes: &HessianLanes, step: &ParamVector) -> Result<Vec<StepCurvature>> {
    let images = lanes.images_of(step)?;
    let square = finite("the norm of a vector", step.dot(step)?)?;
    let [k, _] = lanes.shape();
    let (device, dtype) = (images.device(), images.dtype());
    let squared_norms = Tensor::full([k, 1], square, (&device, dtype));
    curvatures(lanes, Steps { images, squared_norms, sign: -1.0 })
}

/// The curvature along the steps, which are multiplied at norm 1. One product in each lane, one read-back.
fn curvatures(lanes: &HessianLanes, steps: Steps) -> Result<Vec<StepCurvature>> {
    let Steps { images, squared_norms, sign } = steps;
    let is_zero = squared_norms.clone().lower_equal_elem(0.0);
    let unit = images * squared_norms.clone().mask_fill(is_zero, 1.0).sqrt().recip();
    let product = lanes.apply(&unit)?;
    let gradient = LaneVectors::new(lanes, lanes.gradients())?;
    let columns = vec![
        squared_norms,
        row_dots(&product, &unit),
        row_dots(&gradient.coordinates, &unit),
        gradient.squared_norms(),
    ];
    let epsilon = lanes.space().epsilon();
    let of_lane = |row: &[f64]| {
        let square = finite("the norm of a step", row[0])?;
        let curvature = square * finite("sᵀHs", row[1])?;
        let slope = finite("sᵀg", row[2])?;
        let gradient_norm = finite("the norm of a gradient", row[3])?.max(0.0).sqrt();
        Ok(StepCurvature {
            curvature,
            decrease: sign * slope * square.sqrt(),
            is_defined: square > 0.0 && slope.abs() > 32.0 * epsilon * gradient_norm,
            has_zero_gradient: gradient_norm == 0.0,
        })
    };
    read(Tensor::cat(columns, 1).flatten(0, 1))?.chunks_exact(4).map(of_lane).collect()
}
