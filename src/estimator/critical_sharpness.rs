//! Critical sharpness λ_c = 2/η_c from forward passes alone (arXiv 2601.16979): η_c is the smallest learning
//! rate at which a step along the update d raises the loss, L(θ − η_c·d) > L(θ).
//!
//! On a quadratic, L(θ − ηd) − L(θ) = −η·gᵀd + η²/2·dᵀHd, so that λ_c = dᵀHd/(gᵀd): for d = g the curvature along
//! the gradient. Elsewhere it also sees the higher orders, up to the edge itself.

use std::time::{Duration, Instant};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::whole::LossAlong;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian};
use crate::params::{ParamVector, finite};
use crate::samples::{Borrowed, Samples};

/// Settings of [`CriticalSharpness`].
#[derive(Config, Debug)]
pub struct CriticalSharpnessConfig {
    /// The first learning rate that is tried, for example the one in use; it is doubled or halved until the
    /// sign of the change of the loss turns.
    #[config(default = 0.01)]
    pub learning_rate: f64,
    /// Bisection ends when 1 − low/high is at most this.
    #[config(default = 0.0625)]
    pub tolerance: f64,
    /// The most forward passes along the direction.
    #[config(default = 64)]
    pub max_forwards: usize,
    /// Samples per chunk: bounds memory.
    #[config(default = 1024)]
    pub chunk_size: usize,
    /// Which network is measured.
    #[config(default = "Mode::Train")]
    pub mode: Mode,
}

impl CriticalSharpnessConfig {
    /// The estimator for `loss`, which must be a mean over samples where there is more than one chunk.
    pub fn init<F>(&self, loss: F) -> CriticalSharpness<F> {
        CriticalSharpness { config: self.clone(), loss, n_measured: 0 }
    }

    fn check(&self) -> Result<()> {
        let fail = |setting, value: String, expected| {
            Err(Error::InvalidSetting { setting, value, expected })
        };
        let Self { learning_rate, tolerance, max_forwards, .. } = *self;
        if !(learning_rate > 0.0 && learning_rate.is_finite()) {
            return fail("learning_rate", learning_rate.to_string(), "above 0");
        }
        if !(tolerance > 0.0 && tolerance < 1.0) {
            return fail("tolerance", tolerance.to_string(), "between 0 and 1");
        }
        if max_forwards == 0 {
            return fail("max_forwards", "0".into(), "at least 1");
        }
        Ok(())
    }
}

/// λ_c = 2/η_c along an update, by doubling and bisection.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_sharpness::estimator::CriticalSharpnessConfig;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(4, 2).init(&device);
/// # let x = Tensor::<2>::random([64, 4], Distribution::Default, &device);
/// let loss = |model: &Linear, x: Tensor<2>| model.forward(x).powi_scalar(2).mean();
/// let critical = CriticalSharpnessConfig::new().init(loss).measure(&model, &x)?;
/// println!("λ_c = {:?} in {} forward passes", critical.value, critical.n_forwards);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CriticalSharpness<F> {
    config: CriticalSharpnessConfig,
    loss: F,
    /// Measurements so far: each has noise of its own, in the mode that has noise.
    n_measured: u64,
}

/// The change of the loss by a step; flat within its rounding, 32ε|L|.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Falls,
    Flat,
    Rises,
}

/// How a search for η_c ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CriticalOutcome {
    /// The bracket is as narrow as the tolerance asks.
    Found,
    /// The loss rose at no learning rate that was tried: only the lower end of the bracket is known.
    NeverRises,
    /// It rose at every one: d is no descent direction as far as forward passes can tell. Only the upper end
    /// of the bracket is known.
    NeverFalls,
    /// The passes were spent while the bracket was still wide.
    MaxForwards,
}

/// One measurement of critical sharpness.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CriticalSharpnessMeasurement {
    /// 2/√(low·high) of the bracket: off by less than a factor (1 − tolerance)^(−½), 3.3% by default, where the
    /// outcome is [`Found`](CriticalOutcome::Found). `None` without a bracket.
    pub value: Option<f64>,
    /// The learning rates between which the change of the loss turns from below zero to above, or to zero but
    /// for rounding: (0, high) or (low, ∞) where one end was not found. Between doublings a first crossing may be missed if the loss falls again.
    pub bracket: (f64, f64),
    /// How the search ended.
    pub outcome: CriticalOutcome,
    /// L(θ).
    pub loss: f64,
    /// gᵀd: not above zero for an update that does not descend.
    pub slope: f64,
    /// Forward passes over the data, that at θ included.
    pub n_forwards: usize,
    /// Wall time.
    pub elapsed: Duration,
}

impl<F> CriticalSharpness<F> {
    /// Along the gradient of `data`, a batch or a whole data set: d = ∇L.
    ///
    /// Cost: one gradient, which also checks the recorded loss, and about ten forward passes; no
    /// Hessian-vector product. The model is not written to: shifted parameters are bound to the recorded loss.
    ///
    /// # Errors
    /// As [`FullBatchHessian::new`]; [`Error::InvalidSetting`].
    pub fn measure<M, S>(&mut self, model: &M, data: &S) -> Result<CriticalSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.search(model, data, None)
    }

    /// Along the update d = `direction` of any optimizer, θ ← θ − ηd.
    ///
    /// # Errors
    /// As [`measure`](Self::measure), and a direction of another space.
    pub fn measure_along<M, S>(
        &mut self,
        model: &M,
        data: &S,
        direction: &ParamVector,
    ) -> Result<CriticalSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        self.search(model, data, Some(direction))
    }

    fn search<M, S>(
        &mut self,
        model: &M,
        data: &S,
        direction: Option<&ParamVector>,
    ) -> Result<CriticalSharpnessMeasurement>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        self.config.check()?;
        let CriticalSharpnessConfig { chunk_size, mode, .. } = self.config;
        let state = ModelState::in_mode(model, mode)?.with_measurement(self.n_measured);
        self.n_measured += 1;
        let memory = ChunkMemory::Recompute;
        let (loss, of) = (&self.loss, Borrowed(data));
        let whole = FullBatchHessian::at(state.clone(), model, of, loss, chunk_size, memory)?;
        let direction = direction.unwrap_or_else(|| whole.gradient());
        let slope = finite("gᵀd", whole.gradient().dot(direction)?)?;
        let along = LossAlong::of(&state, model, data, loss, (chunk_size, memory))?;
        let params = state.params();
        let loss = finite("the loss", along.here(whole.loss())?)?;
        let rounding = 32.0 * state.space().epsilon() * loss.abs();
        let change = |eta: f64| {
            let shifted = along.at(&params.axpy(-eta, direction)?)?;
            Ok(match shifted - loss {
                change if change.abs() <= rounding => Change::Flat,
                change if change < 0.0 => Change::Falls,
                _ => Change::Rises, // NaN is no loss that has not risen
            })
        };
        let (bracket, outcome, n_forwards) = self.config.bracket(change)?;
        let both = bracket.0 > 0.0 && bracket.1.is_finite();
        let value = both.then(|| 2.0 / (bracket.0 * bracket.1).sqrt());
        let elapsed = began.elapsed();
        let n_forwards = n_forwards + 1;
        Ok(CriticalSharpnessMeasurement {
            value,
            bracket,
            outcome,
            loss,
            slope,
            n_forwards,
            elapsed,
        })
    }
}

impl CriticalSharpnessConfig {
    /// Doubling or halving until the sign turns, then bisection. A flat loss is no fall: three of them in a
    /// row below a rise say that nothing falls down there, while a crossing is flat over less than a factor of
    /// two.
    fn bracket(
        &self,
        change: impl Fn(f64) -> Result<Change>,
    ) -> Result<((f64, f64), CriticalOutcome, usize)> {
        let Self { learning_rate, tolerance, max_forwards, .. } = *self;
        let (mut low, mut high, mut eta, mut n_flat) = (0.0, f64::INFINITY, learning_rate, 0);
        for n_forwards in 1..=max_forwards {
            let found = change(eta)?;
            n_flat = if found == Change::Flat { n_flat + 1 } else { 0 };
            let has_ends = (low > 0.0, high.is_finite());
            match (found, has_ends) {
                (Change::Falls, _) => low = eta,
                (Change::Rises, _) | (Change::Flat, (true, _)) => high = eta,
                (Change::Flat, (false, true)) if n_flat == 3 => {
                    return Ok(((0.0, high), CriticalOutcome::NeverFalls, n_forwards));
                }
                (Change::Flat, _) => {}
            }
            eta = match (low > 0.0, high.is_finite()) {
                (true, true) if 1.0 - low / high <= tolerance => {
                    return Ok(((low, high), CriticalOutcome::Found, n_forwards));
                }
                (true, true) => 0.5 * (low + high),
                (_, false) => 2.0 * eta,
                (false, true) => 0.5 * eta,
            };
        }
        let outcome = match (low > 0.0, high.is_finite()) {
            (true, true) => CriticalOutcome::MaxForwards,
            (_, false) => CriticalOutcome::NeverRises,
            (false, true) => CriticalOutcome::NeverFalls,
        };
        Ok(((low, high), outcome, max_forwards))
    }
}
