//! Views of views: one reshape for a chain of them, nothing for a view that changes nothing, and
//! transposes inside of reshapes.

use burn_ir::{BaseOperationIr as Base, OperationIr, ShapeOpIr, SwapDimsOpIr, TensorIr};

use super::rewriter::{Rewriter, Wrap, base};

/// A shorter form of the view `op`.
pub(super) fn shorten(cx: &mut Rewriter, op: &OperationIr) -> Option<TensorIr> {
    let (wrap, base) = base(op)?;
    match base {
        Base::Reshape(d) | Base::Expand(d) if d.input.shape == d.out.shape => Some(d.input.clone()),
        Base::Reshape(d) => reshape(cx, wrap, d),
        Base::Expand(d) => expand(cx, wrap, d),
        Base::SwapDims(d) => swap_dims(cx, wrap, d),
        Base::Permute(d) if d.axes.iter().copied().eq(0..d.axes.len()) => Some(d.input.clone()),
        Base::Cast(d) if d.input.dtype == d.out.dtype => Some(d.input.clone()),
        _ => None,
    }
}

/// What `tensor` is a reshape of.
fn before_reshape(cx: &Rewriter, tensor: &TensorIr) -> Option<TensorIr> {
    match base(cx.made_by(tensor)?)? {
        (_, Base::Reshape(d)) => Some(d.input.clone()),
        _ => None,
    }
}

/// Reshape ∘ reshape = reshape.
fn reshape(cx: &mut Rewriter, wrap: Wrap, d: &ShapeOpIr) -> Option<TensorIr> {
    let inner = before_reshape(cx, &d.input)?;
    cx.reshape(wrap, &inner, d.out.shape.clone())
}

/// Expand ∘ expand = expand.
fn expand(cx: &mut Rewriter, wrap: Wrap, d: &ShapeOpIr) -> Option<TensorIr> {
    let (_, Base::Expand(inner)) = base(cx.made_by(&d.input)?)? else { return None };
    let inner = inner.input.clone();
    cx.expand(wrap, &inner, d.out.shape.clone())
}

/// A transpose of a transpose is the tensor, and that of a matrix seen with leading dimensions of
/// length 1 is a view of the transposed matrix.
fn swap_dims(cx: &mut Rewriter, wrap: Wrap, d: &SwapDimsOpIr) -> Option<TensorIr> {
    if d.dim1 == d.dim2 {
        return Some(d.input.clone());
    }
    if let Some((_, Base::SwapDims(inner))) = cx.made_by(&d.input).and_then(base)
        && (inner.dim1.min(inner.dim2), inner.dim1.max(inner.dim2))
            == (d.dim1.min(d.dim2), d.dim1.max(d.dim2))
    {
        return Some(inner.input.clone());
    }
    let matrix = before_reshape(cx, &d.input)?;
    let rank = d.input.shape.num_dims();
    let is_matrix = matrix.shape.num_dims() == 2 && rank > 2 && swaps_last_two(d);
    if !is_matrix || matrix.shape[..] != d.input.shape[rank - 2..] {
        return None;
    }
    let transposed = cx.swap_dims(wrap, &matrix, 0, 1)?;
    cx.reshape(wrap, &transposed, d.out.shape.clone())
}

pub(super) fn swaps_last_two(d: &SwapDimsOpIr) -> bool {
    let rank = d.input.shape.num_dims();
    d.dim1.max(d.dim2) + 1 == rank && d.dim1.min(d.dim2) + 2 == rank
}

/// What `tensor` is the transpose of: its last two dimensions swapped.
pub(super) fn before_transpose(cx: &Rewriter, tensor: &TensorIr) -> Option<TensorIr> {
    match base(cx.made_by(tensor)?)? {
        (_, Base::SwapDims(d)) if swaps_last_two(d) => Some(d.input.clone()),
        _ => None,
    }
}

/// What a float `tensor` that nobody else reads is a reshape of.
pub(super) fn reshaped_once(cx: &Rewriter, tensor: &TensorIr) -> Option<TensorIr> {
    before_reshape(cx, tensor).filter(|_| cx.read_once(tensor))
}
