//! What a row of the table sees: an operation, its inputs with or without the leading axis, and
//! the ways in which these are laid out.

use burn_backend::Shape;
use burn_ir::{OperationIr, TensorIr};

use super::push_as;
use super::table::read_for_shape;
use crate::ir::emitter::Emitter;
use crate::ir::rewrite_tensors;

/// `[n, ..shape]`.
pub(super) fn with_axis(n: usize, shape: &Shape) -> Shape {
    let mut dims = shape.as_slice().to_vec();
    dims.insert(0, n);
    dims.into()
}

/// The shape with `shape[axis]` times `k`.
pub(super) fn times(k: usize, shape: &Shape, axis: usize) -> Shape {
    let mut shape = shape.clone();
    shape[axis] *= k;
    shape
}

/// How an input of the operation stands in the batched graph.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The same for all copies.
    Once,
    /// With the leading axis.
    Batched,
    /// Read for its shape alone: any tensor of that shape will do.
    ShapeOnly { has_axis: bool },
}

struct Operand {
    tensor: TensorIr,
    /// Of one copy.
    shape: Shape,
    form: Form,
}

/// An operation of which k copies are to run.
pub(super) struct Copies<'a> {
    pub op: &'a OperationIr,
    pub emit: &'a mut Emitter,
    pub k: usize,
    inputs: Vec<Operand>,
}

impl<'a> Copies<'a> {
    /// `batched` has the input with the leading axis, where there is one.
    pub fn new(
        op: &'a OperationIr,
        emit: &'a mut Emitter,
        k: usize,
        batched: Vec<Option<TensorIr>>,
    ) -> Self {
        let shapes_only = read_for_shape(op);
        let operand = |(i, (input, batched)): (usize, (&TensorIr, Option<TensorIr>))| Operand {
            shape: input.shape.clone(),
            form: match &batched {
                has_axis if shapes_only.contains(&i) => {
                    Form::ShapeOnly { has_axis: has_axis.is_some() }
                }
                Some(_) => Form::Batched,
                None => Form::Once,
            },
            tensor: batched.unwrap_or_else(|| input.clone()),
        };
        let inputs = op.inputs().zip(batched).enumerate().map(operand).collect();
        Self { op, emit, k, inputs }
    }

    pub fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Whether input number `i` has the leading axis.
    pub fn batched(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(|input| input.form == Form::Batched)
    }

    pub fn any_batched(&self) -> bool {
        (0..self.n_inputs()).any(|i| self.batched(i))
    }

    /// The shape of one copy of input number `i`.
    pub fn shape(&self, i: usize) -> Shape {
        self.inputs[i].shape.clone()
    }

    /// The shape of one copy of output number `i`.
    pub fn out_shape(&self, i: usize) -> Shape {
        self.op.outputs().nth(i).expect("the operation has this output").shape.clone()
    }

    /// Input number `i` as it is: with the leading axis if it is batched.
    pub fn input(&mut self, i: usize) -> TensorIr {
        let input = &self.inputs[i];
        match input.form {
            Form::ShapeOnly { has_axis: true } => {
                self.emit.blank(input.shape.clone(), input.tensor.dtype)
            }
            Form::Once | Form::Batched | Form::ShapeOnly { has_axis: false } => {
                input.tensor.clone()
            }
        }
    }

    /// Input number `i` as `[k or 1, 1, .., ..shape]` of rank 1 + `rank`, to be broadcast.
    pub fn ranked(&mut self, i: usize, rank: usize) -> TensorIr {
        let shape = self.shape(i);
        let mut dims = vec![1; 1 + rank - shape.num_dims()];
        dims.extend_from_slice(&shape);
        if self.batched(i) {
            dims[0] = self.k;
        }
        let (tensor, dims) = (self.input(i), Shape::from(dims));
        if tensor.shape == dims { tensor } else { self.emit.reshape(&tensor, dims) }
    }

    /// Input number `i` as `[k, ..shape]`.
    pub fn all(&mut self, i: usize) -> TensorIr {
        let shape = with_axis(self.k, &self.inputs[i].shape);
        match self.inputs[i].form {
            Form::Batched => self.inputs[i].tensor.clone(),
            Form::ShapeOnly { .. } => self.emit.blank(shape, self.inputs[i].tensor.dtype),
            Form::Once => {
                let one = self.ranked(i, shape.num_dims() - 1);
                self.emit.broadcast_to(&one, &shape)
            }
        }
    }

    /// Input number `i` with its copies one after the other along `axis` of one copy.
    pub fn folded(&mut self, i: usize, axis: usize) -> TensorIr {
        if let Form::ShapeOnly { .. } = self.inputs[i].form {
            let shape = times(self.k, &self.inputs[i].shape, axis);
            return self.emit.blank(shape, self.inputs[i].tensor.dtype);
        }
        let all = self.all(i);
        self.fold(&all, axis)
    }

    /// `[k, .., n, ..]` as `[.., k·n, ..]`, where n has number `axis` in one copy.
    pub fn fold(&mut self, x: &TensorIr, axis: usize) -> TensorIr {
        let mut dims = x.shape.as_slice()[1..].to_vec();
        dims[axis] *= x.shape[0];
        let moved = if axis == 0 {
            x.clone()
        } else {
            let mut axes: Vec<usize> = (1..x.shape.num_dims()).collect();
            axes.insert(axis, 0);
            self.emit.permute(x, axes)
        };
        self.emit.reshape(&moved, dims.into())
    }

    /// The inverse of `fold`.
    pub fn unfold(&mut self, x: &TensorIr, axis: usize) -> TensorIr {
        let mut dims = x.shape.as_slice().to_vec();
        dims[axis] /= self.k;
        dims.insert(axis, self.k);
        let parts = self.emit.reshape(x, dims.into());
        if axis == 0 {
            return parts;
        }
        let mut axes: Vec<usize> = (0..parts.shape.num_dims()).collect();
        axes.remove(axis);
        axes.insert(0, axis);
        self.emit.permute(&parts, axes)
    }

    /// `op` on `inputs`, with outputs `[k, ..]`.
    pub fn lifted(&mut self, op: OperationIr, inputs: &[TensorIr]) -> Vec<TensorIr> {
        let shapes: Vec<Shape> = op.outputs().map(|t| with_axis(self.k, &t.shape)).collect();
        push_as(self.emit, op, inputs, &shapes)
    }

    /// `op` on `inputs`, with one output of this shape.
    pub fn shaped(&mut self, op: OperationIr, inputs: &[TensorIr], shape: Shape) -> TensorIr {
        push_as(self.emit, op, inputs, &[shape]).remove(0)
    }

    /// The operation itself, for one copy: `inputs` as they were.
    pub fn one_copy(&mut self, inputs: &[TensorIr]) -> Vec<TensorIr> {
        let shapes: Vec<Shape> = self.op.outputs().map(|t| t.shape.clone()).collect();
        push_as(self.emit, self.op.clone(), inputs, &shapes)
    }

    /// The operation as it is, for all copies at once: no input is batched.
    pub fn push_once(&mut self) {
        let inputs: Vec<TensorIr> = (0..self.n_inputs()).map(|i| self.input(i)).collect();
        let mut op = self.op.clone();
        rewrite_tensors(&mut op, |position, tensor| {
            if let Some(input) = inputs.get(position) {
                *tensor = input.clone();
            }
        });
        self.emit.ops.push(op);
    }
}
