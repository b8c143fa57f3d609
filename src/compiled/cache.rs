//! The cache of compiled products: graph work happens once per kind of loss.
//!
//! A loss is recorded at every measurement (that costs no arithmetic), which guards against a
//! closure or model whose settings changed; everything after that, differentiation, tangents,
//! linearization and compilation, is looked up by the recorded graph itself: operations, scalars,
//! shapes, dtypes and kinds of inputs. Constants' values are not part of the key: they are bound
//! at run time like parameters.

use std::any::TypeId;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::Discriminant;
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{DeviceSettings, Tensor, TensorData};
use burn_dispatch::DispatchTensor;

use super::{bind, count};
use crate::batch::{self, Batch};
use crate::capture::{LossGraph, Outputs, Source};
use crate::error::{Error, Result};
use crate::ir::TensorGraph;
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::ParamVector;
use crate::program::Program;
use crate::verify::{reference, verify};

/// What is compiled from a recorded loss, and kept.
pub(crate) trait Compiled: Clone + 'static {
    /// What is asked of the recording.
    type Recipe: Copy + PartialEq;

    fn compile(forward: &LossGraph, recipe: Self::Recipe) -> Result<Self>;

    /// The gradient of the loss.
    fn gradient(
        &self,
        state: &ModelState,
        batch: &[DispatchTensor],
        constants: &[TensorData],
    ) -> Result<ParamVector>;

    fn cache() -> &'static Mutex<Cache<Self>>;
}

/// A loss at a model and a batch; it may keep the network's outputs.
pub(crate) struct Subject<'a, M, B, F> {
    pub model: &'a M,
    pub state: &'a ModelState,
    pub batch: &'a B,
    pub loss: &'a F,
}

impl<M, B, F> Subject<'_, M, B, F>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B, &mut Outputs) -> Tensor<1>,
{
    /// Records the loss and finds or makes what is compiled from it; and the values of its constants.
    pub fn prepare<C: Compiled>(&self, recipe: C::Recipe) -> Result<(C, Vec<TensorData>)> {
        let Self { model, state, batch, loss } = self;
        let forward = LossGraph::capture_outputs(*model, state, *batch, *loss)?;
        count(|work| work.captures += 1);
        let key = Key::of(&forward, recipe);
        let closure = (typeid::of::<F>(), std::mem::discriminant(&state.mode()));
        let found = C::cache().lock().unwrap_or_else(PoisonError::into_inner).get(&key, closure);
        let compiled = match found {
            Some((compiled, true)) => return Ok((compiled, forward.constants)),
            Some((compiled, false)) => compiled,
            None => {
                count(|work| work.compilations += 1);
                C::compile(&forward, recipe)?
            }
        };
        let verified = self.verify(&forward, &compiled)?;
        let mut cache = C::cache().lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(key, compiled.clone(), verified.then_some(closure));
        Ok((compiled, forward.constants))
    }

    /// Compares the gradient with the one that burn computes; false when there was nothing to
    /// compare.
    fn verify<C: Compiled>(&self, forward: &LossGraph, compiled: &C) -> Result<bool> {
        let Self { model, state, batch, loss } = self;
        let tensors = batch::tensors((*batch).clone());
        let ours = |state: &ModelState| compiled.gradient(state, &tensors, &forward.constants);
        let verified = match &forward.reference {
            None => {
                let loss = |model: &M, batch: B| loss(model, batch, &mut Outputs::default());
                verify(state, ours, |state| reference(*model, state, *batch, &loss))
            }
            Some(recorded) => {
                let program = Program::compile(recorded.graph.clone());
                verify(state, ours, |state| {
                    let inputs = bind(&recorded.sources, state, &tensors, &forward.constants)?;
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
}

/// What a compiled product depends on.
#[derive(Clone, Debug)]
struct Key<R> {
    hash: u64,
    recipe: R,
    graph: TensorGraph,
    sources: Vec<Source>,
    training_means: Vec<usize>,
    n_params: usize,
    settings: DeviceSettings,
}

impl<R: Copy + PartialEq> Key<R> {
    fn of(forward: &LossGraph, recipe: R) -> Self {
        let mut hasher = DefaultHasher::new();
        forward.graph.inputs.hash(&mut hasher);
        forward.graph.ops.hash(&mut hasher);
        Self {
            hash: hasher.finish(),
            recipe,
            graph: forward.graph.clone(),
            sources: forward.sources.clone(),
            training_means: forward.training_means.clone(),
            n_params: forward.n_params,
            settings: forward.settings,
        }
    }

    fn matches(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.recipe == other.recipe
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
struct Entry<C: Compiled> {
    key: Key<C::Recipe>,
    compiled: C,
    verified_for: Vec<Closure>,
}

/// Compiled products, most recently used last.
pub(crate) struct Cache<C: Compiled>(Vec<Entry<C>>);

/// Enough for a few models with a few batch shapes each; an entry is some ten kilobytes.
const CAPACITY: usize = 64;

impl<C: Compiled> Cache<C> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn take(&mut self, key: &Key<C::Recipe>) -> Option<Entry<C>> {
        let found = self.0.iter().position(|entry| entry.key.matches(key))?;
        Some(self.0.remove(found))
    }

    /// The product, and whether it was verified for `closure`.
    fn get(&mut self, key: &Key<C::Recipe>, closure: Closure) -> Option<(C, bool)> {
        let entry = self.take(key)?;
        let verified = entry.verified_for.contains(&closure);
        let found = (entry.compiled.clone(), verified);
        self.0.push(entry);
        Some(found)
    }

    /// Keeps a product, verified for `closure` if there is one; what another thread kept meanwhile
    /// is replaced.
    fn insert(&mut self, key: Key<C::Recipe>, compiled: C, closure: Option<Closure>) {
        let mut verified_for = self.take(&key).map(|entry| entry.verified_for).unwrap_or_default();
        verified_for.extend(closure);
        if self.0.len() == CAPACITY {
            self.0.remove(0);
        }
        self.0.push(Entry { key, compiled, verified_for });
    }
}
