//! Batched matrix products that are one product of matrices.
//!
//! burn applies a dense layer to `[b, s, in]` as a product with a weight of shape `[1, in, out]`,
//! and its gradient is a batched product that is summed over the batch. Both are one product of
//! matrices with b · s rows. The sums over b and s are taken in another order, so the result may
//! differ by rounding, as it does between two libraries.

use burn_backend::Shape;
use burn_ir::{
    FloatOperationIr as Float, MatmulOpIr, NumericOperationIr as Numeric, OperationIr, TensorIr,
};

use super::rewriter::{Rewriter, Wrap};
use super::views::before_transpose;

const FLOAT: Wrap = OperationIr::BaseFloat;

/// The result of `op` by a product of two matrices.
pub(super) fn flatten(cx: &mut Rewriter, op: &OperationIr) -> Option<TensorIr> {
    match op {
        OperationIr::Float(_, Float::Matmul(d)) => one_weight(cx, d),
        OperationIr::NumericFloat(_, Numeric::SumDim(d)) => {
            summed(cx, &d.input, vec![d.axis], &d.out.shape)
        }
        OperationIr::NumericFloat(_, Numeric::SumDims(d)) => {
            summed(cx, &d.input, d.axes.clone(), &d.out.shape)
        }
        _ => None,
    }
}

/// x `[.., m, k]` · w `[1, .., k, n]`: rows of all batches in one matrix.
fn one_weight(cx: &mut Rewriter, d: &MatmulOpIr) -> Option<TensorIr> {
    let rank = d.out.shape.num_dims();
    let same_rank = d.lhs.shape.num_dims() == rank && d.rhs.shape.num_dims() == rank;
    if rank < 3 || !same_rank || d.lhs.dtype != d.out.dtype {
        return None;
    }
    if d.rhs.shape[..rank - 2].iter().any(|&n| n != 1) {
        return None;
    }
    let x = rows(cx, &d.lhs)?;
    let w = matrix(cx, &d.rhs)?;
    let product = cx.matmul(&x, &w)?;
    cx.reshape(FLOAT, &product, d.out.shape.clone())
}

/// Σ over all batches of a batched product, or of a sum of such products that nobody else reads.
fn summed(cx: &mut Rewriter, of: &TensorIr, mut axes: Vec<usize>, out: &Shape) -> Option<TensorIr> {
    if !cx.read_once(of) {
        return None;
    }
    match cx.made_by(of)?.clone() {
        OperationIr::NumericFloat(_, Numeric::SumDim(d)) => {
            axes.push(d.axis);
            summed(cx, &d.input, axes, out)
        }
        OperationIr::NumericFloat(_, Numeric::SumDims(d)) => {
            axes.extend(&d.axes);
            summed(cx, &d.input, axes, out)
        }
        OperationIr::NumericFloat(_, Numeric::Add(d)) if d.lhs.shape == d.rhs.shape => {
            let x = summed(cx, &d.lhs, axes.clone(), out)?;
            let y = summed(cx, &d.rhs, axes, out)?;
            cx.binary(Numeric::Add, &x, &y)
        }
        OperationIr::Float(_, Float::Matmul(d)) => product_of_rows(cx, &d, &axes, out),
        _ => None,
    }
}

/// Σ over all batches of xᵀ `[.., k, m]` · g `[.., m, n]`: the rows of x and of g in one matrix
/// each.
fn product_of_rows(
    cx: &mut Rewriter,
    d: &MatmulOpIr,
    axes: &[usize],
    out: &Shape,
) -> Option<TensorIr> {
    let rank = d.out.shape.num_dims();
    let batches = rank.checked_sub(2).filter(|&n| n > 0)?;
    let all = (0..batches).all(|axis| d.out.shape[axis] == 1 || axes.contains(&axis));
    let same_rank = d.lhs.shape.num_dims() == rank && d.rhs.shape.num_dims() == rank;
    if !all || axes.iter().any(|&axis| axis >= batches) || !same_rank {
        return None;
    }
    if d.lhs.shape[..batches] != d.rhs.shape[..batches] || d.lhs.dtype != d.out.dtype {
        return None;
    }
    let x = before_transpose(cx, &d.lhs)?;
    let (x, g) = (rows(cx, &x)?, rows(cx, &d.rhs)?);
    let transposed = cx.swap_dims(FLOAT, &x, 0, 1)?;
    let product = cx.matmul(&transposed, &g)?;
    cx.reshape(FLOAT, &product, out.clone())
}

/// `x` as a matrix with all rows of all batches.
fn rows(cx: &mut Rewriter, x: &TensorIr) -> Option<TensorIr> {
    let columns = x.shape[x.shape.num_dims() - 1];
    let rows = x.shape[..x.shape.num_dims() - 1].iter().product();
    cx.reshape(FLOAT, x, Shape::from([rows, columns]))
}

/// The only matrix of `w`; a transpose is taken afterwards, so that the reshape stays a view.
fn matrix(cx: &mut Rewriter, w: &TensorIr) -> Option<TensorIr> {
    if let Some(before) = before_transpose(cx, w) {
        let before = rows(cx, &before)?;
        return cx.swap_dims(FLOAT, &before, 0, 1);
    }
    rows(cx, w)
}
