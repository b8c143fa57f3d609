//! The cache of compiled products: graph work happens once per kind of loss.
//!
//! A loss is recorded at every measurement (that costs no arithmetic), which guards against a
//! closure or model whose settings changed; everything after that, differentiation, tangents,
//! linearization and compilation, is looked up by the recorded graph itself: operations, scalars,
//! shapes, dtypes and kinds of inputs. Constants' values are not part of the key: they are bound
//! at run time like parameters.

use std::any::TypeId;
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::Discriminant;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{DeviceSettings, Tensor, TensorData};
use burn_dispatch::{Dispatch, DispatchTensor};

use crate::batch::{self, Batch};
use crate::batching::batch_apart;
use crate::capture::{LossGraph, Source};
use crate::error::{Error, Result};
use crate::ir::TensorGraph;
use crate::ir::replay::Value;
use crate::lane_programs::CompiledLanes;
use crate::linearize::LinearizedGraph;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::noise::draw;
use crate::params::{ParamVector, read_scalar};
use crate::program::Program;
use crate::simplify::fuse_products;
use crate::verify::{reference, verify};

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
        let forward = LossGraph::capture(model, state, batch, loss)?;
        count(|work| work.captures += 1);
        let constants = forward.constants.clone();
        let key = Key::of(&forward);
        let closure = (typeid::of::<F>(), std::mem::discriminant(&state.mode()));
        let found = CACHE.lock().unwrap_or_else(PoisonError::into_inner).get(&key, closure);
        let (compiled, lanes) = match found {
            Some((compiled, lanes, true)) => return Ok(Self { compiled, lanes, constants }),
            Some((compiled, lanes, false)) => (compiled, lanes),
            None => {
                let pushed = forward.differentiate()?.push_forward()?;
                let lanes = CompiledLanes::new(pushed.row_space(false), forward.settings);
                count(|work| work.compilations += 1);
                (Arc::new(pushed.linearize().compile()), Arc::new(lanes))
            }
        };
        let prepared = Self { compiled, lanes, constants };
        let verified = prepared.verify(&forward, model, state, batch, loss)?;
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(key, &prepared, verified.then_some(closure));
        Ok(prepared)
    }

    /// Compares the gradient with the one that burn computes; false when there was nothing to
    /// compare.
    fn verify<M, B, F>(
        &self,
        forward: &LossGraph,
        model: &M,
        state: &ModelState,
        batch: &B,
        loss: &F,
    ) -> Result<bool>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1> + ?Sized,
    {
        let tensors = batch::tensors(batch.clone());
        let ours = |state: &ModelState| Ok(self.primal(state, &tensors)?.gradient);
        let verified = match &forward.reference {
            None => verify(state, ours, |state| reference(model, state, batch, loss)),
            Some(recorded) => {
                let program = Program::compile(recorded.graph.clone());
                verify(state, ours, |state| {
                    let inputs = bind(&recorded.sources, state, &tensors, &self.constants)?;
                    let outputs = program.run(inputs, state.space().device())?;
                    let parts = recorded.gradients.iter().map(|g| g.map(|g| outputs[g].clone()));
                    Ok(state.space().join_or_zeros(parts))
                })
            }
        };
        match verified {
            Err(Error::GradientMismatch { .. } | Error::NotDifferentiable { .. })
                if !forward.wrong_in_burn().is_empty() =>
            {
                Err(Error::UnsupportedOps(forward.wrong_in_burn()))
            }
            verified => verified,
        }
    }

    /// Runs the primal part on the tensors of a batch.
    pub fn primal(&self, state: &ModelState, batch: &[DispatchTensor]) -> Result<PrimalPass> {
        let (space, compiled) = (state.space(), &self.compiled);
        let inputs = bind(&compiled.sources, state, batch, &self.constants)?;
        let mut outputs = compiled.primal.run(inputs, space.device())?.into_iter();
        let loss = outputs.next().ok_or(Error::LossIndependentOfParameters)?;
        let parts = compiled.gradients.iter().map(|g| g.and_then(|_| outputs.next()));
        let gradient = space.join_or_zeros(parts);
        let loss = read_scalar(Tensor::from_dispatch(loss))?;
        Ok(PrimalPass { loss, gradient, residuals: outputs.collect() })
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

/// What a compiled product depends on.
#[derive(Clone, Debug)]
struct Key {
    hash: u64,
    graph: TensorGraph,
    sources: Vec<Source>,
    training_means: Vec<usize>,
    n_params: usize,
    settings: DeviceSettings,
}

impl Key {
    fn of(forward: &LossGraph) -> Self {
        let mut hasher = DefaultHasher::new();
        forward.graph.inputs.hash(&mut hasher);
        forward.graph.ops.hash(&mut hasher);
        Self {
            hash: hasher.finish(),
            graph: forward.graph.clone(),
            sources: forward.sources.clone(),
            training_means: forward.training_means.clone(),
            n_params: forward.n_params,
            settings: forward.settings,
        }
    }

    fn matches(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.n_params == other.n_params
            && self.settings == other.settings
            && self.graph == other.graph
            && self.sources == other.sources
            && self.training_means == other.training_means
    }
}

/// A closure by its type, in a mode: what acts differently under autodiff differs from mode to mode.
type Closure = (TypeId, Discriminant<Mode>);

/// A compiled product, and the closures whose gradient it was verified to have: losses that differ
/// by what a recording cannot see are recorded alike.
struct Entry {
    key: Key,
    compiled: Arc<CompiledHessian>,
    lanes: Arc<CompiledLanes>,
    verified_for: Vec<Closure>,
}

/// Compiled products, most recently used last.
struct Cache(Vec<Entry>);

/// Enough for a few models with a few batch shapes each; an entry is some ten kilobytes.
const CAPACITY: usize = 64;

static CACHE: Mutex<Cache> = Mutex::new(Cache(Vec::new()));

impl Cache {
    fn take(&mut self, key: &Key) -> Option<Entry> {
        let found = self.0.iter().position(|entry| entry.key.matches(key))?;
        Some(self.0.remove(found))
    }

    /// The product, and whether it was verified for `closure`.
    fn get(
        &mut self,
        key: &Key,
        closure: Closure,
    ) -> Option<(Arc<CompiledHessian>, Arc<CompiledLanes>, bool)> {
        let entry = self.take(key)?;
        let verified = entry.verified_for.contains(&closure);
        let found = (entry.compiled.clone(), entry.lanes.clone(), verified);
        self.0.push(entry);
        Some(found)
    }

    /// Keeps a product, verified for `closure` if there is one; what another thread kept meanwhile
    /// is replaced.
    fn insert(&mut self, key: Key, prepared: &PreparedLoss, closure: Option<Closure>) {
        let mut verified_for = self.take(&key).map(|entry| entry.verified_for).unwrap_or_default();
        verified_for.extend(closure);
        if self.0.len() == CAPACITY {
            self.0.remove(0);
        }
        let (compiled, lanes) = (prepared.compiled.clone(), prepared.lanes.clone());
        self.0.push(Entry { key, compiled, lanes, verified_for });
    }
}
