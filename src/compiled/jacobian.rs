//! The Jacobian of a network's outputs: J v and Jᵀu as two programs that share one primal pass.

use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use burn_dispatch::DispatchTensor;

use super::bind;
use super::cache::{Cache, Compiled, Subject};
use crate::batch::Batch;
use crate::capture::{LossGraph, Outputs, Source};
use crate::error::{Error, Result};
use crate::gauss_newton::JacobianGraph;
use crate::ir::TensorGraph;
use crate::linearize::split;
use crate::model_state::ModelState;
use crate::params::ParamVector;
use crate::program::Program;
use crate::simplify::simplify;

/// The compiled products with a Jacobian and its transpose.
#[derive(Debug)]
pub(crate) struct CompiledJacobian {
    /// Outputs: f, residuals.
    primal: Program,
    /// Inputs: residuals, tangents in use. Output: J v.
    forward: Program,
    /// Inputs: residuals, cotangent. Outputs: the parts of Jᵀu that are not zero.
    reverse: Program,
    sources: Vec<Source>,
    uses_tangent: Vec<bool>,
    has_product: Vec<bool>,
}

/// A Jacobian ready to run at any parameters and any batch of one signature.
#[derive(Clone, Debug)]
pub(crate) struct PreparedJacobian {
    compiled: Arc<CompiledJacobian>,
    constants: Vec<TensorData>,
}

impl JacobianGraph {
    fn compile(self) -> CompiledJacobian {
        let graph = simplify(self.graph);
        let n_primal = self.sources.len();
        let (primal, both, n_residuals) = split(&graph, n_primal, 1);
        let part = |outputs: std::ops::Range<usize>, inputs: std::ops::Range<usize>| {
            let residuals = both.inputs[..n_residuals].iter();
            let own = both.inputs[n_residuals..][inputs].iter();
            let inputs = residuals.chain(own).cloned().collect();
            let outputs = both.outputs[outputs].to_vec();
            Program::compile(TensorGraph { inputs, outputs, ops: both.ops.clone() })
        };
        let n_tangents = self.uses_tangent.iter().filter(|used| **used).count();
        CompiledJacobian {
            primal: Program::compile(primal),
            forward: part(0..1, 0..n_tangents),
            reverse: part(1..both.outputs.len(), n_tangents..n_tangents + 1),
            sources: self.sources,
            uses_tangent: self.uses_tangent,
            has_product: self.has_product,
        }
    }
}

impl CompiledJacobian {
    /// The outputs f, and the residuals.
    fn primal(
        &self,
        state: &ModelState,
        batch: &[DispatchTensor],
        constants: &[TensorData],
    ) -> Result<(DispatchTensor, Vec<DispatchTensor>)> {
        let inputs = bind(&self.sources, state, batch, constants)?;
        let mut outputs = self.primal.run(inputs, state.space().device())?.into_iter();
        let f = outputs.next().ok_or(Error::LossIndependentOfParameters)?;
        Ok((f, outputs.collect()))
    }

    fn reverse(
        &self,
        state: &ModelState,
        residuals: &[DispatchTensor],
        u: DispatchTensor,
    ) -> Result<ParamVector> {
        let space = state.space();
        let inputs = residuals.iter().cloned().chain([u]);
        let mut products = self.reverse.run(inputs, space.device())?.into_iter();
        let present = self.has_product.iter();
        Ok(space.join_or_zeros(present.map(|p| if *p { products.next() } else { None })))
    }
}

impl Compiled for Arc<CompiledJacobian> {
    type Recipe = ();

    fn compile(forward: &LossGraph, (): ()) -> Result<Self> {
        Ok(Arc::new(forward.jacobian()?.compile()))
    }

    /// Of ½‖f‖²: Jᵀf.
    fn gradient(
        &self,
        state: &ModelState,
        batch: &[DispatchTensor],
        constants: &[TensorData],
    ) -> Result<ParamVector> {
        let (f, residuals) = self.primal(state, batch, constants)?;
        self.reverse(state, &residuals, f)
    }

    fn cache() -> &'static Mutex<Cache<Self>> {
        static CACHE: Mutex<Cache<Arc<CompiledJacobian>>> = Mutex::new(Cache::new());
        &CACHE
    }
}

impl PreparedJacobian {
    /// Records the outputs and finds or makes their compiled Jacobian.
    pub fn of<M, B, F, const D: usize>(
        model: &M,
        state: &ModelState,
        batch: &B,
        outputs: &F,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<D>,
    {
        // A loss whose gradient Jᵀf the products have, too: it verifies them.
        let loss = &|model: &M, batch: B, kept: &mut Outputs| {
            kept.keep(outputs(model, batch)).powi_scalar(2).sum().mul_scalar(0.5)
        };
        let (compiled, constants) = Subject { model, state, batch, loss }.prepare(())?;
        Ok(Self { compiled, constants })
    }

    /// The outputs f, and the residuals.
    pub fn primal(
        &self,
        state: &ModelState,
        batch: &[DispatchTensor],
    ) -> Result<(DispatchTensor, Vec<DispatchTensor>)> {
        self.compiled.primal(state, batch, &self.constants)
    }

    /// J v, in the shape of f.
    pub fn forward(
        &self,
        state: &ModelState,
        residuals: &[DispatchTensor],
        v: &ParamVector,
    ) -> Result<DispatchTensor> {
        let parts = state.space().split(v).into_iter().zip(&self.compiled.uses_tangent);
        let tangents = parts.filter(|(_, used)| **used).map(|(part, _)| part);
        let inputs = residuals.iter().cloned().chain(tangents);
        let products = self.compiled.forward.run(inputs, state.space().device())?;
        products.into_iter().next().ok_or(Error::LossIndependentOfParameters)
    }

    /// Jᵀu, with u in the shape of f.
    pub fn reverse(
        &self,
        state: &ModelState,
        residuals: &[DispatchTensor],
        u: DispatchTensor,
    ) -> Result<ParamVector> {
        self.compiled.reverse(state, residuals, u)
    }
}
