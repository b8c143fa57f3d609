//! Forward mode by itself: the directional derivative of a loss, and the Hessian-vector product
//! as one program, before it is linearized.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use burn_dispatch::DispatchTensor;

use crate::batch::{self, Batch};
use crate::capture::{LossGraph, Outputs, Source};
use crate::compiled::{Cache, Compiled, Subject, bind};
use crate::error::{Error, Result};
use crate::gradient::GradientGraph;
use crate::ir::TensorGraph;
use crate::model_state::ModelState;
use crate::params::{ParamVector, read_scalar};
use crate::program::Program;
use crate::tangent::push_forward;

/// (L, dL·v): the loss and its directional derivative, without a reverse pass.
///
/// Cost: about two forward passes. The same rules as those of Hessian-vector products, applied to
/// the loss itself (Baydin et al. 2018, section 3.1). As for the operators, the recorded loss is
/// checked against burn's gradient at the first use of each closure and batch shape, which costs about
/// two gradients.
///
/// # Errors
/// As [`HessianOperator::new`](crate::HessianOperator::new), and a vector of another space.
pub fn jvp<M, B, F>(model: &M, batch: B, loss: F, v: &ParamVector) -> Result<(f64, f64)>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    let state = ModelState::of(model)?;
    batch::signature(&batch, state.space().device())?;
    state.space().check(v.space())?;
    let loss = &|model: &M, batch: B, _: &mut Outputs| loss(model, batch);
    let subject = Subject { model, state: &state, batch: &batch, loss };
    let (compiled, constants) = subject.prepare::<Arc<CompiledSlope>>(())?;
    let CompiledSlope { program, sources, uses_tangent, .. } = &*compiled;
    let values = bind(sources, &state, &batch::tensors(batch), &constants)?;
    let outputs = run(program, values, &state, v, uses_tangent)?;
    let mut scalars = outputs.into_iter().map(|t| read_scalar(Tensor::from_dispatch(t)));
    let mut next = || scalars.next().unwrap_or(Ok(f64::NAN));
    Ok((next()?, next()?))
}

/// The compiled loss and its directional derivative.
#[derive(Debug)]
struct CompiledSlope {
    /// Inputs: those of `sources`, then the tangents in use. Outputs: L, dL·v.
    program: Program,
    sources: Vec<Source>,
    uses_tangent: Vec<bool>,
    /// ∇L of the same recording: run once, for the comparison with burn's.
    gradient: GradientGraph,
}

impl Compiled for Arc<CompiledSlope> {
    type Recipe = ();

    fn compile(forward: &LossGraph, (): ()) -> Result<Self> {
        let gradient = forward.differentiate()?;
        let forward = forward.expand()?;
        let inputs = forward.param_inputs();
        let wrt: Vec<usize> = inputs.iter().flatten().copied().collect();
        let pushed = push_forward(&forward.graph, &wrt, forward.settings)?;
        let mut graph = TensorGraph { ops: pushed.ops, ..forward.graph };
        let mut sources = forward.sources;
        for (tensor, data) in pushed.constants {
            graph.inputs.push(tensor);
            sources.push(Source::Fixed(data));
        }
        graph.inputs.extend(pushed.tangent_inputs);
        let Some(Some(tangent)) = pushed.tangent_outputs.first().cloned() else {
            return Err(Error::LossIndependentOfParameters);
        };
        graph.outputs.truncate(1);
        graph.outputs.push(tangent);
        let uses_tangent = inputs.iter().map(Option::is_some).collect();
        let program = Program::compile(graph);
        Ok(Arc::new(CompiledSlope { program, sources, uses_tangent, gradient }))
    }

    fn gradient(
        &self,
        state: &ModelState,
        batch: &[DispatchTensor],
        constants: &[TensorData],
    ) -> Result<ParamVector> {
        let GradientGraph { graph, sources, gradients, .. } = &self.gradient;
        let inputs = bind(sources, state, batch, constants)?;
        let outputs = Program::compile(graph.clone()).run(inputs, state.space().device())?;
        let parts = gradients.iter().map(|g| g.map(|g| outputs[g].clone()));
        Ok(state.space().join_or_zeros(parts))
    }

    fn cache() -> &'static Mutex<Cache<Self>> {
        static CACHE: Mutex<Cache<Arc<CompiledSlope>>> = Mutex::new(Cache::new());
        &CACHE
    }
}

impl LossGraph {
    /// Names of the operations through which tangents of the parameters go, for example
    /// `float.Matmul`.
    ///
    /// # Errors
    /// [`Error::UnsupportedOps`].
    pub fn differentiated_ops(&self) -> Result<BTreeSet<String>> {
        let expanded = self.expand()?;
        let wrt: Vec<usize> = expanded.param_inputs().into_iter().flatten().collect();
        Ok(push_forward(&expanded.graph, &wrt, self.settings)?.differentiated)
    }
}

/// H·v by the unsplit program: everything is computed anew. For tests and benchmarks, which
/// compare it with the linearized product.
#[doc(hidden)]
pub fn hvp_not_linearized<M, B, F>(
    model: &M,
    batch: B,
    loss: F,
    v: &ParamVector,
) -> Result<ParamVector>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    let state = ModelState::of(model)?;
    state.space().check(v.space())?;
    let forward = LossGraph::capture(model, &state, &batch, &loss)?;
    let pushed = forward.differentiate()?.push_forward()?;
    let values = bind(pushed.sources(), &state, &batch::tensors(batch), &forward.constants)?;
    let mut graph = pushed.graph().clone();
    let n_products = pushed.has_product().iter().filter(|p| **p).count();
    graph.outputs = graph.outputs.split_off(graph.outputs.len() - n_products);
    let program = Program::compile(graph);
    let mut outputs = run(&program, values, &state, v, &pushed.uses_tangent())?.into_iter();
    let parts = pushed.has_product().into_iter().map(|p| if p { outputs.next() } else { None });
    Ok(state.space().join_or_zeros(parts))
}

fn run(
    program: &Program,
    values: Vec<DispatchTensor>,
    state: &ModelState,
    v: &ParamVector,
    used: &[bool],
) -> Result<Vec<DispatchTensor>> {
    let parts = state.space().split(v).into_iter().zip(used);
    let tangents = parts.filter(|(_, used)| **used).map(|(part, _)| part);
    program.run(values.into_iter().chain(tangents), state.space().device())
}
