//! [`Sharpness`]: curvature of one batch, as methods of every burn module.

use burn::module::Module;
use burn::tensor::Tensor;

use super::TopEigenvalue;
use super::lane_solve::top_of_batch;
use crate::batch::Batch;
use crate::error::Result;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{HessianOperator, LinearOperator};
use crate::params::ParamVector;
use crate::solver::LanczosConfig;

/// Curvature of a loss at a model's parameters, on one batch.
///
/// Every burn `Module` has these methods, on plain and on autodiff devices alike; the model is not
/// changed. `loss` is any closure from model and batch to one number.
///
/// ```
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_sharpness::prelude::*;
///
/// let device = Device::flex();
/// let model = LinearConfig::new(2, 3).init(&device);
/// let x = Tensor::<2>::from_floats([[1.0, 2.0], [-1.0, 0.5]], &device);
/// let y = Tensor::<1, Int>::from_ints([0, 2], &device);
/// let loss = |model: &Linear, (x, y): (Tensor<2>, Tensor<1, Int>)| {
///     CrossEntropyLossConfig::new().init(&x.device()).forward(model.forward(x), y)
/// };
///
/// let top = model.sharpness((x, y), loss)?;
/// assert!(top.converged && top.value > 0.0);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub trait Sharpness: Module {
    /// H = ∇²L as an operator, with the loss and the gradient. Cost: about one gradient now, 1.2
    /// per product later.
    ///
    /// # Errors
    /// As [`HessianOperator::new`].
    fn hessian<B, F>(&self, batch: B, loss: F) -> Result<HessianOperator>
    where
        B: Batch,
        F: Fn(&Self, B) -> Tensor<1>,
    {
        HessianOperator::new(self, batch, loss)
    }

    /// [`hessian`](Self::hessian) in another [`Mode`].
    ///
    /// # Errors
    /// As [`HessianOperator::new`].
    fn hessian_in<B, F>(&self, mode: Mode, batch: B, loss: F) -> Result<HessianOperator>
    where
        B: Batch,
        F: Fn(&Self, B) -> Tensor<1>,
    {
        HessianOperator::in_mode(self, batch, loss, mode)
    }

    /// H·v for one vector, in [`Mode::Train`]. For several vectors on one batch make the operator once:
    /// [`hessian`](Self::hessian).
    ///
    /// # Errors
    /// As [`HessianOperator::new`], and a vector of another space.
    fn hvp<B, F>(&self, batch: B, loss: F, v: &ParamVector) -> Result<ParamVector>
    where
        B: Batch,
        F: Fn(&Self, B) -> Tensor<1>,
    {
        self.hessian(batch, loss)?.apply(v)
    }

    /// λ_max(H), the largest algebraic eigenvalue, by Lanczos to a residual of 0.1%, of the network in
    /// training without noise ([`Mode::Train`]).
    ///
    /// # Errors
    /// As [`HessianOperator::new`]. Not converging is a result.
    fn sharpness<B, F>(&self, batch: B, loss: F) -> Result<TopEigenvalue>
    where
        B: Batch,
        F: Fn(&Self, B) -> Tensor<1>,
    {
        self.sharpness_in(Mode::Train, batch, loss)
    }

    /// [`sharpness`](Self::sharpness) in another [`Mode`].
    ///
    /// # Errors
    /// As [`HessianOperator::new`]. Not converging is a result.
    fn sharpness_in<B, F>(&self, mode: Mode, batch: B, loss: F) -> Result<TopEigenvalue>
    where
        B: Batch,
        F: Fn(&Self, B) -> Tensor<1>,
    {
        let state = ModelState::in_mode(self, mode)?;
        top_of_batch(&state, self, batch, &loss, None, &LanczosConfig::new())
    }

    /// gᵀHg/‖g‖², the curvature along the gradient of the batch, in [`Mode::Train`] (in another:
    /// [`hessian_in`](Self::hessian_in) and the operator's method of this name); `None` where the
    /// gradient is zero. Cost: one product.
    ///
    /// # Errors
    /// As [`HessianOperator::new`].
    fn directional_sharpness<B, F>(&self, batch: B, loss: F) -> Result<Option<f64>>
    where
        B: Batch,
        F: Fn(&Self, B) -> Tensor<1>,
    {
        self.hessian(batch, loss)?.directional_sharpness()
    }
}

impl<M: Module> Sharpness for M {}
