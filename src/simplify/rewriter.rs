//! Appends operations to a new graph: rules first, then common subexpressions.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use burn_backend::{DType, Shape};
use burn_ir::{
    ActivationOperationIr as Activation, BaseOperationIr as Base, BinaryOpIr, CatOpIr,
    FloatOperationIr as Float, MatmulOpIr, NumericOperationIr as Numeric, OperationIr, ScalarIr,
    ScalarOpIr, ShapeOpIr, SwapDimsOpIr, TensorId, TensorIr, TensorStatus, UnaryOpIr,
};

use super::arithmetic;
use crate::ir::{TensorGraph, rewrite_tensors};

/// A shorter form of the (only) output of an operation, whose inputs are rewritten already.
pub(super) type Rule = fn(&mut Rewriter, &OperationIr) -> Option<TensorIr>;

/// One of `BaseFloat`, `BaseInt`, `BaseBool`.
pub(super) type Wrap = fn(Base) -> OperationIr;

/// Walks through `graph` with `rules`; what is dead afterwards is removed.
pub(super) fn rewrite(graph: TensorGraph, rules: &'static [Rule]) -> TensorGraph {
    let mut cx = Rewriter::new(&graph, rules);
    for op in graph.ops {
        cx.add(op);
    }
    let outputs = graph.outputs.into_iter().map(|t| cx.resolve(t)).collect();
    TensorGraph { inputs: graph.inputs, ops: cx.ops, outputs }.without_dead_code()
}

/// The new graph so far.
pub(super) struct Rewriter {
    ops: Vec<OperationIr>,
    rules: &'static [Rule],
    /// What stands for a tensor of the old graph.
    replaced: HashMap<TensorId, TensorIr>,
    /// The operation that makes a tensor of the new graph.
    made_by: HashMap<TensorId, usize>,
    /// Operations by their hash without the ids of their outputs.
    known: HashMap<u64, Vec<usize>>,
    /// Number of reads in the old graph, outputs included, of a tensor and all that it replaced.
    reads: HashMap<TensorId, usize>,
    /// Tensors all of whose elements are this number.
    constants: HashMap<TensorId, f64>,
    next_id: u64,
}

impl Rewriter {
    fn new(graph: &TensorGraph, rules: &'static [Rule]) -> Self {
        let mut reads = HashMap::new();
        for tensor in graph.ops.iter().flat_map(|op| op.inputs()).chain(&graph.outputs) {
            *reads.entry(tensor.id).or_insert(0) += 1;
        }
        Self {
            ops: Vec::with_capacity(graph.ops.len()),
            rules,
            replaced: HashMap::new(),
            made_by: HashMap::new(),
            known: HashMap::new(),
            reads,
            constants: HashMap::new(),
            next_id: graph.next_id(),
        }
    }

    fn resolve(&self, mut tensor: TensorIr) -> TensorIr {
        if let Some(new) = self.replaced.get(&tensor.id) {
            tensor = new.clone();
        }
        tensor.status = TensorStatus::ReadOnly;
        tensor
    }

    /// Appends `op`, or finds what stands for its outputs. Returns the first output.
    fn add(&mut self, mut op: OperationIr) -> Option<TensorIr> {
        let n_inputs = op.inputs().count();
        rewrite_tensors(&mut op, |position, tensor| {
            if position < n_inputs {
                *tensor = self.resolve(tensor.clone());
            }
        });
        let outputs: Vec<TensorIr> = op.outputs().cloned().collect();
        if let [out] = &outputs[..] {
            for rule in self.rules {
                let short = rule(self, &op).filter(|t| t.shape == out.shape);
                if let Some(short) = short.filter(|t| t.dtype == out.dtype) {
                    return Some(self.replace(out, &short));
                }
            }
        }
        let key = is_function(&op).then(|| key(&op));
        let hash = key.as_ref().map(hash_of);
        if let Some(found) = key.as_ref().and_then(|key| self.find(key)) {
            let old: Vec<TensorIr> = self.ops[found].outputs().cloned().collect();
            outputs.iter().zip(&old).for_each(|(new, old)| drop(self.replace(new, old)));
            return outputs.first().map(|out| self.resolve(out.clone()));
        }
        let index = self.ops.len();
        if let Some(hash) = hash {
            self.known.entry(hash).or_default().push(index);
        }
        self.made_by.extend(outputs.iter().map(|out| (out.id, index)));
        if let (Some(value), Some(out)) = (arithmetic::constant(self, &op), outputs.first()) {
            self.constants.insert(out.id, value);
        }
        self.ops.push(op);
        outputs.first().map(|out| self.resolve(out.clone()))
    }

    /// The operation of the new graph with this [`key`].
    fn find(&self, key: &OperationIr) -> Option<usize> {
        let same = |&i: &usize| self::key(&self.ops[i]) == *key;
        self.known.get(&hash_of(key))?.iter().copied().find(same)
    }

    /// relu(x), if the new graph has it.
    pub fn relu_of(&self, x: &TensorIr) -> Option<TensorIr> {
        let relu = UnaryOpIr::create(x.clone(), || TensorId::new(u64::MAX));
        let found = self.find(&key(&OperationIr::Activation(Activation::Relu(relu))))?;
        self.ops[found].outputs().next().cloned()
    }

    fn replace(&mut self, old: &TensorIr, new: &TensorIr) -> TensorIr {
        let new = self.resolve(new.clone());
        let readers = self.reads.get(&old.id).copied().unwrap_or(1);
        *self.reads.entry(new.id).or_insert(0) += readers;
        self.replaced.insert(old.id, new.clone());
        new
    }

    /// The operation that makes `tensor`; `None` for an input.
    pub fn made_by(&self, tensor: &TensorIr) -> Option<&OperationIr> {
        Some(&self.ops[*self.made_by.get(&tensor.id)?])
    }

    /// The number that all elements of `tensor` are, if that is known.
    pub fn constant(&self, tensor: &TensorIr) -> Option<f64> {
        self.constants.get(&tensor.id).copied()
    }

    /// Whether only one operation of the old graph reads `tensor`, or none because it is new.
    pub fn read_once(&self, tensor: &TensorIr) -> bool {
        self.reads.get(&tensor.id).is_none_or(|&reads| reads < 2)
    }

    fn emit(&mut self, make: impl FnOnce(TensorId) -> OperationIr) -> Option<TensorIr> {
        self.next_id += 1;
        let op = make(TensorId::new(self.next_id - 1));
        self.add(op)
    }

    pub fn reshape(&mut self, wrap: Wrap, x: &TensorIr, shape: Shape) -> Option<TensorIr> {
        let x = x.clone();
        self.emit(|id| wrap(Base::Reshape(ShapeOpIr::reshape(x, shape, || id))))
    }

    pub fn expand(&mut self, wrap: Wrap, x: &TensorIr, shape: Shape) -> Option<TensorIr> {
        let x = x.clone();
        self.emit(|id| wrap(Base::Expand(ShapeOpIr::expand(x, shape, || id))))
    }

    pub fn swap_dims(&mut self, wrap: Wrap, x: &TensorIr, a: usize, b: usize) -> Option<TensorIr> {
        let x = x.clone();
        self.emit(|id| wrap(Base::SwapDims(SwapDimsOpIr::create(x, a, b, || id))))
    }

    pub fn cat(&mut self, parts: Vec<TensorIr>, axis: usize) -> Option<TensorIr> {
        self.emit(|id| OperationIr::BaseFloat(Base::Cat(CatOpIr::create(parts, axis, || id))))
    }

    pub fn matmul(&mut self, x: &TensorIr, y: &TensorIr) -> Option<TensorIr> {
        let (x, y, dtype) = (x.clone(), y.clone(), x.dtype);
        self.emit(|id| OperationIr::Float(dtype, Float::Matmul(MatmulOpIr::create(x, y, || id))))
    }

    pub fn neg(&mut self, x: &TensorIr) -> Option<TensorIr> {
        let (x, dtype) = (x.clone(), x.dtype);
        self.emit(|id| OperationIr::NumericFloat(dtype, Numeric::Neg(UnaryOpIr::create(x, || id))))
    }

    pub fn mul_scalar(&mut self, x: &TensorIr, c: f64) -> Option<TensorIr> {
        let (x, dtype) = (x.clone(), x.dtype);
        let op = |id| ScalarOpIr::create(x, ScalarIr::Float(c), || id);
        self.emit(|id| OperationIr::NumericFloat(dtype, Numeric::MulScalar(op(id))))
    }

    pub fn relu_backward(&mut self, y: &TensorIr, g: &TensorIr) -> Option<TensorIr> {
        let (y, g) = (y.clone(), g.clone());
        let op = |id| Activation::ReluBackward(BinaryOpIr::create(y, g, || id));
        self.emit(|id| OperationIr::Activation(op(id)))
    }

    pub fn binary(
        &mut self,
        variant: fn(BinaryOpIr) -> Numeric,
        x: &TensorIr,
        y: &TensorIr,
    ) -> Option<TensorIr> {
        let (x, y, dtype) = (x.clone(), y.clone(), x.dtype);
        let op = |id| variant(BinaryOpIr::create(x, y, || id));
        self.emit(|id| OperationIr::NumericFloat(dtype, op(id)))
    }
}

/// Whether equal inputs give equal outputs.
fn is_function(op: &OperationIr) -> bool {
    !matches!(
        op,
        OperationIr::Float(_, Float::Random(_))
            | OperationIr::NumericFloat(_, Numeric::IntRandom(_))
            | OperationIr::NumericInt(_, Numeric::IntRandom(_))
            | OperationIr::Init(_)
            | OperationIr::Custom(_)
            | OperationIr::Drop(_)
            | OperationIr::Distributed(_)
    )
}

/// `op` without the ids of its outputs, the operands of sums and products in order of their ids.
fn key(op: &OperationIr) -> OperationIr {
    let mut op = op.clone();
    let n_inputs = op.inputs().count();
    rewrite_tensors(&mut op, |position, tensor| {
        tensor.status = TensorStatus::ReadOnly;
        if position >= n_inputs {
            tensor.id = TensorId::new(u64::MAX);
        }
    });
    if let OperationIr::NumericFloat(_, Numeric::Add(d) | Numeric::Mul(d))
    | OperationIr::NumericInt(_, Numeric::Add(d) | Numeric::Mul(d)) = &mut op
        && d.lhs.id > d.rhs.id
    {
        std::mem::swap(&mut d.lhs, &mut d.rhs);
    }
    op
}

fn hash_of(op: &OperationIr) -> u64 {
    let mut hasher = DefaultHasher::new();
    op.hash(&mut hasher);
    hasher.finish()
}

/// The wrapper and the operation, of any kind of tensor.
pub(super) fn base(op: &OperationIr) -> Option<(Wrap, &Base)> {
    match op {
        OperationIr::BaseFloat(base) => Some((OperationIr::BaseFloat, base)),
        OperationIr::BaseInt(base) => Some((OperationIr::BaseInt, base)),
        OperationIr::BaseBool(base) => Some((OperationIr::BaseBool, base)),
        _ => None,
    }
}

/// Scalars are folded only where a device rounds them once, to the dtype of the tensor.
pub(super) fn folds_scalars(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}
