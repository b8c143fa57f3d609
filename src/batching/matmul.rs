//! Products of matrices: copies of the left factor become rows of one product.

use burn_backend::Shape;
use burn_ir::TensorIr;

use super::copies::Copies;

/// `[k, .., m, c] · [k, .., c, n]`, where a factor that is not batched is broadcast, except that
/// `[k, .., m, c] · [c, n]` is the one product `[k·..·m, c] · [c, n]`.
pub(super) fn matmul(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let (left, right) = (cx.shape(0), cx.shape(1));
    let batch = right.num_dims().checked_sub(2)?;
    if !cx.batched(1) && right.as_slice()[..batch].iter().all(|&n| n == 1) {
        return Some(vec![by_rows(cx, &left, &right)]);
    }
    let rank = left.num_dims().max(right.num_dims());
    let inputs = [cx.ranked(0, rank), cx.ranked(1, rank)];
    Some(cx.lifted(cx.op.clone(), &inputs))
}

fn by_rows(cx: &mut Copies<'_>, left: &Shape, right: &Shape) -> TensorIr {
    let [c, n] = [right[right.num_dims() - 2], right[right.num_dims() - 1]];
    let rows = cx.k * left.as_slice()[..left.num_dims() - 1].iter().product::<usize>();
    let (x, w) = (cx.input(0), cx.input(1));
    let x = cx.emit.reshape(&x, [rows, c].into());
    let w = if right.num_dims() == 2 { w } else { cx.emit.reshape(&w, [c, n].into()) };
    let y = cx.shaped(cx.op.clone(), &[x, w], [rows, n].into());
    let shape = super::with_axis(cx.k, &cx.out_shape(0));
    cx.emit.reshape(&y, shape)
}

/// `[k, .., in] · W + b`: the operation takes any rank, but one matrix and one bias; several are
/// written out.
pub(super) fn linear(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    if !cx.batched(1) && !cx.batched(2) {
        let inputs: Vec<TensorIr> = (0..cx.n_inputs()).map(|i| cx.input(i)).collect();
        return Some(cx.lifted(cx.op.clone(), &inputs));
    }
    let rank = cx.shape(0).num_dims();
    if rank < 2 {
        return None;
    }
    let (x, w) = (cx.ranked(0, rank), cx.ranked(1, rank));
    let product = cx.emit.matmul(&x, &w);
    if cx.n_inputs() < 3 {
        return Some(vec![product]);
    }
    let b = cx.ranked(2, rank);
    Some(vec![cx.emit.add(&product, &b)])
}

/// `g Wᵀ`: the gradients of all copies, if they share the matrix.
pub(super) fn linear_x_backward(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    if cx.batched(0) {
        return None;
    }
    let inputs = [cx.input(0), cx.input(1)];
    Some(cx.lifted(cx.op.clone(), &inputs))
}

/// The sum of `[k, .., out]` over all but its first and last axis.
pub(super) fn linear_bias_backward(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let (g, out) = (cx.input(0), cx.out_shape(0)[0]);
    let rows = g.shape.num_elements().checked_div(cx.k * out)?;
    let g = cx.emit.reshape(&g, [cx.k, rows, out].into());
    let sum = cx.emit.sum_dim(&g, 1);
    Some(vec![cx.emit.reshape(&sum, [cx.k, out].into())])
}
