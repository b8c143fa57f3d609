//! The Hessian of a loss on one batch: H = ∇²L(θ; B).

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use burn_backend::ops::FloatTensorOps;
use burn_backend::{Slice, TensorMetadata};
use burn_dispatch::{Dispatch, DispatchTensor};

use super::{HessianLanes, Lanes, LinearOperator};
use crate::batch::{self, Batch};
use crate::compiled::{PreparedLoss, PrimalPass};
use crate::error::Result;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamBlock, ParamEntry, ParamSpace, ParamVector, finite};

/// H = ∇²L(θ; B) of one loss, one model, one batch.
///
/// The primal pass runs once, when the operator is made: it computes the loss, the gradient and
/// the residuals that every product shares. Each product then runs the tangent part only, at about
/// 1.2 gradients. Memory: the residuals (about the activations of a training step) until the operator
/// is dropped. A solver that works in row space ([`lanes`](LinearOperator::lanes)) runs a primal pass of
/// its own at first, whose residuals are kept too.
#[derive(Debug)]
pub struct HessianOperator {
    state: ModelState,
    prepared: PreparedLoss,
    batch: Vec<DispatchTensor>,
    lanes: OnceCell<HessianLanes>,
    residuals: Vec<DispatchTensor>,
    loss: f64,
    gradient: ParamVector,
    n_applies: Cell<usize>,
}

impl HessianOperator {
    /// Records the loss (or finds it compiled), and runs the primal pass, in [`Mode::Train`].
    ///
    /// `loss` computes the scalar loss of a model on a batch with burn's tensor operations; H
    /// scales with it, so a mean over samples gives the Hessian of the mean.
    ///
    /// # Errors
    /// Everything that can be wrong with a model, a batch or a loss: see [`Error`](crate::Error). A
    /// loss that is NaN or infinite is [`Error::NonFinite`](crate::Error::NonFinite).
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use burn_sharpness::{HessianOperator, LinearOperator};
    ///
    /// let device = Device::flex();
    /// let model = LinearConfig::new(2, 1).init(&device);
    /// let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
    /// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
    ///
    /// let hessian = HessianOperator::new(&model, x, loss)?;
    /// let v = hessian.gradient().clone();
    /// let hv = hessian.apply(&v)?;
    /// assert_eq!(hv.len(), 3); // two weights and a bias
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn new<M, B, F>(model: &M, batch: B, loss: F) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        Self::in_mode(model, batch, loss, Mode::Train)
    }

    /// [`new`](Self::new) in another [`Mode`], for example `Mode::Eval` for the network with its
    /// running statistics.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_mode<M, B, F>(model: &M, batch: B, loss: F, mode: Mode) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        Self::of(&ModelState::in_mode(model, mode)?, model, batch, &loss)
    }

    /// `in_mode` for tensors that have been read.
    pub(crate) fn of<M, B, F>(state: &ModelState, model: &M, batch: B, loss: &F) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        batch::signature(&batch, state.space().device())?;
        let prepared = PreparedLoss::of(model, state, &batch, loss)?;
        Self::at(state, batch, &prepared)
    }

    /// The operator at a prepared loss: runs the primal pass.
    pub(crate) fn at<B: Batch>(
        state: &ModelState,
        batch: B,
        prepared: &PreparedLoss,
    ) -> Result<Self> {
        let (state, prepared, batch) = (state.clone(), prepared.clone(), batch::tensors(batch));
        let PrimalPass { loss, gradient, residuals } = prepared.primal(&state, &batch)?;
        let loss = finite("the loss", loss)?;
        let (lanes, n_applies) = (OnceCell::new(), Cell::new(0));
        Ok(Self { state, prepared, batch, lanes, residuals, loss, gradient, n_applies })
    }

    /// L(θ; B).
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// ∇L(θ; B).
    pub fn gradient(&self) -> &ParamVector {
        &self.gradient
    }

    /// gᵀHg/‖g‖² with g = ∇L(θ; B): the curvature along the gradient of this batch, whose mean over
    /// batches is batch sharpness. Cost: one product. A zero gradient gives `None`.
    ///
    /// # Errors
    /// [`Error::NonFinite`](crate::Error::NonFinite) when the product is not a number.
    pub fn directional_sharpness(&self) -> Result<Option<f64>> {
        let (unit, norm) = self.gradient.normalized()?;
        if norm == 0.0 {
            return Ok(None);
        }
        let hv = self.apply(&unit)?;
        finite("gᵀHg/‖g‖²", unit.dot(&hv)?).map(Some)
    }
}

/// `[..shape]` of each vector as `[k, ..shape]`.
fn stack(copies: Vec<DispatchTensor>) -> DispatchTensor {
    let row = |copy: DispatchTensor| {
        let shape: Vec<usize> = std::iter::once(1).chain(copy.shape().iter().copied()).collect();
        Dispatch::float_reshape(copy, shape.into())
    };
    Dispatch::float_cat(copies.into_iter().map(row).collect(), 0)
}

/// The parts of k vectors of `stacked` `[k, ..shape]`.
fn unstack(stacked: DispatchTensor, k: usize, entry: &ParamEntry) -> Vec<Option<DispatchTensor>> {
    let flat = Dispatch::float_reshape(stacked, [k, entry.len()].into());
    let row = |i: usize| {
        let row = Dispatch::float_slice(flat.clone(), &[Slice::from(i..i + 1)]);
        Some(Dispatch::float_reshape(row, entry.shape.clone().into()))
    };
    (0..k).map(row).collect()
}

impl LinearOperator for HessianOperator {
    fn space(&self) -> &Arc<ParamSpace> {
        self.state.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        let (space, compiled) = (self.space(), &self.prepared.compiled);
        let parts = space.split(v).into_iter().zip(&compiled.uses_tangent);
        let tangents = parts.filter(|(_, used)| **used).map(|(part, _)| part);
        let inputs = self.residuals.iter().cloned().chain(tangents);
        let mut products = compiled.tangent.run(inputs, space.device())?.into_iter();
        let present = compiled.has_product.iter();
        Ok(space.join_or_zeros(present.map(|p| if *p { products.next() } else { None })))
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.space().check(block.space())?;
        let k = block.len();
        if k == 1 {
            return ParamBlock::from_vectors(&[self.apply(&block.vector(0))?]);
        }
        self.n_applies.set(self.n_applies.get() + k);
        let (space, compiled) = (self.space(), &self.prepared.compiled);
        let program = compiled.block(k);
        let split: Vec<_> = block.vectors().iter().map(|v| space.split(v)).collect();
        let used = (0..compiled.uses_tangent.len()).filter(|&i| compiled.uses_tangent[i]);
        let tangents = used.zip(&program.tangents_apart).flat_map(|(param, apart)| {
            let copies: Vec<_> = split.iter().map(|parts| parts[param].clone()).collect();
            if *apart { copies } else { vec![stack(copies)] }
        });
        let inputs = self.residuals.iter().cloned().chain(tangents);
        let mut products = program.program.run(inputs, space.device())?.into_iter();
        // For each parameter, its part of each product.
        let mut apart = program.products_apart.iter();
        let mut parts: Vec<Vec<Option<DispatchTensor>>> = Vec::new();
        for (entry, present) in space.entries().iter().zip(&compiled.has_product) {
            parts.push(match present.then(|| apart.next()).flatten() {
                None => vec![None; k],
                Some(true) => products.by_ref().take(k).map(Some).collect(),
                Some(false) => {
                    let stacked = products.next();
                    stacked.map_or(vec![None; k], |stacked| unstack(stacked, k, entry))
                }
            });
        }
        let vector = |i: usize| space.join_or_zeros(parts.iter().map(|p| p[i].clone()));
        ParamBlock::from_vectors(&(0..k).map(vector).collect::<Vec<_>>())
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get() + self.lanes.get().map_or(0, HessianLanes::n_applies)
    }

    fn lanes(&self) -> Result<Option<&dyn Lanes>> {
        if self.prepared.lanes.is_dense() {
            return Ok(None);
        }
        if let Some(lanes) = self.lanes.get() {
            return Ok(Some(lanes));
        }
        let lanes = HessianLanes::at(&self.state, 1, &self.batch, &self.prepared)?;
        Ok(Some(self.lanes.get_or_init(|| lanes)))
    }
}
