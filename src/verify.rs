//! A loss is checked once: its gradient, differentiated from the recording, against the one that
//! burn's autodiff computes by running the closure on the model's own device; with noise, which
//! another run would draw anew, against the one that burn recorded behind the loss.
//!
//! A recording can be right in itself and yet not be the loss that training differentiates:
//! burn 0.22's capture device does not record `detach`, and a closure may act differently under
//! autodiff. Such a loss would give numbers that look right. Cost: about two gradients, once per
//! closure and batch shape.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::kind::Autodiff as Kind;
use burn::tensor::{Bool, Gradients, Int, Tensor};
use burn_dispatch::DispatchTensor;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::batch::{Batch, TensorMapper};
use crate::error::{Error, Result, catch_panic};
use crate::mode::Mode;
use crate::model_state::{ModelState, Slot};
use crate::params::{ParamEntry, ParamVector, inner, read};

/// The recorded and the reference gradient run the same operations, so they differ by rounding: at
/// most by that of a device that multiplies with ten bits (tf32, 2⁻¹⁰), a few times over. What a
/// missing term does is of order one, in the whole gradient or in that of one parameter.
const TOLERANCE: f64 = 1e-2;

/// A difference in one parameter that is a smaller part of the whole gradient than this is rounding.
///
/// Some gradients are zero on paper: that of a bias in front of a normalization, of the bias of keys in
/// an attention. They are sums of n terms that cancel, so that only the rounding of these is left, in
/// f32 about √n·2⁻²³ times one term: 2⁻¹⁷ for n = 2¹² samples and pixels, with a term as large as the
/// whole gradient. 2⁴ more is for the operations before the sum. Where products are of ten bits (tf32)
/// terms round by 2⁻¹¹, which is below the floor for those up to a quarter of the whole gradient. In f64
/// the floor is that of f32, since burn rounds to f32 there too (1/c in the gradient of x/c, RmsNorm).
const FLOOR: f64 = 1.0 / 8192.0;

/// Compares `recorded(state)`, the gradient of the compiled program, with `reference(state)`, which
/// burn computes; false when there was nothing to compare.
///
/// Where they differ the comparison is repeated at parameters nearby: at an exact minimum both
/// gradients are nothing but rounding.
pub(crate) fn verify(
    state: &ModelState,
    recorded: impl Fn(&ModelState) -> Result<ParamVector>,
    reference: impl Fn(&ModelState) -> Result<ParamVector>,
) -> Result<bool> {
    let difference = |state: &ModelState| difference(&recorded(state)?, &reference(state)?);
    let here = difference(state)?;
    if here <= TOLERANCE {
        return Ok(true);
    }
    let nearby = difference(&nearby(state)?)?;
    let relative_difference = if nearby.is_nan() { here } else { nearby };
    if relative_difference > TOLERANCE {
        return Err(Error::GradientMismatch { relative_difference });
    }
    // NaN at both points: zero gradients, or data or parameters that are not finite, which the
    // measurement itself reports.
    Ok(!relative_difference.is_nan())
}

/// The relative difference of two gradients: of the whole, or of a parameter where that is more. NaN if
/// they are not finite, or both zero.
fn difference(ours: &ParamVector, theirs: &ParamVector) -> Result<f64> {
    let apart = norms(&ours.axpy(-1.0, theirs)?)?;
    let (ours, theirs) = (norms(ours)?, norms(theirs)?);
    let norm = |parts: &[f64]| parts.iter().map(|part| part * part).sum::<f64>().sqrt();
    let scale = norm(&ours).max(norm(&theirs));
    let mut largest = norm(&apart) / scale;
    if largest.is_nan() {
        return Ok(largest);
    }
    for (apart, (ours, theirs)) in apart.iter().zip(ours.iter().zip(&theirs)) {
        if *apart > FLOOR * scale {
            largest = largest.max(apart / ours.max(*theirs));
        }
    }
    Ok(largest)
}

/// The norm of each parameter's part of a vector. One read-back.
fn norms(vector: &ParamVector) -> Result<Vec<f64>> {
    let entries = vector.space().entries().iter().filter(|entry| !entry.is_empty());
    let square = |entry: &ParamEntry| {
        let part = vector.tensor().narrow(0, entry.offset, entry.len());
        inner(&part, &part)
    };
    let squares = read(Tensor::cat(entries.map(square).collect(), 0))?;
    Ok(squares.into_iter().map(f64::sqrt).collect())
}

/// The state with its parameters moved by a tenth of their norm.
fn nearby(state: &ModelState) -> Result<ModelState> {
    let params = state.params();
    let (random, _) =
        state.space().random(&mut Xoshiro256PlusPlus::seed_from_u64(0)).normalized()?;
    Ok(state.with_params(&params.axpy(0.1 * params.norm()?.max(1e-3), &random)?))
}

/// The gradient by burn's autodiff: the closure runs on the model's own device.
pub(crate) fn reference<M, B, F>(
    model: &M,
    state: &ModelState,
    batch: &B,
    loss: &F,
) -> Result<ParamVector>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1> + ?Sized,
{
    let device = state.space().device().clone().autodiff();
    let run = || {
        let leaves = state.params.iter().map(|_| None).collect();
        let mut track = Track { state, leaves, containers: Vec::new() };
        let tracked = model.valid().to_device(&device).map(&mut track);
        let value = loss(&tracked, batch.clone().map_tensors(&mut track));
        let mut gradients = value.backward();
        let parts = track.leaves.into_iter().map(|leaf| (leaf?.gradient)(&mut gradients));
        Ok(state.space().join_or_zeros(parts))
    };
    catch_panic(run, |message| Error::NotDifferentiable { message })
}

/// How burn names its layers that draw noise in training to visitors of their fields.
const NOISE: [&str; 3] = ["Struct:Dropout", "Struct:GaussianNoise", "Struct:RRelu"];

/// Takes one leaf's gradient out of all; the leaf's rank is known where this is made.
type TakeGradient = Box<dyn FnOnce(&mut Gradients) -> Option<DispatchTensor>>;

/// A tracked parameter, and how its gradient is read.
struct Leaf {
    tensor: DispatchTensor,
    gradient: TakeGradient,
}

/// Replaces a model's tensors by those of `state`, tracks the trainable ones, and sets the flags of
/// its mode.
struct Track<'a> {
    state: &'a ModelState,
    leaves: Vec<Option<Leaf>>,
    /// The type that declares each field on the path to the one being mapped.
    containers: Vec<String>,
}

impl Track<'_> {
    fn tensor<const D: usize, K: Kind>(&self, slot: Slot) -> Tensor<D, K> {
        let handle = match slot {
            Slot::Param(i) => &self.state.params[i],
            Slot::State(i) => &self.state.state[i],
        };
        Tensor::from_dispatch(handle.clone()).autodiff()
    }
}

impl ModuleMapper for Track<'_> {
    fn enter_module(&mut self, _name: &str, container: &str) {
        self.containers.push(container.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.containers.pop();
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        // `valid()` has switched every flag off. In `Mode::Train` all layers are in training but those
        // that draw noise: a layer that is not burn's then shows that its recording is of evaluation.
        let is_noise = self.containers.last().is_some_and(|c| NOISE.contains(&c.as_str()));
        if self.state.mode() == Mode::Train && !is_noise { flag.train() } else { flag }
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        let Some(slot) = self.state.slot(id) else {
            return Param::from_mapped_value(id, value, mapper);
        };
        let mut tensor = self.tensor::<D, _>(slot);
        if let Slot::Param(i) = slot {
            tensor = match &self.leaves[i] {
                Some(leaf) => Tensor::from_dispatch(leaf.tensor.clone()),
                None => tensor.require_grad(),
            };
            let leaf = tensor.clone();
            self.leaves[i].get_or_insert_with(|| Leaf {
                tensor: leaf.clone().into_dispatch(),
                gradient: Box::new(move |g| leaf.grad_remove(g).map(Tensor::into_dispatch)),
            });
        }
        Param::from_mapped_value(id, tensor, mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let (id, value, mapper) = param.consume();
        let tensor = self.state.slot(id).map_or(value, |slot| self.tensor(slot));
        Param::from_mapped_value(id, tensor, mapper)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let (id, value, mapper) = param.consume();
        let tensor = self.state.slot(id).map_or(value, |slot| self.tensor(slot));
        Param::from_mapped_value(id, tensor, mapper)
    }
}

impl TensorMapper for Track<'_> {
    fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        tensor.without_autodiff().autodiff()
    }
}
