//! Recording with noise: the closure runs on an autodiff capture device, so that dropout, noise
//! layers and batch normalization act as in training. Random tensors become inputs
//! ([`Source::Noise`]), drawn once per operator. burn's own autodiff records the gradient behind the
//! loss: not to be differentiated, but to be compared with (see `crate::verify`).
//!
//! burn moves no tensor onto such a device, nor off it, so tensors are wrapped and unwrapped here.
//! Two kinds stay plain, because layers of burn move them: running statistics, which burn lifts where
//! they meet others, and masks.

use std::collections::HashMap;

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::kind::Autodiff as Kind;
use burn::tensor::{Int, Tensor};
use burn_backend::AutodiffBackend;
use burn_backend::ops::FloatTensorOps;
use burn_capture::{CaptureBackend, CaptureScope, CompletedCaptureScope};
use burn_dispatch::{BackendTensor, DispatchKindConversion, DispatchTensor};
use burn_ir::{FloatOperationIr, NumericOperationIr, OperationIr, RandomOpIr, TensorId};

use super::{
    LossGraph, Outputs, PooledDevice, Recorded, RecordedGradient, Recorder, Source, Tracked,
    classify_panic, graph_of, ir_of, record_gradient,
};
use crate::batch::{Batch, TensorMapper};
use crate::error::{Error, Result, catch_panic};
use crate::model_state::{ModelState, Slot};

/// Records loss and gradient, noise included.
pub(super) fn capture<M, B, F>(
    model: &M,
    state: &ModelState,
    batch: &B,
    loss: &F,
) -> Result<LossGraph>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B, &mut Outputs) -> Tensor<1> + ?Sized,
{
    let settings = state.space().device().settings();
    let device = PooledDevice::take(settings);
    let mut recorder = Recorder::new(&device.device, state);
    let mut training = Training { state, leaves: state.params.iter().map(|_| None).collect() };
    let (mut shape, mut kept) = (Vec::new(), Outputs::default());
    let (mut recorded, mut outputs_ir) = (None, None);
    let captured = catch_panic(
        || {
            let scope = |scope: CaptureScope| -> CompletedCaptureScope {
                // Plain placeholders first: `to_device` is for tensors that no visitor sees.
                let model = model.valid().map(&mut recorder).to_device(&device.device);
                let model = model.map(&mut training);
                let batch = batch.clone().map_tensors(&mut recorder).map_tensors(&mut training);
                let value = loss(&model, batch, &mut kept);
                shape = value.dims().to_vec();
                if shape == [1] {
                    // A view, so that the loss is the result of an operation; lifted if it depends on
                    // masks alone.
                    let value = tracked(lift(value.reshape([1]).into_dispatch()));
                    let kept = kept.0.take().map(|outputs| tracked(lift(outputs)));
                    outputs_ir = kept.map(|outputs| ir_of(&Recorded::inner(outputs)));
                    let record = || Ok(record_gradient(value, &training.leaves));
                    recorded =
                        Some(catch_panic(record, |m| Error::NotDifferentiable { message: m }));
                }
                scope.complete([], [])
            };
            let captured = device.device.capture_scope(scope);
            captured.map_err(|e| Error::Capture { message: e.to_string() })
        },
        classify_panic,
    )?;
    let (mut outputs, gradients) = recorded.ok_or(Error::NonScalarLoss { shape })??;
    let n_reference = outputs.len();
    outputs.extend(outputs_ir);
    let mut placeholders: HashMap<TensorId, Source> = recorder.inputs.into_iter().collect();
    let draws = captured.graph.operations.iter().filter_map(random).enumerate();
    placeholders.extend(draws.map(|(index, d)| (d.out.id, noise(index, d))));

    let mut constants = Vec::new();
    let (whole, whole_sources) = graph_of(captured, &placeholders, outputs, |data| {
        constants.push(data);
        Source::Constant(constants.len() - 1)
    });
    let (mut graph, mut sources) = (whole.clone(), whole_sources.clone());
    graph.outputs.drain(1..n_reference);
    let graph = graph.without_dead_code().with_dense_ids(&mut sources);
    let n_params = state.space().entries().len();
    let reference = RecordedGradient { graph: whole, sources: whole_sources, gradients };
    let (training_means, reference) = (Vec::new(), Some(reference));
    Ok(LossGraph { graph, sources, constants, n_params, settings, training_means, reference })
}

/// The random draw that `op` is, if it is one.
pub(super) fn random(op: &OperationIr) -> Option<&RandomOpIr> {
    match op {
        OperationIr::Float(_, FloatOperationIr::Random(d))
        | OperationIr::NumericInt(_, NumericOperationIr::IntRandom(d)) => Some(d),
        _ => None,
    }
}

fn noise(index: usize, d: &RandomOpIr) -> Source {
    let (shape, dtype) = (d.out.shape.as_slice().to_vec(), d.out.dtype);
    Source::Noise { index, distribution: d.distribution, shape, dtype }
}

/// Turns placeholders into tensors of a training step: on autodiff, parameters tracked, flags as in
/// training.
struct Training<'a> {
    state: &'a ModelState,
    leaves: Vec<Option<Tracked>>,
}

impl ModuleMapper for Training<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let slot = self.state.slot(id);
        let tensor = match slot {
            Some(Slot::State(i)) if self.state.is_running_statistic(i) => tensor,
            Some(Slot::Param(i)) => {
                let leaf = self.leaves[i].get_or_insert_with(|| {
                    Recorded::float_set_require_grad(tracked(lift(tensor.into_dispatch())), true)
                });
                Tensor::from_dispatch(untyped(BackendTensor::Float(leaf.clone())))
            }
            Some(Slot::State(_)) | None => Tensor::from_dispatch(lift(tensor.into_dispatch())),
        };
        Param::from_mapped_value(id, tensor, mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, Tensor::from_dispatch(lift(tensor.into_dispatch())), mapper)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag.train()
    }
}

impl TensorMapper for Training<'_> {
    fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        Tensor::from_dispatch(lift(tensor.into_dispatch()))
    }
}

/// A plain tensor of a capture device on autodiff, if it is a float or an integer: floats made of
/// integers are then on autodiff, too.
fn lift(plain: DispatchTensor) -> DispatchTensor {
    let backend = <DispatchTensor as DispatchKindConversion<CaptureBackend>>::try_into_backend;
    match backend(plain.clone()) {
        Ok(BackendTensor::Float(t)) => untyped(BackendTensor::Float(Recorded::from_inner(t))),
        Ok(BackendTensor::Int(t)) => untyped(BackendTensor::Int(t)),
        _ => plain,
    }
}

fn untyped(tensor: BackendTensor<Recorded>) -> DispatchTensor {
    <DispatchTensor as DispatchKindConversion<Recorded>>::from_backend(tensor)
}

/// The autodiff tensor behind a float tensor of an autodiff capture device.
///
/// # Panics
/// For any other tensor, with a message that `classify_panic` knows.
fn tracked(tensor: DispatchTensor) -> Tracked {
    let backend = <DispatchTensor as DispatchKindConversion<Recorded>>::try_into_backend;
    match backend(tensor) {
        Ok(BackendTensor::Float(t)) => t,
        Ok(other) => panic!("a {} tensor cannot be recorded", other.name()),
        Err(message) => {
            panic!("Backend mismatch: the loss is not on the model's device: {message}")
        }
    }
}
