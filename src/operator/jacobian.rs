//! The Jacobian of a network's outputs, and the neural tangent kernel.

use std::cell::Cell;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Shape, Tensor};
use burn_backend::TensorMetadata;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::{Dispatch, DispatchTensor};

use super::LinearOperator;
use crate::batch::{self, Batch};
use crate::compiled::PreparedJacobian;
use crate::error::Result;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamSpace, ParamVector};

/// J = ∂f/∂θ of a network's outputs f(θ; batch), all of them: a rectangular matrix, known by its
/// products Jv and Jᵀu.
///
/// Rows are the elements of the outputs in row-major order, vectors of the flat space
/// [`output_space`](Self::output_space); columns are the parameters. The primal pass runs once, when
/// the operator is made; Jv then costs a tangent pass of the network, Jᵀu a reverse pass.
#[derive(Debug)]
pub struct JacobianOperator {
    state: ModelState,
    prepared: PreparedJacobian,
    residuals: Vec<DispatchTensor>,
    outputs: ParamVector,
    shape: Vec<usize>,
}

impl JacobianOperator {
    /// Records the outputs (or finds them compiled), and runs the primal pass.
    ///
    /// # Errors
    /// As [`HessianOperator::new`](super::HessianOperator::new).
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use burn_sharpness::Mode;
    /// use burn_sharpness::operator::JacobianOperator;
    ///
    /// let device = Device::flex();
    /// let model = LinearConfig::new(2, 1).init(&device);
    /// let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
    /// let forward = |model: &Linear, x: Tensor<2>| model.forward(x);
    ///
    /// let jacobian = JacobianOperator::new(&model, x, forward, Mode::Train)?;
    /// let u = jacobian.output_space().from_values(&[1.0, 1.0])?;
    /// let gradient = jacobian.apply_transposed(&u)?; // of the sum of both outputs
    /// assert_eq!(gradient.to_values()?, [4.0, 6.0, 2.0]);
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn new<M, B, O, const D: usize>(model: &M, batch: B, outputs: O, mode: Mode) -> Result<Self>
    where
        M: Module,
        B: Batch,
        O: Fn(&M, B) -> Tensor<D>,
    {
        let state = ModelState::in_mode(model, mode)?;
        batch::signature(&batch, state.space().device())?;
        let prepared = PreparedJacobian::of(model, &state, &batch, &outputs)?;
        let (f, residuals) = prepared.primal(&state, &batch::tensors(batch))?;
        let shape = f.shape().as_slice().to_vec();
        let space = ParamSpace::flat(f.shape().num_elements(), f.dtype(), state.space().device());
        let outputs = space.join(vec![f]);
        Ok(Self { state, prepared, residuals, outputs, shape })
    }

    /// The outputs f.
    pub fn outputs(&self) -> &ParamVector {
        &self.outputs
    }

    /// Their shape.
    pub fn output_shape(&self) -> &[usize] {
        &self.shape
    }

    /// The space of u and Jv.
    pub fn output_space(&self) -> &Arc<ParamSpace> {
        self.outputs.space()
    }

    /// The space of v and Jᵀu: the parameters.
    pub fn space(&self) -> &Arc<ParamSpace> {
        self.state.space()
    }

    /// J v: the derivative of the outputs along v.
    ///
    /// # Errors
    /// A vector of another space, and what the computation can raise.
    pub fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        let product = self.prepared.forward(&self.state, &self.residuals, v)?;
        Ok(self.output_space().join(vec![product]))
    }

    /// Jᵀu: the gradient of ⟨f, u⟩.
    ///
    /// # Errors
    /// A vector of another space, and what the computation can raise.
    pub fn apply_transposed(&self, u: &ParamVector) -> Result<ParamVector> {
        self.output_space().check(u.space())?;
        let shape = Shape::from(self.shape.clone());
        let u = Dispatch::float_reshape(u.tensor().into_dispatch(), shape);
        self.prepared.reverse(&self.state, &self.residuals, u)
    }

    /// The Gram matrix J Jᵀ/b.
    pub fn ntk(self) -> NtkOperator {
        NtkOperator { jacobian: self, n_applies: Cell::new(0) }
    }
}

/// K = J Jᵀ/b on output space, b the first dimension of the outputs: the empirical neural tangent
/// kernel of the batch (Jacot, Gabriel, Hongler 2018), with the eigenvalues of JᵀJ/b that are not zero.
///
/// Cost of a product: a reverse and a tangent pass.
#[derive(Debug)]
pub struct NtkOperator {
    jacobian: JacobianOperator,
    n_applies: Cell<usize>,
}

impl NtkOperator {
    /// J.
    pub fn jacobian(&self) -> &JacobianOperator {
        &self.jacobian
    }
}

impl LinearOperator for NtkOperator {
    fn space(&self) -> &Arc<ParamSpace> {
        self.jacobian.output_space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        let pulled = self.jacobian.apply_transposed(v)?;
        self.n_applies.set(self.n_applies.get() + 1);
        let n_samples = self.jacobian.shape.first().copied().unwrap_or(1);
        Ok(self.jacobian.apply(&pulled)?.scale(1.0 / n_samples as f64))
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}
