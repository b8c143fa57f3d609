//! The ways in which an operation runs on k copies, and how the common ones are applied.

use burn_backend::Shape;
use burn_ir::{
    BaseOperationIr as Base, NumericOperationIr as Numeric, OperationIr, ReduceDimOpIr, ReduceOpIr,
    TensorIr, TensorStatus,
};

use super::axes::shift;
use super::copies::{Copies, times};
use super::table::lane;

/// How k copies of an operation run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lane {
    /// Element by element: as it is on `[k, ..]`; what is not batched is `[1, ..]`.
    Elementwise,
    /// Its axes move by one; what is not batched is expanded to `[k, ..]`.
    Shifted,
    /// A reduction of everything: of each row of `[k, n]`.
    Rows,
    /// Independent along the first axis: as it is on `[k·n, ..]`.
    Folded,
    /// A form of its own; `None` where that does not serve and the copies are looped over.
    Custom(fn(&mut Copies<'_>) -> Option<Vec<TensorIr>>),
    /// Looped over the copies.
    Loop,
}

/// The outputs `[k, ..]`; `None` if the copies have to be looped over.
pub(super) fn apply(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    match lane(cx.op) {
        Lane::Elementwise => Some(elementwise(cx)),
        Lane::Shifted => Some(shifted(cx)),
        Lane::Rows => rows(cx),
        Lane::Folded => Some(folded(cx)),
        Lane::Custom(form) => form(cx),
        Lane::Loop => None,
    }
}

fn elementwise(cx: &mut Copies<'_>) -> Vec<TensorIr> {
    let rank = (0..cx.n_inputs()).map(|i| cx.shape(i).num_dims()).max().unwrap_or(0);
    let inputs: Vec<TensorIr> = (0..cx.n_inputs()).map(|i| cx.ranked(i, rank)).collect();
    cx.lifted(cx.op.clone(), &inputs)
}

pub(super) fn shifted(cx: &mut Copies<'_>) -> Vec<TensorIr> {
    let inputs: Vec<TensorIr> = (0..cx.n_inputs()).map(|i| cx.all(i)).collect();
    let mut op = cx.op.clone();
    shift(&mut op);
    cx.lifted(op, &inputs)
}

fn folded(cx: &mut Copies<'_>) -> Vec<TensorIr> {
    let inputs: Vec<TensorIr> = (0..cx.n_inputs()).map(|i| cx.folded(i, 0)).collect();
    let shapes: Vec<Shape> = cx.op.outputs().map(|t| times(cx.k, &t.shape, 0)).collect();
    let outputs = super::push_as(cx.emit, cx.op.clone(), &inputs, &shapes);
    outputs.iter().map(|y| cx.unfold(y, 0)).collect()
}

/// `[k, ..]` as `[k, n]`, reduced along its rows to `[k, 1]`. Nothing has no largest element, which
/// backends answer each in its way.
fn rows(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let n = cx.shape(0).num_elements();
    if n == 0 {
        return None;
    }
    let x = cx.input(0);
    let input = cx.emit.reshape(&x, [cx.k, n].into());
    let mut out = cx.emit.fresh(cx.op.outputs().next()?);
    (out.shape, out.status) = ([cx.k, 1].into(), TensorStatus::NotInit);
    let along = ReduceDimOpIr { input, out, axis: 1, accumulator_len: 1 };
    Some(vec![cx.emit.push(along_rows(cx.op, along)?)])
}

/// A reduction of everything as one along an axis.
fn along_rows(op: &OperationIr, along: ReduceDimOpIr) -> Option<OperationIr> {
    let base = |op: &Base| match op {
        Base::All(ReduceOpIr { .. }) => Some(Base::AllDim(along.clone())),
        Base::Any(ReduceOpIr { .. }) => Some(Base::AnyDim(along.clone())),
        _ => None,
    };
    let numeric = |op: &Numeric| match op {
        Numeric::Sum(_) => Some(Numeric::SumDim(along.clone())),
        Numeric::Mean(_) => Some(Numeric::MeanDim(along.clone())),
        Numeric::Prod(_) => Some(Numeric::ProdDim(along.clone())),
        Numeric::Max(_) => Some(Numeric::MaxDim(along.clone())),
        Numeric::Min(_) => Some(Numeric::MinDim(along.clone())),
        Numeric::MaxAbs(_) => Some(Numeric::MaxAbsDim(along.clone())),
        _ => None,
    };
    match op {
        OperationIr::BaseFloat(op) => base(op).map(OperationIr::BaseFloat),
        OperationIr::BaseInt(op) => base(op).map(OperationIr::BaseInt),
        OperationIr::BaseBool(op) => base(op).map(OperationIr::BaseBool),
        OperationIr::NumericFloat(t, op) => numeric(op).map(|op| OperationIr::NumericFloat(*t, op)),
        OperationIr::NumericInt(t, op) => numeric(op).map(|op| OperationIr::NumericInt(*t, op)),
        _ => None,
    }
}

/// One operation per copy, and the results stacked.
pub(super) fn looped(cx: &mut Copies<'_>) -> Vec<TensorIr> {
    let all: Vec<TensorIr> = (0..cx.n_inputs()).map(|i| cx.input(i)).collect();
    let mut results: Vec<Vec<TensorIr>> = vec![Vec::new(); cx.op.outputs().count()];
    for copy in 0..cx.k {
        let inputs: Vec<TensorIr> =
            all.iter().enumerate().map(|(i, x)| one_of(cx, i, x, copy)).collect();
        for (results, y) in results.iter_mut().zip(cx.one_copy(&inputs)) {
            results.push(cx.emit.reshape(&y, super::with_axis(1, &y.shape)));
        }
    }
    let stacked = |parts: Vec<TensorIr>| match parts.as_slice() {
        [part] => part.clone(),
        _ => cx.emit.cat(parts, 0),
    };
    results.into_iter().map(stacked).collect()
}

/// Number `copy` of the copies `x` of input number `i`.
fn one_of(cx: &mut Copies<'_>, i: usize, x: &TensorIr, copy: usize) -> TensorIr {
    if !cx.batched(i) {
        return x.clone();
    }
    let shape = cx.shape(i);
    let slice = cx.emit.slice(x, 0, copy..copy + 1);
    cx.emit.reshape(&slice, shape)
}
