//! Loss closure + model + batch -> [`LossGraph`]: the forward operations of the loss.
//!
//! The closure runs once on burn's capture device, where operations are recorded instead of
//! computed. Parameters, other model tensors and batch tensors become placeholders of the right
//! shape and dtype: no value is copied, and a closure that asks for one gets a typed error.
//!
//! With noise the recording is another one: see [`noise`].
//!
//! Cost: some 0.1 ms for a small network, independent of its width.

mod noise;

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::kind::Autodiff as Kind;
use burn::tensor::{Bool, DType, Device, DeviceSettings, Distribution, Int, Tensor, TensorData};
use burn_autodiff::Autodiff;
use burn_backend::tensor::FloatTensor;
use burn_backend::{AutodiffBackend, TensorMetadata, set_default_dtypes};
use burn_capture::{CaptureBackend, CaptureDevice, CapturedGraph};
use burn_dispatch::{
    BackendTensor, Dispatch, DispatchDevice, DispatchKindConversion, DispatchTensor,
};
use burn_ir::{BaseOperationIr, OperationIr, TensorId, TensorIr};

use crate::batch::{Batch, TensorMapper};
use crate::display::write_graph;
use crate::error::{Error, Result, catch_panic};
use crate::ir::TensorGraph;
use crate::mode::Mode;
use crate::model_state::{ModelState, Slot};

/// Where an input of a graph gets its value from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// Trainable parameter number `.0` of the model.
    Param(usize),
    /// Other tensor number `.0` of the model: frozen parameters, running statistics, indices.
    State(usize),
    /// Tensor number `.0` of the batch.
    Batch(usize),
    /// Constant number `.0` that the closure made or brought along.
    Constant(usize),
    /// Data that differentiation or a rule made: the same at every run.
    Fixed(TensorData),
    /// The cotangent u of the outputs, in the reverse pass Jᵀu.
    Cotangent,
    /// Random draw number `index` of the loss.
    Noise { index: usize, distribution: Distribution, shape: Vec<usize>, dtype: DType },
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Param(i) => format!("parameter {i}"),
            Self::State(i) => format!("state {i}"),
            Self::Batch(i) => format!("batch {i}"),
            Self::Constant(i) => format!("constant {i}"),
            Self::Fixed(_) => "fixed data".into(),
            Self::Cotangent => "cotangent".into(),
            Self::Noise { index, .. } => format!("noise {index}"),
        }
    }
}

/// The network's outputs as a closure hands them over while it runs.
#[derive(Default)]
pub(crate) struct Outputs(Option<DispatchTensor>);

impl Outputs {
    /// Remembers the outputs, as a view, so that they are the result of an operation.
    pub fn keep<const D: usize>(&mut self, outputs: Tensor<D>) -> Tensor<D> {
        let shape = outputs.dims();
        let view = outputs.reshape(shape);
        self.0 = Some(view.clone().into_dispatch());
        view
    }
}

/// The forward operations of a loss; inputs are parameters, other model tensors, batch tensors
/// and constants, the first output is the loss, the second the network's outputs if the closure kept
/// them.
#[derive(Clone, Debug)]
pub struct LossGraph {
    pub(crate) graph: TensorGraph,
    pub(crate) sources: Vec<Source>,
    /// Values of the recorded constants.
    pub(crate) constants: Vec<TensorData>,
    pub(crate) n_params: usize,
    pub(crate) settings: DeviceSettings,
    /// States that are running means of batch normalizations in training.
    pub(crate) training_means: Vec<usize>,
    /// With noise: the gradient that burn's autodiff recorded behind the loss.
    pub(crate) reference: Option<RecordedGradient>,
}

/// A gradient that burn's autodiff recorded behind the loss, which it contains as first output.
#[derive(Clone, Debug)]
pub(crate) struct RecordedGradient {
    pub graph: TensorGraph,
    pub sources: Vec<Source>,
    /// For each trainable parameter, its position among the outputs.
    pub gradients: Vec<Option<usize>>,
}

/// The backend that differentiates recorded operations.
pub(crate) type Recorded = Autodiff<CaptureBackend>;
pub(crate) type Tracked = FloatTensor<Recorded>;

impl fmt::Display for LossGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.sources.iter().map(Source::name).collect();
        write_graph(f, "LossGraph", &self.graph, &names, &["loss"])
    }
}

pub(crate) fn source_names(sources: &[Source]) -> Vec<String> {
    sources.iter().map(Source::name).collect()
}

impl LossGraph {
    /// Records the operations of `loss(model, batch)` in the mode of `state`.
    ///
    /// `model` is not changed: what runs is a detached copy of it (`Module::valid`). In
    /// [`Mode::Train`] and [`Mode::Eval`] modules that behave differently in training (dropout,
    /// noise) are deterministic, and a batch normalization is recorded with its running statistics,
    /// which [`expand`](Self::expand) replaces by those of the batch where it is in training.
    ///
    /// # Errors
    /// [`Error::NonScalarLoss`], [`Error::LossReadsData`], [`Error::LossMixesDevices`],
    /// [`Error::LossPanicked`], [`Error::Capture`].
    pub fn capture<M, B, F>(model: &M, state: &ModelState, batch: &B, loss: &F) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1> + ?Sized,
    {
        Self::capture_outputs(model, state, batch, &|model: &M, batch: B, _: &mut Outputs| {
            loss(model, batch)
        })
    }

    /// [`capture`](Self::capture) of a closure that may keep the network's outputs.
    pub(crate) fn capture_outputs<M, B, F>(
        model: &M,
        state: &ModelState,
        batch: &B,
        loss: &F,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B, &mut Outputs) -> Tensor<1> + ?Sized,
    {
        let training_means = match state.mode() {
            Mode::Train => state.training_means(),
            Mode::Eval => Vec::new(),
            Mode::TrainWithNoise { .. } => return noise::capture(model, state, batch, loss),
        };
        let settings = state.space().device().settings();
        let device = PooledDevice::take(settings);
        let mut recorder = Recorder::new(&device.device, state);
        let (mut shape, mut kept) = (Vec::new(), Outputs::default());
        let captured = catch_panic(
            || {
                let scope = |scope: burn_capture::CaptureScope| {
                    let placeholders = model.valid().map(&mut recorder).to_device(&device.device);
                    let batch = batch.clone().map_tensors(&mut recorder);
                    let value = loss(&placeholders, batch, &mut kept);
                    shape = value.dims().to_vec();
                    if shape == [1] {
                        // A view, so that the loss is the result of an operation.
                        recorder.outputs.push(capture_ir(value.reshape([1]).into_dispatch()));
                        recorder.outputs.extend(kept.0.take().map(capture_ir));
                    }
                    scope.complete([], [])
                };
                let captured = device.device.capture_scope(scope);
                captured.map_err(|e| Error::Capture { message: e.to_string() })
            },
            classify_panic,
        )?;
        if recorder.outputs.is_empty() {
            return Err(Error::NonScalarLoss { shape });
        }
        let placeholders: HashMap<TensorId, Source> = recorder.inputs.into_iter().collect();
        let mut constants = Vec::new();
        let (graph, sources) = graph_of(captured, &placeholders, recorder.outputs, |data| {
            constants.push(data);
            Source::Constant(constants.len() - 1)
        });
        let n_params = state.space().entries().len();
        let reference = None;
        Ok(Self { graph, sources, constants, n_params, settings, training_means, reference })
    }

    /// Positions of the inputs that are trainable parameters, in parameter order; `None` for a
    /// parameter that the loss does not use.
    pub(crate) fn param_inputs(&self) -> Vec<Option<usize>> {
        param_inputs(&self.sources, self.n_params)
    }
}

pub(crate) fn param_inputs(sources: &[Source], n_params: usize) -> Vec<Option<usize>> {
    let position =
        |param| sources.iter().position(|s| matches!(s, Source::Param(i) if *i == param));
    (0..n_params).map(position).collect()
}

/// What a panic inside the closure means.
fn classify_panic(message: String) -> Error {
    let has = |needle: &str| message.contains(needle);
    let hinted = |hint: &str| Error::LossPanicked { message: format!("{hint} ({message})") };
    if has("no concrete value") || has("no initialized value") {
        Error::LossReadsData { message }
    } else if has("same backend")
        || has("wrong backend")
        || has("same device")
        || has("Tensor is not on")
        || has("autodiff context")
        || has("Cannot move a tensor")
        || has("Backend mismatch")
    {
        Error::LossMixesDevices { message }
    } else if has("do not support autodiff") {
        hinted(
            "`inner`, `from_inner` and `backward` are not recorded, pass such tensors in the batch",
        )
    } else if has("implementation for grid_sample_2d") {
        hinted("burn has no gradient for this sampling mode, use bilinear sampling")
    } else if has("DTypeMismatch") {
        hinted("tensors of different dtypes meet, cast the batch to the dtype of the model")
    } else {
        Error::LossPanicked { message }
    }
}

/// Replaces tensors by placeholders on the capture device and remembers which is which.
struct Recorder<'a> {
    device: &'a Device,
    state: &'a ModelState,
    /// One placeholder per slot, so that a shared parameter is one input.
    by_slot: HashMap<Slot, DispatchTensor>,
    inputs: Vec<(TensorId, Source)>,
    n_batch: usize,
    /// The loss, if it is one number, and the network's outputs, if they were kept.
    outputs: Vec<TensorIr>,
}

impl<'a> Recorder<'a> {
    fn new(device: &'a Device, state: &'a ModelState) -> Self {
        let (by_slot, inputs) = (HashMap::new(), Vec::new());
        Self { device, state, by_slot, inputs, n_batch: 0, outputs: Vec::new() }
    }

    fn placeholder<const D: usize, K: Kind>(
        &mut self,
        shape: [usize; D],
        dtype: DType,
        source: Source,
    ) -> Tensor<D, K> {
        let tensor = Tensor::<D, K>::empty(shape, (self.device, dtype));
        self.inputs.push((capture_ir(tensor.clone().into_dispatch()).id, source));
        tensor
    }

    fn model_tensor<const D: usize, K: Kind>(
        &mut self,
        id: ParamId,
        tensor: Tensor<D, K>,
    ) -> Tensor<D, K> {
        let Some(slot) = self.state.slot(id) else {
            return tensor; // moved, and so recorded, by `to_device`
        };
        if let Some(shared) = self.by_slot.get(&slot) {
            return Tensor::from_dispatch(shared.clone());
        }
        let source = match slot {
            Slot::Param(i) => Source::Param(i),
            Slot::State(i) => Source::State(i),
        };
        let placeholder = self.placeholder(tensor.dims(), tensor.dtype(), source);
        self.by_slot.insert(slot, placeholder.clone().into_dispatch());
        placeholder
    }
}

/// What an operation without inputs makes, if a placeholder can stand for it: an uninitialized
/// tensor or a random draw.
fn placeholder(op: &OperationIr) -> Option<&TensorIr> {
    match op {
        OperationIr::BaseFloat(BaseOperationIr::Empty(d))
        | OperationIr::BaseInt(BaseOperationIr::Empty(d))
        | OperationIr::BaseBool(BaseOperationIr::Empty(d)) => Some(&d.out),
        op => noise::random(op).map(|d| &d.out),
    }
}

/// Turns what a scope recorded into a graph with dense ids: placeholders (operations without inputs
/// that make these ids) and initialized data become inputs.
pub(crate) fn graph_of(
    captured: CapturedGraph,
    placeholders: &HashMap<TensorId, Source>,
    outputs: Vec<TensorIr>,
    mut constant: impl FnMut(TensorData) -> Source,
) -> (TensorGraph, Vec<Source>) {
    let mut graph = TensorGraph { inputs: Vec::new(), ops: Vec::new(), outputs };
    let mut sources = Vec::new();
    for op in captured.graph.operations {
        if let Some(made) = placeholder(&op)
            && let Some(source) = placeholders.get(&made.id)
        {
            graph.inputs.push(made.clone());
            sources.push(source.clone());
        } else if !matches!(op, OperationIr::Init(_)) {
            graph.ops.push(op);
        }
    }
    for (id, data) in captured.values {
        graph.inputs.push(TensorIr::uninit(id, data.shape().clone(), data.dtype()));
        sources.push(constant(data));
    }
    let graph = graph.without_dead_code();
    (graph.with_dense_ids(&mut sources), sources)
}

impl ModuleMapper for Recorder<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, self.model_tensor(id, tensor), mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, self.model_tensor(id, tensor), mapper)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, self.model_tensor(id, tensor), mapper)
    }
}

impl TensorMapper for Recorder<'_> {
    fn map<const D: usize, K: Kind>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        let source = Source::Batch(self.n_batch);
        self.n_batch += 1;
        self.placeholder(tensor.dims(), tensor.dtype(), source)
    }
}

/// Id, shape and dtype of a tensor on a capture device.
///
/// # Panics
/// For a tensor of another device, with a message that `classify_panic` knows.
fn capture_ir(tensor: DispatchTensor) -> TensorIr {
    let (shape, dtype) = (tensor.shape(), tensor.dtype());
    let backend = <DispatchTensor as DispatchKindConversion<CaptureBackend>>::try_into_backend;
    let id = match backend(tensor) {
        Ok(BackendTensor::Float(t)) => t.id(),
        Ok(BackendTensor::Int(t)) => t.id(),
        Ok(BackendTensor::Bool(t)) => t.id(),
        Ok(other) => panic!("a {} tensor cannot be recorded", other.name()),
        Err(message) => {
            panic!("Backend mismatch: the loss is not on the model's device: {message}")
        }
    };
    TensorIr::uninit(id, shape, dtype)
}

/// Id, shape and dtype of a recorded float.
pub(crate) fn ir_of(tensor: &FloatTensor<CaptureBackend>) -> TensorIr {
    TensorIr::uninit(tensor.id(), tensor.shape(), tensor.dtype())
}

/// Records the reverse pass behind `loss`: loss and gradients as outputs, and for each leaf the
/// position of its gradient among them.
pub(crate) fn record_gradient(
    loss: Tracked,
    leaves: &[Option<Tracked>],
) -> (Vec<TensorIr>, Vec<Option<usize>>) {
    let mut outputs = vec![ir_of(&Recorded::inner(loss.clone()))];
    let mut grads = Recorded::backward(loss);
    let gradient = |leaf: &Option<Tracked>| {
        let gradient = Recorded::grad_remove(leaf.as_ref()?, &mut grads)?;
        outputs.push(ir_of(&gradient));
        Some(outputs.len() - 1)
    };
    let gradients = leaves.iter().map(gradient).collect();
    (outputs, gradients)
}

/// A capture device for as long as this lives; then it goes back to the pool.
///
/// Capture device ids are never recycled and there are 65,536 in a process, and one scope at a
/// time may be open on each: so each concurrent capture takes one, and they are reused.
pub(crate) struct PooledDevice {
    pub device: Device,
    settings: DeviceSettings,
}

static POOL: Mutex<Vec<(DeviceSettings, Device)>> = Mutex::new(Vec::new());

impl PooledDevice {
    /// A free device whose default dtypes are those of `settings`, so that tensors which the
    /// closure creates get the dtypes that they have on the model's device.
    pub fn take(settings: DeviceSettings) -> Self {
        let mut pool = POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(free) = pool.iter().position(|(s, _)| *s == settings) {
            let (settings, device) = pool.swap_remove(free);
            return Self { device, settings };
        }
        drop(pool);
        let device = Device::capture();
        let DeviceSettings { float_dtype, int_dtype, bool_dtype, .. } = settings;
        let capture = capture_device(&device);
        // Asking a device which dtypes it supports needs an open scope. A fresh device cannot fail
        // to be configured, and capture supports every dtype of a device that it stands for.
        let _ = capture.capture_scope(|scope| {
            let (f, i, b) = (float_dtype, int_dtype, bool_dtype);
            let _ = set_default_dtypes::<Dispatch>(device.as_dispatch(), f, i, b);
            let _ = set_default_dtypes::<CaptureBackend>(&capture, f, i, b);
            scope.complete([], [])
        });
        Self { device, settings }
    }

    pub fn capture_device(&self) -> CaptureDevice {
        capture_device(&self.device)
    }
}

fn capture_device(device: &Device) -> CaptureDevice {
    match device.as_dispatch() {
        DispatchDevice::Capture(device) => *device,
        _ => unreachable!("the pool holds capture devices only"),
    }
}

impl Drop for PooledDevice {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pool.push((self.settings, self.device.clone()));
    }
}
