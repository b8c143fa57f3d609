//! The Gauss-Newton matrix of a loss on one batch: G = Jᵀ H_ℓ J.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::{HessianOperator, Lanes, LinearOperator};
use crate::batch::{self, Batch};
use crate::capture::Outputs;
use crate::compiled::{PreparedLoss, Subject};
use crate::error::Result;
use crate::gauss_newton::Metric;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

/// G = Jᵀ H_ℓ J of one loss, one model, one batch (generalized Gauss-Newton matrix; Schraudolph 2002).
///
/// J is the Jacobian of the network's outputs f(θ; batch), all of them, and H_ℓ = ∂²ℓ/∂f² the second
/// derivative of the loss as a function of the outputs, obtained by differentiating the loss closure
/// twice. The Hessian is H = G + Σ_k (∂ℓ/∂f_k) ∇²f_k. G is positive semi-definite if ℓ is convex in f,
/// and equals H for a network that is linear in its parameters.
///
/// Cost of a product: a tangent pass of the network, a product with H_ℓ and a reverse pass, less than one
/// with the Hessian, which has tangents in its reverse pass, too. The primal pass runs once, when the
/// operator is made. Memory as [`HessianOperator`].
#[derive(Debug)]
pub struct GaussNewtonOperator {
    products: HessianOperator,
}

impl GaussNewtonOperator {
    /// Records outputs and loss (or finds them compiled), and runs the primal pass, in
    /// [`Mode::Train`].
    ///
    /// `outputs` is f(θ; batch), of any shape; `loss` is ℓ(f; batch), one number, a function of the
    /// outputs and of the tensors of the batch alone. G scales with the loss, so a mean over samples
    /// gives the matrix of the mean. A term of the loss that reads parameters, such as weight decay,
    /// cannot be given here: add it to the operator (`operator.shifted(c)`).
    ///
    /// # Errors
    /// As [`HessianOperator::new`].
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use burn_sharpness::LinearOperator;
    /// use burn_sharpness::operator::GaussNewtonOperator;
    ///
    /// let device = Device::flex();
    /// let model = LinearConfig::new(2, 1).init(&device);
    /// let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
    /// let y = Tensor::<2>::from_floats([[1.0], [0.0]], &device);
    ///
    /// type Pair = (Tensor<2>, Tensor<2>);
    /// let outputs = |model: &Linear, (x, _): Pair| model.forward(x);
    /// let loss = |f: Tensor<2>, (_, y): Pair| (f - y).powi_scalar(2).mean();
    /// let gauss_newton = GaussNewtonOperator::new(&model, (x, y), outputs, loss)?;
    /// let product = gauss_newton.apply(gauss_newton.gradient())?;
    /// assert_eq!(product.len(), 3); // two weights and a bias
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn new<M, B, O, L, const D: usize>(model: &M, batch: B, outputs: O, loss: L) -> Result<Self>
    where
        M: Module,
        B: Batch,
        O: Fn(&M, B) -> Tensor<D>,
        L: Fn(Tensor<D>, B) -> Tensor<1>,
    {
        Self::in_mode(model, batch, outputs, loss, Mode::Train)
    }

    /// [`new`](Self::new) in another [`Mode`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_mode<M, B, O, L, const D: usize>(
        model: &M,
        batch: B,
        outputs: O,
        loss: L,
        mode: Mode,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        O: Fn(&M, B) -> Tensor<D>,
        L: Fn(Tensor<D>, B) -> Tensor<1>,
    {
        let state = ModelState::in_mode(model, mode)?;
        let products = sandwich(model, &state, batch, (&outputs, &loss), Metric::Hessian)?;
        Ok(Self { products })
    }

    /// ℓ(f(θ; B); B).
    pub fn loss(&self) -> f64 {
        self.products.loss()
    }

    /// The gradient Jᵀ ∂ℓ/∂f of the loss.
    pub fn gradient(&self) -> &ParamVector {
        self.products.gradient()
    }

    /// gᵀGg/‖g‖² with g the gradient of this batch. Cost: one product. A zero gradient gives `None`.
    ///
    /// # Errors
    /// [`Error::NonFinite`](crate::Error::NonFinite) when the product is not a number.
    pub fn directional_sharpness(&self) -> Result<Option<f64>> {
        self.products.directional_sharpness()
    }
}

/// Jᵀ M J for a network and a loss of its outputs.
pub(super) fn sandwich<M, B, O, L, const D: usize>(
    model: &M,
    state: &ModelState,
    batch: B,
    (outputs, loss): (&O, &L),
    metric: Metric,
) -> Result<HessianOperator>
where
    M: Module,
    B: Batch,
    O: Fn(&M, B) -> Tensor<D>,
    L: Fn(Tensor<D>, B) -> Tensor<1>,
{
    batch::signature(&batch, state.space().device())?;
    let whole = |model: &M, batch: B, kept: &mut Outputs| {
        loss(kept.keep(outputs(model, batch.clone())), batch)
    };
    let subject = Subject { model, state, batch: &batch, loss: &whole };
    let prepared = PreparedLoss::gauss_newton(&subject, metric)?;
    HessianOperator::at(state, batch, &prepared)
}

/// The products of an operator are those of its field `products`.
macro_rules! products_of_field {
    ($type:ty) => {
        impl LinearOperator for $type {
            fn space(&self) -> &Arc<ParamSpace> {
                self.products.space()
            }

            fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
                self.products.apply(v)
            }

            fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
                self.products.apply_block(block)
            }

            fn n_applies(&self) -> usize {
                self.products.n_applies()
            }

            fn lanes(&self) -> Result<Option<&dyn Lanes>> {
                self.products.lanes()
            }
        }
    };
}
pub(super) use products_of_field;

products_of_field!(GaussNewtonOperator);
