//! Model -> [`ModelState`]: handles of its tensors, told apart into trainable parameters and the
//! rest.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Flag, Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, DType, Device, Int, Tensor};
use burn_dispatch::DispatchTensor;

use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::noise::NoiseOf;
use crate::params::{ParamSpace, ParamVector};

/// Place of a model tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    Param(usize),
    State(usize),
}

/// The tensors of a model at one moment, as handles, and the [`Mode`] in which it is differentiated:
/// nothing is copied, and training on does not change them.
///
/// Trainable parameters are those that require gradients, in visit order; on a plain device those
/// that would after `Module::train`. Everything else that `Module::visit` shows (frozen
/// parameters, running statistics, integer tensors) is state.
#[derive(Clone, Debug)]
pub struct ModelState {
    space: Arc<ParamSpace>,
    pub(crate) params: Vec<DispatchTensor>,
    pub(crate) state: Vec<DispatchTensor>,
    slots: Arc<HashMap<ParamId, Slot>>,
    mode: Mode,
    noise_of: NoiseOf,
    norms: Arc<[Norm]>,
}

/// State slots of the running statistics of a batch normalization.
#[derive(Clone, Debug, Default)]
struct Norm {
    path: String,
    is_training: bool,
    mean: Option<usize>,
    variance: Option<usize>,
}

impl ModelState {
    /// Reads the handles of `model`'s tensors, for [`Mode::Train`].
    ///
    /// # Errors
    /// As [`in_mode`](Self::in_mode).
    pub fn of<M: Module>(model: &M) -> Result<Self> {
        Self::in_mode(model, Mode::Train)
    }

    /// Reads the handles of `model`'s tensors.
    ///
    /// Parameters that burn has not initialized yet are initialized, in visit order, as their
    /// first use would do.
    ///
    /// # Errors
    /// [`Error::NoParameters`], [`Error::ParameterDType`], [`Error::DeviceMismatch`],
    /// [`Error::TiedParametersDiffer`].
    pub fn in_mode<M: Module>(model: &M, mode: Mode) -> Result<Self> {
        let mut visitor = Visitor::default();
        model.valid().visit(&mut visitor);
        if let Some(error) = visitor.error {
            return Err(error);
        }
        let (Some(device), Some(dtype)) = (visitor.device, visitor.dtype) else {
            return Err(Error::NoParameters);
        };
        let space = ParamSpace::new(visitor.parts, dtype, &device);
        if space.n_params() == 0 {
            return Err(Error::NoParameters);
        }
        Ok(Self {
            space: Arc::new(space),
            params: visitor.params,
            state: visitor.state,
            slots: Arc::new(visitor.seen.into_iter().map(|(id, seen)| (id, seen.slot)).collect()),
            mode,
            noise_of: NoiseOf::default(),
            norms: visitor.norms.into(),
        })
    }

    /// The mode in which the model is differentiated.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The state with the noise of measurement number `measurement` of an estimator.
    pub(crate) fn with_measurement(mut self, measurement: u64) -> Self {
        self.noise_of.measurement = measurement;
        self
    }

    /// The state with the noise of operator number `operator` of its measurement.
    pub(crate) fn with_operator(&self, operator: usize) -> Self {
        let noise_of = NoiseOf { operator: operator as u64, ..self.noise_of };
        Self { noise_of, ..self.clone() }
    }

    /// The number of the operator whose noise the state has.
    pub(crate) fn operator(&self) -> usize {
        self.noise_of.operator as usize
    }

    /// The seed of random tensor number `index`, in the mode that has noise.
    pub(crate) fn noise_seed(&self, index: usize) -> Option<u64> {
        match self.mode {
            Mode::Train | Mode::Eval => None,
            Mode::TrainWithNoise { seed } => Some(self.noise_of.seed(seed, index)),
        }
    }

    /// State slots of the running means of batch normalizations in training.
    pub(crate) fn training_means(&self) -> Vec<usize> {
        self.norms.iter().filter(|n| n.is_training).filter_map(|n| n.mean).collect()
    }

    /// Whether state slot `slot` holds running statistics.
    pub(crate) fn is_running_statistic(&self, slot: usize) -> bool {
        self.norms.iter().any(|n| n.mean == Some(slot) || n.variance == Some(slot))
    }

    /// The space of the trainable parameters.
    pub fn space(&self) -> &Arc<ParamSpace> {
        &self.space
    }

    /// The trainable parameters as one vector.
    pub fn params(&self) -> ParamVector {
        self.space.join(self.params.clone())
    }

    /// The state with other values of the trainable parameters.
    pub(crate) fn with_params(&self, params: &ParamVector) -> Self {
        Self { params: self.space.split(params), ..self.clone() }
    }

    pub(crate) fn slot(&self, id: ParamId) -> Option<Slot> {
        self.slots.get(&id).copied()
    }
}

struct Seen {
    slot: Slot,
    name: String,
}

#[derive(Default)]
struct Visitor {
    path: Vec<String>,
    /// The type that declares the field being visited, for each element of `path`.
    containers: Vec<String>,
    parts: Vec<(String, Vec<usize>)>,
    params: Vec<DispatchTensor>,
    state: Vec<DispatchTensor>,
    seen: HashMap<ParamId, Seen>,
    device: Option<Device>,
    dtype: Option<DType>,
    norms: Vec<Norm>,
    error: Option<Error>,
}

/// How burn names the fields of its batch normalization to visitors.
const BATCH_NORM: &str = "Struct:BatchNorm";

impl Visitor {
    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn see(&mut self, id: ParamId, slot: Slot, tensor: DispatchTensor) {
        match slot {
            Slot::Param(_) => self.params.push(tensor),
            Slot::State(_) => self.state.push(tensor),
        }
        let name = self.path.join(".");
        self.seen.insert(id, Seen { slot, name });
    }

    /// The batch normalization that the field being visited belongs to, and the field.
    fn norm_field(&mut self) -> Option<(&mut Norm, String)> {
        if self.containers.last().is_none_or(|c| c != BATCH_NORM) {
            return None;
        }
        let (field, parents) = self.path.split_last()?;
        let path = parents.join(".");
        if self.norms.last().is_none_or(|norm| norm.path != path) {
            self.norms.push(Norm { path, ..Norm::default() });
        }
        Some((self.norms.last_mut()?, field.clone()))
    }

    fn next_state(&self) -> Slot {
        Slot::State(self.state.len())
    }

    fn check_trainable<const D: usize>(&mut self, tensor: &Tensor<D>) {
        let (name, device) = (self.path.join("."), tensor.device());
        let expected = self.device.get_or_insert_with(|| device.clone()).clone();
        if device != expected {
            let (found, expected) = (format!("{device:?}"), format!("{expected:?}"));
            self.fail(Error::DeviceMismatch { name: name.clone(), found, expected });
        }
        let dtype = tensor.dtype();
        let expected = *self.dtype.get_or_insert(dtype);
        let supported = matches!(dtype, DType::F32 | DType::F64);
        if !supported || dtype != expected {
            let expected = if supported { format!("{expected:?}") } else { "F32 or F64".into() };
            self.fail(Error::ParameterDType { name, dtype: format!("{dtype:?}"), expected });
        }
    }

    /// A second parameter with the id of an earlier one is the same parameter, if it has the same
    /// value.
    fn check_tied<const D: usize>(&mut self, id: ParamId, tensor: &Tensor<D>) {
        let Some(seen) = self.seen.get(&id) else { return };
        let handle = match seen.slot {
            Slot::Param(i) => self.params[i].clone(),
            Slot::State(i) => self.state[i].clone(),
        };
        let same = || {
            let first = Tensor::<D>::from_dispatch(handle);
            if first.dims() != tensor.dims() || first.device() != tensor.device() {
                return false;
            }
            first
                .equal(tensor.clone())
                .all()
                .try_into_data()
                .is_ok_and(|d| d.iter::<bool>().all(|b| b))
        };
        if !same() {
            let (first, second) = (seen.name.clone(), self.path.join("."));
            self.fail(Error::TiedParametersDiffer { first, second });
        }
    }
}

impl ModuleVisitor for Visitor {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.into());
        self.containers.push(container.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        // `valid()` has switched the flag off; `train()` says what it is in training.
        let enabled = flag.clone().train().is_enabled();
        if let Some((norm, _)) = self.norm_field() {
            norm.is_training = enabled;
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // `valid()` has put the model on a plain device; `train()` says what it would train.
        let trainable = param.clone().train().is_require_grad();
        let tensor = param.base();
        if self.seen.contains_key(&param.id) {
            return self.check_tied(param.id, &tensor);
        }
        let slot = if trainable {
            self.check_trainable(&tensor);
            self.parts.push((self.path.join("."), tensor.dims().to_vec()));
            Slot::Param(self.params.len())
        } else {
            self.next_state()
        };
        if let Slot::State(i) = slot
            && let Some((norm, field)) = self.norm_field()
        {
            match field.as_str() {
                "running_mean" => norm.mean = Some(i),
                "running_var" => norm.variance = Some(i),
                _ => {}
            }
        }
        self.see(param.id, slot, tensor.into_dispatch());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if !self.seen.contains_key(&param.id) {
            self.see(param.id, self.next_state(), param.base().into_dispatch());
        }
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        if !self.seen.contains_key(&param.id) {
            self.see(param.id, self.next_state(), param.base().into_dispatch());
        }
    }
}
