//! Selection by indices: indices of copy i point behind those of the copies before it.

use burn_backend::Shape;
use burn_ir::{BaseOperationIr as Base, OperationIr, TensorIr};

use super::axes::shift;
use super::copies::{Copies, times, with_axis};

fn base(op: &OperationIr) -> &Base {
    match op {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => op,
        op => unreachable!("{op:?} is no base operation"),
    }
}

/// `[k, ..]` where a mask of all copies' shape is needed by some backends; the values broadcast.
pub(super) fn mask_where(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let rank = cx.out_shape(0).num_dims();
    let (x, value) = (cx.ranked(0, rank), cx.ranked(2, rank));
    let mask = cx.ranked(1, rank);
    let mask = cx.emit.broadcast_to(&mask, &with_axis(cx.k, &cx.out_shape(0)));
    Some(cx.lifted(cx.op.clone(), &[x, mask, value]))
}

/// `[k, 1, .., ..shape]` expanded to `[k, ..]`.
pub(super) fn expand(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let x = cx.ranked(0, cx.out_shape(0).num_dims());
    Some(cx.lifted(cx.op.clone(), &[x]))
}

/// All indices, those of copy i plus i · `step`, in one row.
fn indices_in_a_row(cx: &mut Copies<'_>, i: usize, step: usize) -> TensorIr {
    let indices = cx.all(i);
    let indices = cx.emit.offset_by_row(&indices, step);
    cx.emit.reshape(&indices, [indices.shape.num_elements()].into())
}

/// One table for all: the lines of all copies at once. One list for all: along the next axis.
/// Both batched: tables one after the other.
pub(super) fn select(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let Base::Select(d) = base(cx.op) else { return None };
    let axis = d.dim;
    if !cx.batched(1) {
        let mut op = cx.op.clone();
        shift(&mut op);
        let inputs = [cx.input(0), cx.input(1)];
        return Some(cx.lifted(op, &inputs));
    }
    let (table, step) =
        if cx.batched(0) { (cx.folded(0, axis), cx.shape(0)[axis]) } else { (cx.input(0), 0) };
    let lines = if step == 0 {
        let indices = cx.input(1);
        cx.emit.reshape(&indices, [indices.shape.num_elements()].into())
    } else {
        indices_in_a_row(cx, 1, step)
    };
    let shape = times(cx.k, &cx.out_shape(0), axis);
    let y = cx.shaped(cx.op.clone(), &[table, lines], shape);
    Some(vec![cx.unfold(&y, axis)])
}

/// As `select`: assigns to lines of tables one after the other.
pub(super) fn select_assign(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let Base::SelectAssign(d) = base(cx.op) else { return None };
    let axis = d.dim;
    if !cx.batched(1) {
        let mut op = cx.op.clone();
        shift(&mut op);
        let inputs = [cx.all(0), cx.input(1), cx.all(2)];
        return Some(cx.lifted(op, &inputs));
    }
    let lines = indices_in_a_row(cx, 1, cx.shape(0)[axis]);
    let inputs = [cx.folded(0, axis), lines, cx.folded(2, axis)];
    let shape = times(cx.k, &cx.out_shape(0), axis);
    let y = cx.shaped(cx.op.clone(), &inputs, shape);
    Some(vec![cx.unfold(&y, axis)])
}

/// The copies as the last axis, behind everything that indices address: `[.., k]`.
fn copies_last(cx: &mut Copies<'_>, i: usize) -> TensorIr {
    let all = cx.all(i);
    let mut axes: Vec<usize> = (1..all.shape.num_dims()).collect();
    axes.push(0);
    cx.emit.permute(&all, axes)
}

/// The inverse of `copies_last`.
fn copies_first(cx: &mut Copies<'_>, y: &TensorIr) -> TensorIr {
    let last = y.shape.num_dims() - 1;
    let axes = std::iter::once(last).chain(0..last).collect();
    cx.emit.permute(y, axes)
}

fn with_last(shape: &Shape, n: usize) -> Shape {
    let mut dims = shape.as_slice().to_vec();
    dims.push(n);
    dims.into()
}

/// Indices `[k, ..]` into one tensor, or the same indices into `[.., k]`.
pub(super) fn gather_nd(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    match (cx.batched(0), cx.batched(1)) {
        (true, true) => None,
        (false, _) => {
            let inputs = [cx.input(0), cx.input(1)];
            Some(cx.lifted(cx.op.clone(), &inputs))
        }
        (true, false) => {
            let inputs = [copies_last(cx, 0), cx.input(1)];
            let shape = with_last(&cx.out_shape(0), cx.k);
            let y = cx.shaped(cx.op.clone(), &inputs, shape);
            Some(vec![copies_first(cx, &y)])
        }
    }
}

/// Values `[.., k]` to the same places of `[.., k]`.
pub(super) fn scatter_nd(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    if cx.batched(1) {
        return None;
    }
    let inputs = [copies_last(cx, 0), cx.input(1), copies_last(cx, 2)];
    let shape = with_last(&cx.out_shape(0), cx.k);
    let y = cx.shaped(cx.op.clone(), &inputs, shape);
    Some(vec![copies_first(cx, &y)])
}

/// One table for all: the indices `[k·n, s]`. Several: tables `[k·v, d]` one after the other.
pub(super) fn embedding(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let indices = cx.all(1);
    let (weights, indices) = if cx.batched(0) {
        (cx.folded(0, 0), cx.emit.offset_by_row(&indices, cx.shape(0)[0]))
    } else {
        (cx.input(0), indices)
    };
    let indices = cx.fold(&indices, 0);
    let shape = times(cx.k, &cx.out_shape(0), 0);
    let y = cx.shaped(cx.op.clone(), &[weights, indices], shape);
    Some(vec![cx.unfold(&y, 0)])
}

/// Gradients of tables `[k·v, d]` one after the other.
pub(super) fn embedding_backward(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let indices = cx.all(2);
    let indices = cx.emit.offset_by_row(&indices, cx.shape(0)[0]);
    let indices = cx.fold(&indices, 0);
    let inputs = [cx.folded(0, 0), cx.folded(1, 0), indices];
    let shape = times(cx.k, &cx.out_shape(0), 0);
    let y = cx.shaped(cx.op.clone(), &inputs, shape);
    Some(vec![cx.unfold(&y, 0)])
}
