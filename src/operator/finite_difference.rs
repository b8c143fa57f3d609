//! The Hessian by differences of burn's gradients, for losses that cannot be recorded.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::LinearOperator;
use crate::batch::{self, Batch};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamSpace, ParamVector};
use crate::verify;

/// H·v ≈ (∇L(θ + hv) − ∇L(θ − hv))/2h with gradients of burn's autodiff: for a loss that burn can
/// differentiate once but [`HessianOperator`](super::HessianOperator) cannot record, because it reads values,
/// branches on data, or has an operation without a rule.
///
/// Cost of a product: two gradients. Its error is about ε^⅔ relative to ‖H‖ at h‖v‖ = ε^⅓(1 + ‖θ‖) for a smooth loss,
/// with ε the [precision](ParamSpace::epsilon): 2·10⁻⁵ in f32 at best, so a residual below 10⁻³ or so is
/// noise; kinks within h (relu) count as curvature. Where the loss can be recorded, `HessianOperator` is exact and
/// cheaper.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_sharpness::operator::FiniteDifferenceHessian;
/// use burn_sharpness::prelude::*;
///
/// # let device = Device::flex();
/// # let model = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
/// // Looks at a value, which a recording does not have.
/// let loss = |model: &Linear, x: Tensor<2>| {
///     let scale = x.clone().max().into_scalar::<f32>();
///     model.forward(x / scale).powi_scalar(2).mean()
/// };
/// let hessian = FiniteDifferenceHessian::new(&model, x, loss, Mode::Train)?;
/// let top = LanczosConfig::new().with_rel_tol(1e-2).init().solve(&hessian, None)?;
/// assert!((top.first().value - 3.737).abs() < 1e-2);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub struct FiniteDifferenceHessian<M, B, F> {
    model: M,
    batch: B,
    loss: F,
    state: ModelState,
    params: ParamVector,
    /// h‖v‖.
    step: f64,
    gradient: ParamVector,
    n_applies: Cell<usize>,
}

impl<M, B, F> fmt::Debug for FiniteDifferenceHessian<M, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiniteDifferenceHessian").field("step", &self.step).finish_non_exhaustive()
    }
}

impl<M, B, F> FiniteDifferenceHessian<M, B, F>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    /// The Hessian at the model's present parameters. The model itself is never moved.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for [`Mode::TrainWithNoise`], whose gradients would draw different noise;
    /// [`Error::NotDifferentiable`] when burn's autodiff fails; as
    /// [`HessianOperator::new`](super::HessianOperator::new) for model and batch.
    pub fn new(model: &M, batch: B, loss: F, mode: Mode) -> Result<Self> {
        if matches!(mode, Mode::TrainWithNoise { .. }) {
            let (setting, value) = ("mode", format!("{mode:?}"));
            let expected = "a mode without noise, `Train` or `Eval`";
            return Err(Error::InvalidSetting { setting, value, expected });
        }
        let state = ModelState::in_mode(model, mode)?;
        batch::signature(&batch, state.space().device())?;
        let params = state.params();
        let step = state.space().epsilon().cbrt() * (1.0 + params.norm()?);
        let gradient = verify::reference(model, &state, &batch, &loss)?;
        let (model, n_applies) = (model.clone(), Cell::new(0));
        Ok(Self { model, batch, loss, state, params, step, gradient, n_applies })
    }

    /// ∇L.
    pub fn gradient(&self) -> &ParamVector {
        &self.gradient
    }

    fn gradient_at(&self, params: &ParamVector) -> Result<ParamVector> {
        let state = self.state.with_params(params);
        verify::reference(&self.model, &state, &self.batch, &self.loss)
    }
}

impl<M, B, F> LinearOperator for FiniteDifferenceHessian<M, B, F>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    fn space(&self) -> &Arc<ParamSpace> {
        self.state.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        let (unit, norm) = v.normalized()?;
        let ahead = self.gradient_at(&self.params.axpy(self.step, &unit)?)?;
        let behind = self.gradient_at(&self.params.axpy(-self.step, &unit)?)?;
        Ok(ahead.axpy(-1.0, &behind)?.scale(norm / (2.0 * self.step)))
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}
