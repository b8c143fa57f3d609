//! Compiled products: of a Hessian or a Gauss-Newton matrix here, of a Jacobian in [`jacobian`]. Graph
//! work happens once per kind of loss: see [`cache`].

mod cache;
mod jacobian;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{DeviceSettings, Tensor, TensorData};
use burn_dispatch::{Dispatch, DispatchTensor};

use crate::batch::{self, Batch};
use crate::batching::batch_apart;
use crate::capture::{LossGraph, Outputs, Source};
use crate::error::{Error, Result};
use crate::gauss_newton::Metric;
use crate::ir::TensorGraph;
use crate::ir::replay::Value;
use crate::lane_programs::CompiledLanes;
use crate::linearize::LinearizedGraph;
use crate::model_state::ModelState;
use crate::noise::draw;
use crate::params::{ParamVector, read_scalar};
use crate::program::Program;
use crate::simplify::fuse_products;
pub(crate) use cache::{Cache, Compiled, Subject};
pub(crate) use jacobian::PreparedJacobian;

/// How much graph work this thread has done; see [`graph_work`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphWork {
    /// Losses recorded.
    pub captures: usize,
    /// Losses differentiated, pushed forward, linearized and compiled.
    pub compilations: usize,
}

thread_local! {
    static WORK: Cell<GraphWork> = const { Cell::new(GraphWork { captures: 0, compilations: 0 }) };
}

/// The graph work done by this thread so far. In a training loop `compilations` stops growing
/// after the first measurement of each batch shape.
pub fn graph_work() -> GraphWork {
    WORK.get()
}

fn count(change: impl FnOnce(&mut GraphWork)) {
    let mut work = WORK.get();
    change(&mut work);
    WORK.set(work);
}

/// The compiled Hessian-vector product of a kind of loss.
#[derive(Debug)]
pub struct CompiledHessian {
    pub(crate) primal: Program,
    pub(crate) tangent: Program,
    pub(crate) sources: Vec<Source>,
    pub(crate) gradients: Vec<Option<usize>>,
    pub(crate) uses_tangent: Vec<bool>,
    pub(crate) has_product: Vec<bool>,
    tangent_graph: TensorGraph,
    settings: DeviceSettings,
    /// Tangent parts of blocks of vectors, by their number.
    blocks: Mutex<HashMap<usize, Arc<BlockProgram>>>,
}

/// Elements from which on tensors of a block of vectors stay apart: 256 KiB in f32, what a core's
/// cache holds.
const WIDE: usize = 1 << 16;

/// The tangent part of several vectors.
#[derive(Debug)]
pub(crate) struct BlockProgram {
    pub program: Program,
    /// For each tangent in use, and each product: whether it is one tensor per vector, or one with a
    /// leading axis.
    pub tangents_apart: Vec<bool>,
    pub products_apart: Vec<bool>,
}

impl LinearizedGraph {
    /// Compiles both parts; in the tangent part, sums of thin products become one product.
    pub fn compile(&self) -> CompiledHessian {
        CompiledHessian {
            primal: Program::compile(self.primal.clone()),
            tangent: Program::compile(fuse_products(self.tangent.clone())),
            tangent_graph: self.tangent.clone(),
            settings: self.settings,
            blocks: Mutex::default(),
            sources: self.sources.clone(),
            gradients: self.gradients.clone(),
            uses_tangent: self.uses_tangent.clone(),
            has_product: self.has_product.clone(),
        }
    }
}

impl CompiledHessian {
    /// The tangent part of `k` vectors at once, compiled at the first call: residuals are shared.
    pub(crate) fn block(&self, k: usize) -> Arc<BlockProgram> {
        let graph = fuse_products(self.tangent_graph.clone());
        let n_tangents = self.uses_tangent.iter().filter(|used| **used).count();
        let n_residuals = graph.inputs.len() - n_tangents;
        let per_vector: Vec<bool> = (0..graph.inputs.len()).map(|i| i >= n_residuals).collect();
        let compile = || {
            let apart = batch_apart(&graph, &per_vector, k, WIDE, self.settings);
            Arc::new(BlockProgram {
                program: Program::compile(apart.graph),
                tangents_apart: apart.inputs_apart[n_residuals..].to_vec(),
                products_apart: apart.outputs_apart,
            })
        };
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.entry(k).or_insert_with(compile).clone()
    }

    fn run_primal(
        &self,
        state: &ModelState,
        batch: &[DispatchTensor],
        constants: &[TensorData],
    ) -> Result<PrimalPass> {
        let space = state.space();
        let inputs = bind(&self.sources, state, batch, constants)?;
        let mut outputs = self.primal.run(inputs, space.device())?.into_iter();
        let loss = outputs.next().ok_or(Error::LossIndependentOfParameters)?;
        let parts = self.gradients.iter().map(|g| g.and_then(|_| outputs.next()));
        let gradient = space.join_or_zeros(parts);
        let loss = read_scalar(Tensor::from_dispatch(loss))?;
        Ok(PrimalPass { loss, gradient, residuals: outputs.collect() })
    }

    /// Number of operations of the primal and of the tangent part.
    pub fn n_ops(&self) -> (usize, usize) {
        (self.primal.n_ops(), self.tangent.n_ops())
    }
}

/// What the primal part of a compiled product computes.
pub(crate) struct PrimalPass {
    pub loss: f64,
    pub gradient: ParamVector,
    pub residuals: Vec<DispatchTensor>,
}

/// A loss ready to run at any parameters and any batch of one signature.
#[derive(Clone, Debug)]
pub(crate) struct PreparedLoss {
    pub compiled: Arc<CompiledHessian>,
    pub lanes: Arc<CompiledLanes>,
    /// Values of the recorded constants, numbered as in `Source::Constant`.
    pub constants: Vec<TensorData>,
}

impl PreparedLoss {
    /// Records the loss and finds or makes its compiled product.
    pub fn of<M, B, F>(model: &M, state: &ModelState, batch: &B, loss: &F) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1> + ?Sized,
    {
        let loss = &|model: &M, batch: B, _: &mut Outputs| loss(model, batch);
        Self::prepare(&Subject { model, state, batch, loss }, None)
    }

    /// [`of`](Self::of), for Jᵀ M J of the outputs that `loss` keeps.
    pub fn gauss_newton<M, B, F>(subject: &Subject<'_, M, B, F>, metric: Metric) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B, &mut Outputs) -> Tensor<1>,
    {
        Self::prepare(subject, Some(metric))
    }

    fn prepare<M, B, F>(subject: &Subject<'_, M, B, F>, recipe: Option<Metric>) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B, &mut Outputs) -> Tensor<1>,
    {
        let (HessianPrograms { compiled, lanes }, constants) = subject.prepare(recipe)?;
        Ok(Self { compiled, lanes, constants })
    }

    /// Runs the primal part on the tensors of a batch.
    pub fn primal(&self, state: &ModelState, batch: &[DispatchTensor]) -> Result<PrimalPass> {
        self.compiled.run_primal(state, batch, &self.constants)
    }
}

/// The programs of a product, on dense vectors and on vectors in row space.
#[derive(Clone, Debug)]
struct HessianPrograms {
    compiled: Arc<CompiledHessian>,
    lanes: Arc<CompiledLanes>,
}

impl Compiled for HessianPrograms {
    /// `None` is the Hessian.
    type Recipe = Option<Metric>;

    fn compile(forward: &LossGraph, metric: Option<Metric>) -> Result<Self> {
        let pushed = match metric {
            None => forward.differentiate()?.push_forward()?,
            Some(metric) => forward.gauss_newton(metric)?,
        };
        let lanes = CompiledLanes::new(pushed.row_space(false), forward.settings);
        let compiled = Arc::new(pushed.linearize().compile());
        Ok(Self { compiled, lanes: Arc::new(lanes) })
    }

    fn gradient(
        &self,
        state: &ModelState,
        batch: &[DispatchTensor],
        constants: &[TensorData],
    ) -> Result<ParamVector> {
        Ok(self.compiled.run_primal(state, batch, constants)?.gradient)
    }

    fn cache() -> &'static Mutex<Cache<Self>> {
        static CACHE: Mutex<Cache<HessianPrograms>> = Mutex::new(Cache::new());
        &CACHE
    }
}

impl PreparedLoss {
    /// Runs the primal part of `k` lanes: what the stages read, the losses first. `batch` holds the
    /// samples of all lanes, lane by lane; lane 0 has the noise of the state.
    pub fn lanes_primal(
        &self,
        state: &ModelState,
        k: usize,
        batch: &[DispatchTensor],
    ) -> Result<Vec<DispatchTensor>> {
        let programs = self.lanes.programs(k);
        let bind = |source: &Source, lane: usize| {
            let state = state.with_operator(state.operator() + lane);
            bind(std::slice::from_ref(source), &state, batch, &self.constants)
        };
        let mut inputs = Vec::new();
        for (source, like) in self.lanes.graph.sources.iter().zip(programs.primal.inputs()) {
            let draws = if matches!(source, Source::Noise { .. }) { k } else { 1 };
            let values: Result<Vec<_>> = (0..draws).map(|lane| bind(source, lane)).collect();
            let value = Value::cat(values?.concat()).map(|v| v.reshape(like.shape.clone()));
            inputs.extend(value.map(Value::into_tensor));
        }
        programs.primal.run(inputs, state.space().device())
    }
}

/// The value of a loss, by its forward operations alone.
pub(crate) fn loss_value<M, B, F>(model: &M, state: &ModelState, batch: &B, loss: &F) -> Result<f64>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1> + ?Sized,
{
    let forward = LossGraph::capture(model, state, batch, loss)?.expand()?;
    let tensors = batch::tensors(batch.clone());
    let inputs = bind(&forward.sources, state, &tensors, &forward.constants)?;
    let outputs = Program::compile(forward.graph).run(inputs, state.space().device())?;
    let value = outputs.into_iter().next().map(Tensor::from_dispatch);
    value.map_or(Ok(f64::NAN), read_scalar)
}

fn network<M, B, F, const D: usize>(
    model: &M,
    state: &ModelState,
    batch: &B,
    outputs: &F,
) -> Result<LossGraph>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<D>,
{
    let kept = |model: &M, batch: B, kept: &mut Outputs| kept.keep(outputs(model, batch)).sum();
    LossGraph::capture_outputs(model, state, batch, &kept)?.network()
}

/// The shape of the outputs of a network on a batch.
pub(crate) fn output_shape<M, B, F, const D: usize>(
    model: &M,
    state: &ModelState,
    batch: &B,
    outputs: &F,
) -> Result<[usize; D]>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<D>,
{
    let shape = network(model, state, batch, outputs)?.graph.outputs[0].shape.as_slice().to_vec();
    let mismatch = |shape| Error::Capture { message: format!("outputs of shape {shape:?}") };
    shape.try_into().map_err(mismatch)
}

/// The outputs of a network on a batch, by its forward operations alone.
pub(crate) fn output_values<M, B, F, const D: usize>(
    model: &M,
    state: &ModelState,
    batch: &B,
    outputs: &F,
) -> Result<Tensor<D>>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<D>,
{
    let network = network(model, state, batch, outputs)?.expand()?;
    let tensors = batch::tensors(batch.clone());
    let inputs = bind(&network.sources, state, &tensors, &network.constants)?;
    let values = Program::compile(network.graph).run(inputs, state.space().device())?;
    let values = values.into_iter().next().ok_or(Error::LossIndependentOfParameters)?;
    Ok(Tensor::from_dispatch(values))
}

/// One value per input of a program.
pub(crate) fn bind(
    sources: &[Source],
    state: &ModelState,
    batch: &[DispatchTensor],
    constants: &[TensorData],
) -> Result<Vec<DispatchTensor>> {
    let device = state.space().device().as_dispatch();
    let upload = |data: &TensorData| match Value::<Dispatch>::from_data(data.clone(), device) {
        Value::Float(t) | Value::Int(t) | Value::Bool(t) => t,
    };
    let value = |source: &Source| {
        Ok(match source {
            Source::Param(i) => state.params[*i].clone(),
            Source::State(i) => state.state[*i].clone(),
            Source::Batch(i) => batch[*i].clone(),
            Source::Constant(i) => upload(&constants[*i]),
            Source::Fixed(data) => upload(data),
            Source::Cotangent => {
                let message = "the cotangent of outputs is no input of a primal pass".into();
                return Err(Error::Execution { message });
            }
            Source::Noise { index, distribution, shape, dtype } => {
                let seed = state.noise_seed(*index).ok_or(Error::Execution {
                    message: "a loss recorded with noise runs in a mode without".into(),
                })?;
                upload(&draw(shape, *distribution, *dtype, seed)?)
            }
        })
    };
    sources.iter().map(value).collect()
}
