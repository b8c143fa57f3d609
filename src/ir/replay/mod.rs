//! Runs burn-ir operations on any burn backend.
//!
//! burn-router's interpreter needs `BackendIr`, which neither `Autodiff<_>` nor `Dispatch`
//! implements, so the crate has its own, generic over `B: Backend`. It is used twice: on
//! `Autodiff<CaptureBackend>` to differentiate a graph, on `Dispatch` to execute one.
//!
//! Tensor ids index a dense table of slots. An input whose status is `ReadWrite` is moved out of
//! its slot (its last use, so that backends may work in place), any other is cloned (a handle).

mod activation;
mod base;
mod float;
mod int_bool;
mod module;
mod numeric;

use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn_backend::{Backend, Shape, Slice, TensorData, TensorMetadata};
use burn_dispatch::{Dispatch, DispatchTensor};
use burn_ir::{OperationIr, TensorIr, TensorStatus};

/// A tensor of one of the three kinds that programs work on.
pub(crate) enum Value<B: Backend> {
    Float(FloatTensor<B>),
    Int(IntTensor<B>),
    Bool(BoolTensor<B>),
}

impl<B: Backend> Clone for Value<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Float(t) => Self::Float(t.clone()),
            Self::Int(t) => Self::Int(t.clone()),
            Self::Bool(t) => Self::Bool(t.clone()),
        }
    }
}

impl<B: Backend> std::fmt::Debug for Value<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Float(_) => "Value::Float",
            Self::Int(_) => "Value::Int",
            Self::Bool(_) => "Value::Bool",
        })
    }
}

impl<B: Backend> Value<B> {
    /// Uploads recorded data to `device`.
    pub fn from_data(data: TensorData, device: &B::Device) -> Self {
        let dtype = data.dtype();
        if dtype.is_float() {
            Self::Float(B::float_from_data(data, device))
        } else if dtype.is_bool() {
            Self::Bool(B::bool_from_data(data, device))
        } else {
            Self::Int(B::int_from_data(data, device))
        }
    }

    /// The float tensor, if it is one.
    pub fn into_float(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Float(t) => Some(t),
            Self::Int(_) | Self::Bool(_) => None,
        }
    }
}

impl Value<Dispatch> {
    /// A tensor as the kind that its dtype says.
    pub fn of(tensor: DispatchTensor) -> Self {
        let dtype = tensor.dtype();
        if dtype.is_float() {
            Self::Float(tensor)
        } else if dtype.is_bool() {
            Self::Bool(tensor)
        } else {
            Self::Int(tensor)
        }
    }

    pub fn into_tensor(self) -> DispatchTensor {
        match self {
            Self::Float(t) | Self::Int(t) | Self::Bool(t) => t,
        }
    }

    pub fn reshape(self, shape: Shape) -> Self {
        match self {
            Self::Float(t) => Self::Float(Dispatch::float_reshape(t, shape)),
            Self::Int(t) => Self::Int(Dispatch::int_reshape(t, shape)),
            Self::Bool(t) => Self::Bool(Dispatch::bool_reshape(t, shape)),
        }
    }

    /// The slices at `indices` along the first axis. Not by burn's `select`: what burn-flex 0.22.1
    /// selects from masks has the dtype of integers.
    pub fn select(&self, indices: &[usize]) -> Option<Self> {
        let slice = |&i: &usize| {
            let range = [Slice::from(i..i + 1)];
            match self.clone() {
                Self::Float(t) => Dispatch::float_slice(t, &range),
                Self::Int(t) => Dispatch::int_slice(t, &range),
                Self::Bool(t) => Dispatch::bool_slice(t, &range),
            }
        };
        Self::cat(indices.iter().map(slice).collect())
    }

    /// Tensors of one kind, joined along the first axis.
    pub fn cat(tensors: Vec<DispatchTensor>) -> Option<Self> {
        match Self::of(tensors.first()?.clone()) {
            value if tensors.len() == 1 => Some(value),
            Self::Float(_) => Some(Self::Float(Dispatch::float_cat(tensors, 0))),
            Self::Int(_) => Some(Self::Int(Dispatch::int_cat(tensors, 0))),
            Self::Bool(_) => Some(Self::Bool(Dispatch::bool_cat(tensors, 0))),
        }
    }
}

/// The slots of one run.
pub(crate) struct Replay<B: Backend> {
    slots: Vec<Option<Value<B>>>,
    pub device: B::Device,
}

impl<B: Backend> Replay<B> {
    pub fn new(n_slots: usize, device: B::Device) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(n_slots, || None);
        Self { slots, device }
    }

    /// Runs one operation whose inputs are in their slots.
    ///
    /// The graph has been checked against the rule table before, so every operation without
    /// replay is unreachable here; see [`module`] for the list.
    pub fn run(&mut self, op: &OperationIr) {
        match op {
            OperationIr::BaseFloat(op) => base::run_float(self, op),
            OperationIr::BaseInt(op) => base::run_int(self, op),
            OperationIr::BaseBool(op) => base::run_bool(self, op),
            OperationIr::NumericFloat(_, op) => numeric::run_float(self, op),
            OperationIr::NumericInt(_, op) => numeric::run_int(self, op),
            OperationIr::Bool(op) => int_bool::run_bool(self, op),
            OperationIr::Int(op) => int_bool::run_int(self, op),
            OperationIr::Float(_, op) => float::run(self, op),
            OperationIr::Module(op) => module::run(self, op),
            OperationIr::Activation(op) => activation::run(self, op),
            // Constants are graph inputs and lifetimes are the slots' business.
            OperationIr::Init(_) | OperationIr::Drop(_) => {}
            OperationIr::Custom(_) | OperationIr::Distributed(_) => {
                unreachable!("checked against the rule table before replay")
            }
        }
    }

    pub fn set(&mut self, tensor: &TensorIr, value: Value<B>) {
        self.slots[tensor.id.value() as usize] = Some(value);
    }

    pub fn get(&mut self, tensor: &TensorIr) -> Value<B> {
        let slot = &mut self.slots[tensor.id.value() as usize];
        let value = match tensor.status {
            TensorStatus::ReadWrite => slot.take(),
            TensorStatus::ReadOnly | TensorStatus::NotInit => slot.clone(),
        };
        value.expect("operations come after the operations that they read")
    }

    /// Frees a slot after the last use of its tensor.
    pub fn free(&mut self, slot: usize) {
        self.slots[slot] = None;
    }

    pub fn float(&mut self, tensor: &TensorIr) -> FloatTensor<B> {
        match self.get(tensor) {
            Value::Float(t) => t,
            other => unreachable!("{tensor:?} is a float tensor, found {other:?}"),
        }
    }

    fn int(&mut self, tensor: &TensorIr) -> IntTensor<B> {
        match self.get(tensor) {
            Value::Int(t) => t,
            other => unreachable!("{tensor:?} is an int tensor, found {other:?}"),
        }
    }

    fn bool(&mut self, tensor: &TensorIr) -> BoolTensor<B> {
        match self.get(tensor) {
            Value::Bool(t) => t,
            other => unreachable!("{tensor:?} is a bool tensor, found {other:?}"),
        }
    }

    pub fn set_float(&mut self, tensor: &TensorIr, value: FloatTensor<B>) {
        self.set(tensor, Value::Float(value));
    }

    fn set_int(&mut self, tensor: &TensorIr, value: IntTensor<B>) {
        self.set(tensor, Value::Int(value));
    }

    fn set_bool(&mut self, tensor: &TensorIr, value: BoolTensor<B>) {
        self.set(tensor, Value::Bool(value));
    }
}
