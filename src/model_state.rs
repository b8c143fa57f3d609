//! Model -> [`ModelState`]: handles of its tensors, told apart into trainable parameters and the
//! rest.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, DType, Device, Int, Tensor};
use burn_dispatch::DispatchTensor;

use crate::error::{Error, Result};
use crate::params::{ParamSpace, ParamVector};

/// Place of a model tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    Param(usize),
    State(usize),
}

/// The tensors of a model at one moment, as handles: nothing is copied, and training on does not
/// change them.
///
/// Trainable parameters are those that require gradients, in visit order; on a plain device those
/// that would after `Module::train`. Everything else that `Module::visit` shows (frozen
/// parameters, running statistics, integer tensors) is state.
#[derive(Clone, Debug)]
pub struct ModelState {
    space: Arc<ParamSpace>,
    pub(crate) params: Vec<DispatchTensor>,
    pub(crate) state: Vec<DispatchTensor>,
    slots: HashMap<ParamId, Slot>,
}

impl ModelState {
    /// Reads the handles of `model`'s tensors.
    ///
    /// Parameters that burn has not initialized yet are initialized, in visit order, as their
    /// first use would do.
    ///
    /// # Errors
    /// [`Error::NoParameters`], [`Error::ParameterDType`], [`Error::DeviceMismatch`],
    /// [`Error::TiedParametersDiffer`].
    pub fn of<M: Module>(model: &M) -> Result<Self> {
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
            slots: visitor.seen.into_iter().map(|(id, seen)| (id, seen.slot)).collect(),
        })
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
    parts: Vec<(String, Vec<usize>)>,
    params: Vec<DispatchTensor>,
    state: Vec<DispatchTensor>,
    seen: HashMap<ParamId, Seen>,
    device: Option<Device>,
    dtype: Option<DType>,
    error: Option<Error>,
}

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
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
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
