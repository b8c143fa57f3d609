//! How gradient noise and full-batch curvature interact, and what a step of SGD does to the full-batch loss.
//!
//! With H and ∇L of the whole data set and C_b = E\[g_B g_Bᵀ]:
//!
//! - gradient-noise interaction GNI = E\[g_BᵀHg_B]/‖∇L‖² = tr(HC_b)/‖∇L‖². At 2/η the expected change of the
//!   loss is zero to second order; on quadratics it gets there by noise alone, so that it does not show an
//!   edge of stability, as batch sharpness does.
//! - alignment IAS = tr(HC_b)/tr(C_b) (Lee and Jang 2023): GNI = IAS·tr(C_b)/‖∇L‖².
//! - one-step change E\[L(θ − ηg_B) − L(θ)] ≈ −η‖∇L‖² + η²/2·E\[g_BᵀHg_B].
//!
//! E\[g_B] = ∇L is known, and so are the means of (g_B − ∇L)ᵀH∇L and (g_B − ∇L)ᵀ∇L, which are zero: they are
//! taken off batch by batch, which leaves the means and takes most of the noise away.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;
use burn_dispatch::DispatchTensor;

use super::batch_sharpness::directional_sharpness;
use super::monte_carlo::MonteCarlo;
use super::sampling::{Draws, Sampling};
use super::whole::{ForwardLoss, LossAlong, whole_hessian};
use super::{Estimate, RatioOfMeans};
use crate::batch::{self, Batch, BatchSignature};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian, Lanes, LinearOperator};
use crate::params::{ParamVector, finite};
use crate::samples::{Borrowed, Samples};

/// Settings of [`GradientNoise`].
#[derive(Config, Debug)]
pub struct GradientNoiseConfig {
    /// Samples per mini-batch.
    pub batch_size: usize,
    /// Number of mini-batches.
    #[config(default = 64)]
    pub num_batches: usize,
    /// η, for which to measure the change of the loss by one step too.
    #[config(default = "None")]
    pub learning_rate: Option<f64>,
    /// How batches are drawn.
    #[config(default = "Sampling::WithoutReplacement")]
    pub sampling: Sampling,
    /// Whether each measurement draws anew.
    #[config(default = "Draws::Fresh")]
    pub draws: Draws,
    /// Samples per chunk of the full-batch Hessian and loss (at most half of the data, so that the loss is
    /// checked to be a mean over samples).
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Whether the residuals of all chunks stay in memory between products.
    #[config(default = "ChunkMemory::Keep")]
    pub memory: ChunkMemory,
    /// Memory for the mini-batches that are worked on side by side, in MiB, on a processor for
    /// each of its threads.
    #[config(default = 64)]
    pub memory_mib: usize,
    /// Seed of batches.
    #[config(default = 0)]
    pub seed: u64,
    /// Which network is measured: not one with noise, which is another for each batch.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl GradientNoiseConfig {
    /// The estimator for `loss`, which must be a mean over samples.
    pub fn init<F>(&self, loss: F) -> GradientNoise<F> {
        GradientNoise { config: self.clone(), loss, n_measured: 0 }
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

/// GNI, IAS, and the expected change of the loss by one step of SGD, at frozen weights.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::estimator::GradientNoiseConfig;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(4, 2).init(&device);
/// # let x = Tensor::<2>::random([64, 4], Distribution::Default, &device);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// let config = GradientNoiseConfig::new(8).with_learning_rate(Some(0.1));
/// let measured = config.init(loss).measure(&model, &x)?;
/// println!("GNI {:?}", measured.interaction.map(|gni| gni.interval));
/// if let Some(step) = measured.one_step {
///     println!("{} measured, {} predicted", step.measured.mean, step.predicted.mean);
/// }
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GradientNoise<F> {
    config: GradientNoiseConfig,
    loss: F,
    n_measured: u64,
}

/// One measurement of gradient noise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GradientNoiseMeasurement {
    /// GNI = E\[g_BᵀHg_B]/‖∇L‖²; `None` where ∇L is zero.
    pub interaction: Option<Estimate>,
    /// IAS = E\[g_BᵀHg_B]/E\[‖g_B‖²], a ratio of means; `None` where every batch has a zero gradient.
    pub alignment: Option<RatioOfMeans>,
    /// E\[g_BᵀHg_B] = tr(HC_b), with the part that is linear in the noise taken off.
    pub curvature: Estimate,
    /// The same without that.
    pub curvature_plain: Estimate,
    /// E\[‖g_B‖²] = tr(C_b), with the part that is linear in the noise taken off.
    pub squared_norm: Estimate,
    /// ‖∇L‖².
    pub full_squared_norm: f64,
    /// ∇LᵀH∇L.
    pub full_curvature: f64,
    /// Batches with a zero gradient. They count in every mean.
    pub n_zero_gradients: usize,
    /// The change by one step, where a learning rate is set.
    pub one_step: Option<OneStepChange>,
    /// Products on the whole data set: one per batch and one for ∇L.
    pub n_hvps: usize,
    /// Products with mini-batches.
    pub n_batch_hvps: usize,
    /// Forward passes over the whole data set.
    pub n_forwards: usize,
    /// Number of this measurement: [`draw_batches`](super::draw_batches) with it gives the batches again.
    pub draw: u64,
    /// Wall time.
    pub elapsed: Duration,
}

/// The change of the loss by one step θ − ηg_B, measured by forward passes and predicted to second order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OneStepChange {
    /// η.
    pub learning_rate: f64,
    /// L(θ) of the whole data set.
    pub loss: f64,
    /// E\[L(θ − ηg_B) − L(θ)] over all samples, before and after; with the noise taken off whose mean is zero,
    /// −η(g_B − ∇L)ᵀ∇L + η²(g_B − ∇L)ᵀH∇L.
    pub measured: Estimate,
    /// The same without that.
    pub measured_plain: Estimate,
    /// −η‖∇L‖² + η²/2·E\[g_BᵀHg_B].
    pub predicted: Estimate,
    /// Mean over batches of what the second order leaves out of the measured change: zero on quadratics.
    pub remainder: Estimate,
    /// E\[L_B(θ − ηg_B) − L_B(θ)], on the samples of the step itself.
    pub measured_on_batch: Estimate,
    /// −η·E\[‖g_B‖²] + η²/2·E\[g_BᵀH_Bg_B]: below zero where batch sharpness, as a ratio of means, is below 2/η.
    pub predicted_on_batch: Estimate,
}

impl GradientNoiseMeasurement {
    /// −η‖∇L‖² + η²/2·E\[g_BᵀHg_B], the expected change of the loss by one step to second order.
    pub fn predicted_change(&self, learning_rate: f64) -> Estimate {
        let linear = -learning_rate * self.full_squared_norm;
        self.curvature.affine(linear, 0.5 * learning_rate.powi(2))
    }
}

/// What is known of the whole data set.
struct Whole<'a, S> {
    hessian: FullBatchHessian<Borrowed<'a, S>>,
    /// H∇L.
    product: ParamVector,
    squared_norm: f64,
    curvature: f64,
    along: Option<(f64, LossAlong<'a, S>)>,
    params: ParamVector,
    loss: f64,
}

/// What is measured of one batch.
struct OfBatch {
    squared_norm: f64,
    /// g_Bᵀ∇L, g_BᵀH∇L, g_BᵀHg_B.
    slope: f64,
    cross: f64,
    curvature: f64,
    step: Option<StepOfBatch>,
}

/// Changes of the loss by the step of one batch.
struct StepOfBatch {
    change: f64,
    change_on_batch: f64,
    predicted_on_batch: f64,
}

impl<F> GradientNoise<F> {
    /// Measures at the model's present parameters. `data` holds the set that batches are drawn from.
    ///
    /// Cost per batch: a gradient of the batch, a product on the whole data set; with a learning rate also a
    /// forward pass over the whole data set, a product and two forward passes with the batch. The model is not
    /// written to: shifted parameters are bound to the recorded loss.
    ///
    /// # Errors
    /// [`Error::BatchSize`]; [`Error::InvalidSetting`]; [`Error::BatchesAreNoParts`] for batch normalization in
    /// training and for noise; [`Error::NotAMeanOverSamples`]; [`Error::NonFinite`], also for a loss after the
    /// step that is not a number; and everything of [`FullBatchHessian::new`].
    pub fn measure<M, S>(&mut self, model: &M, data: &S) -> Result<GradientNoiseMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        let monte_carlo = self.config.monte_carlo();
        let drawn = monte_carlo.draw(model, data, self.n_measured)?;
        let whole = self.whole(model, data)?;
        let (mut found, mut forward) = (Vec::new(), None);
        monte_carlo.for_each_group(&drawn, model, data, &self.loss, |group| {
            let gradients = group.lanes.gradients();
            let on_batch = match &whole.along {
                Some(_) => directional_sharpness(group.lanes)?,
                None => Vec::new(),
            };
            for lane in 0..group.numbers().len() {
                let gradient = group.lanes.expand(&gradients, lane)?;
                let mut of_batch = whole.of_batch(&gradient)?;
                if whole.along.is_some() {
                    let batch = group.batch(lane)?;
                    let signature = batch::signature(&batch, drawn.state.space().device())?;
                    let usable = |(of, _): &(BatchSignature, ForwardLoss)| {
                        S::Batch::TENSORS_ONLY && *of == signature
                    };
                    let (_, forward) = match forward.take().filter(usable) {
                        Some(recorded) => forward.insert(recorded),
                        None => {
                            let of = ForwardLoss::of(model, &drawn.state, &batch, &self.loss)?;
                            forward.insert((signature, of))
                        }
                    };
                    let on_batch = (&*forward, batch::tensors(batch), on_batch[lane]);
                    of_batch.step = whole.step(&drawn.state, &gradient, on_batch)?;
                }
                found.push(of_batch);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.n_measured += 1;
        whole.measurement(&found, drawn.draw, began)
    }

    fn whole<'a, M, S>(&self, model: &M, data: &'a S) -> Result<Whole<'a, S>>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let GradientNoiseConfig { learning_rate, chunk_size, memory, mode, .. } = self.config;
        if let Some(eta) = learning_rate.filter(|eta| !(*eta > 0.0 && eta.is_finite())) {
            let (setting, value) = ("learning_rate", eta.to_string());
            return Err(Error::InvalidSetting { setting, value, expected: "above 0" });
        }
        let state = ModelState::in_mode(model, mode)?;
        let (loss, quantity) = (&self.loss, "gradient noise");
        let hessian = whole_hessian(&state, model, data, loss, (chunk_size, memory), quantity)?;
        let along =
            |eta| Ok((eta, LossAlong::of(&state, model, data, loss, (chunk_size, memory))?));
        let along = learning_rate.map(along).transpose()?;
        let (params, gradient) = (state.params(), hessian.gradient());
        // By the same program as the loss after the step: their rounding cancels.
        let loss =
            along.as_ref().map_or(Ok(hessian.loss()), |(_, along)| along.here(hessian.loss()))?;
        let product = hessian.apply(gradient)?;
        let squared_norm = finite("the norm of a gradient", gradient.dot(gradient)?)?;
        let curvature = finite("∇LᵀH∇L", gradient.dot(&product)?)?;
        Ok(Whole { hessian, product, squared_norm, curvature, along, params, loss })
    }
}

impl<S: Samples> Whole<'_, S> {
    /// Cost: one product on the whole data set.
    fn of_batch(&self, gradient: &ParamVector) -> Result<OfBatch> {
        let squared_norm = finite("the norm of a gradient", gradient.dot(gradient)?)?;
        let curvature = gradient.dot(&self.hessian.apply(gradient)?)?;
        Ok(OfBatch {
            squared_norm,
            slope: finite("g_Bᵀ∇L", gradient.dot(self.hessian.gradient())?)?,
            cross: finite("g_BᵀH∇L", gradient.dot(&self.product)?)?,
            curvature: finite("g_BᵀHg_B", curvature)?,
            step: None,
        })
    }

    /// The step of one batch, where there is a learning rate: on the whole data set, and on the batch whose
    /// loss, tensors and (‖g_B‖², g_BᵀH_Bg_B/‖g_B‖²) are given. Cost: a forward pass over the whole data set, two over
    /// the batch.
    fn step(
        &self,
        state: &ModelState,
        gradient: &ParamVector,
        (forward, tensors, (square, ratio)): (
            &ForwardLoss,
            Vec<DispatchTensor>,
            (f64, Option<f64>),
        ),
    ) -> Result<Option<StepOfBatch>> {
        let Some((eta, along)) = &self.along else { return Ok(None) };
        let shifted = self.params.axpy(-eta, gradient)?;
        let after = |value| finite("the loss after a step", value);
        let on_batch = after(forward.at(&state.with_params(&shifted), &tensors)?)?;
        Ok(Some(StepOfBatch {
            change: after(along.at(&shifted)?)? - self.loss,
            change_on_batch: on_batch - forward.at(state, &tensors)?,
            predicted_on_batch: eta * square * (0.5 * eta * ratio.unwrap_or(0.0) - 1.0),
        }))
    }

    fn measurement(
        &self,
        found: &[OfBatch],
        draw: u64,
        began: Instant,
    ) -> Result<GradientNoiseMeasurement> {
        let curvature = mean(found, |b| b.curvature - self.cross_noise(b))?;
        let pairs: Vec<_> = found.iter().map(|b| (b.curvature, b.squared_norm)).collect();
        let n_zero_gradients = found.iter().filter(|b| b.squared_norm == 0.0).count();
        let all_zero = n_zero_gradients == found.len();
        let (is_flat, square) = (self.squared_norm == 0.0, self.squared_norm);
        let steps = if self.along.is_some() { found.len() } else { 0 };
        Ok(GradientNoiseMeasurement {
            interaction: (!is_flat).then(|| curvature.affine(0.0, 1.0 / square)),
            alignment: if all_zero { None } else { Some(RatioOfMeans::of(&pairs)?) },
            curvature,
            curvature_plain: mean(found, |b| b.curvature)?,
            squared_norm: mean(found, |b| b.squared_norm - 2.0 * (b.slope - square))?,
            full_squared_norm: square,
            full_curvature: self.curvature,
            n_zero_gradients,
            one_step: self.along.as_ref().map(|(eta, _)| self.one_step(*eta, found)).transpose()?,
            n_hvps: self.hessian.n_applies(),
            n_batch_hvps: steps,
            n_forwards: if steps > 0 { steps + 1 } else { 0 },
            draw,
            elapsed: began.elapsed(),
        })
    }

    /// 2(g_B − ∇L)ᵀH∇L, of mean zero.
    fn cross_noise(&self, of_batch: &OfBatch) -> f64 {
        2.0 * (of_batch.cross - self.curvature)
    }

    fn one_step(&self, eta: f64, found: &[OfBatch]) -> Result<OneStepChange> {
        let of_step =
            |f: fn(&StepOfBatch) -> f64| mean(found, |b| b.step.as_ref().map_or(f64::NAN, f));
        let half = 0.5 * eta * eta;
        let change = |b: &OfBatch| b.step.as_ref().map_or(f64::NAN, |step| step.change);
        let noise = |b: &OfBatch| half * self.cross_noise(b) - eta * (b.slope - self.squared_norm);
        let second_order = |b: &OfBatch| half * b.curvature - eta * b.slope;
        Ok(OneStepChange {
            learning_rate: eta,
            loss: self.loss,
            measured: mean(found, |b| change(b) - noise(b))?,
            measured_plain: mean(found, change)?,
            predicted: mean(found, |b| second_order(b) - noise(b))?,
            remainder: mean(found, |b| change(b) - second_order(b))?,
            measured_on_batch: of_step(|step| step.change_on_batch)?,
            predicted_on_batch: of_step(|step| step.predicted_on_batch)?,
        })
    }
}

fn mean(found: &[OfBatch], of: impl Fn(&OfBatch) -> f64) -> Result<Estimate> {
    let values: Vec<f64> = found.iter().map(of).collect();
    let none = Error::NonFinite { quantity: "a mean over no batches", value: f64::NAN };
    Estimate::of(&values).ok_or(none)
}
