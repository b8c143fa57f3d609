//! Arithmetic with tensors of one number, and with dimensions of length 1.
//!
//! Every rule gives the same bits for every number, infinities and NaN included, except that it may
//! give −0 for +0 (x + 0 = x, 0 − x = −x). 0 · x = 0 is not a rule: it is NaN where x is infinite.

use burn_backend::Shape;
use burn_ir::{
    ActivationOperationIr as Activation, BaseOperationIr as Base, BinaryOpIr,
    NumericOperationIr as Numeric, OperationIr, TensorIr,
};

use super::rewriter::{Rewriter, base, folds_scalars};
use super::views::reshaped_once;

/// A shorter form of the arithmetic operation `op`.
pub(super) fn shorten(cx: &mut Rewriter, op: &OperationIr) -> Option<TensorIr> {
    let op = match op {
        OperationIr::NumericFloat(_, op) => op,
        OperationIr::Activation(Activation::ReluBackward(d)) => return relu_backward(cx, d),
        _ => return None,
    };
    match op {
        Numeric::Add(d) => add(cx, d),
        Numeric::Sub(d) => sub(cx, d),
        Numeric::Mul(d) => mul(cx, d),
        Numeric::Div(d) => unexpanded(cx, Numeric::Div, d),
        Numeric::Neg(d) => negated(cx, &d.input),
        Numeric::MulScalar(d) | Numeric::DivScalar(d) => {
            (d.rhs.elem::<f64>() == 1.0).then(|| d.lhs.clone())
        }
        Numeric::AddScalar(d) | Numeric::SubScalar(d) => {
            (d.rhs.elem::<f64>() == 0.0).then(|| d.lhs.clone())
        }
        Numeric::SumDim(d) | Numeric::MeanDim(d) => {
            (d.input.shape[d.axis] == 1).then(|| d.input.clone())
        }
        Numeric::SumDims(d) => {
            d.axes.iter().all(|&axis| d.input.shape[axis] == 1).then(|| d.input.clone())
        }
        Numeric::Sum(d) | Numeric::Mean(d) if d.input.shape.num_elements() == 1 => {
            cx.reshape(OperationIr::BaseFloat, &d.input, d.out.shape.clone())
        }
        _ => None,
    }
}

/// The number that all elements of the output of `op` are, if its inputs tell without rounding.
pub(super) fn constant(cx: &Rewriter, op: &OperationIr) -> Option<f64> {
    let is_unit = |c: f64| c.abs() == 1.0;
    match op {
        OperationIr::BaseFloat(Base::Ones(_)) => Some(1.0),
        OperationIr::BaseFloat(Base::Zeros(_)) => Some(0.0),
        OperationIr::BaseFloat(Base::Reshape(d) | Base::Expand(d)) => cx.constant(&d.input),
        OperationIr::NumericFloat(_, Numeric::Neg(d)) => cx.constant(&d.input).map(|c| -c),
        OperationIr::NumericFloat(_, Numeric::MulScalar(d)) => {
            let (c, scalar) = (cx.constant(&d.lhs)?, d.rhs.elem::<f64>());
            (is_unit(c) || is_unit(scalar)).then_some(c * scalar)
        }
        _ => None,
    }
}

/// What `x` is the negative of.
fn negated(cx: &Rewriter, x: &TensorIr) -> Option<TensorIr> {
    match cx.made_by(x)? {
        OperationIr::NumericFloat(_, Numeric::Neg(d)) => Some(d.input.clone()),
        _ => None,
    }
}

/// `x` with the shape `shape`.
fn broadcast(cx: &mut Rewriter, x: &TensorIr, shape: &Shape) -> Option<TensorIr> {
    cx.expand(OperationIr::BaseFloat, x, shape.clone())
}

/// x > 0 where relu(x) > 0: burn's reverse pass reads x, others the output, which are two tensors to keep.
fn relu_backward(cx: &mut Rewriter, d: &BinaryOpIr) -> Option<TensorIr> {
    let output = cx.relu_of(&d.lhs)?;
    cx.relu_backward(&output, &d.rhs)
}

fn add(cx: &mut Rewriter, d: &BinaryOpIr) -> Option<TensorIr> {
    for (x, y) in [(&d.lhs, &d.rhs), (&d.rhs, &d.lhs)] {
        if cx.constant(y) == Some(0.0) {
            return broadcast(cx, x, &d.out.shape);
        }
        if let Some(y) = negated(cx, y) {
            return cx.binary(Numeric::Sub, x, &y);
        }
    }
    inside_reshape(cx, Numeric::Add, d).or_else(|| unexpanded(cx, Numeric::Add, d))
}

fn sub(cx: &mut Rewriter, d: &BinaryOpIr) -> Option<TensorIr> {
    if cx.constant(&d.rhs) == Some(0.0) {
        return broadcast(cx, &d.lhs, &d.out.shape);
    }
    if cx.constant(&d.lhs) == Some(0.0) {
        let negative = cx.neg(&d.rhs)?;
        return broadcast(cx, &negative, &d.out.shape);
    }
    if let Some(y) = negated(cx, &d.rhs) {
        return cx.binary(Numeric::Add, &d.lhs, &y);
    }
    inside_reshape(cx, Numeric::Sub, d).or_else(|| unexpanded(cx, Numeric::Sub, d))
}

/// A factor c that is the same everywhere becomes a scalar: both round c to the dtype and multiply
/// once. The product is taken before it is spread over the shape of the tensor of c.
fn mul(cx: &mut Rewriter, d: &BinaryOpIr) -> Option<TensorIr> {
    for (x, y) in [(&d.lhs, &d.rhs), (&d.rhs, &d.lhs)] {
        let scaled = match cx.constant(y) {
            Some(1.0) => Some(x.clone()),
            Some(-1.0) => cx.neg(x),
            Some(c) if folds_scalars(x.dtype) => cx.mul_scalar(x, c),
            _ => None,
        };
        if let Some(scaled) = scaled {
            return broadcast(cx, &scaled, &d.out.shape);
        }
    }
    unexpanded(cx, Numeric::Mul, d)
}

/// f(expand(x), y) = f(x, y) where y has the full shape: the operation itself broadcasts.
fn unexpanded(
    cx: &mut Rewriter,
    variant: fn(BinaryOpIr) -> Numeric,
    d: &BinaryOpIr,
) -> Option<TensorIr> {
    let before_expand = |tensor: &TensorIr| match base(cx.made_by(tensor)?)? {
        (_, Base::Expand(e)) if e.input.shape.num_dims() == d.out.shape.num_dims() => {
            Some(e.input.clone())
        }
        _ => None,
    };
    if let Some(x) = before_expand(&d.lhs).filter(|_| d.rhs.shape == d.out.shape) {
        return cx.binary(variant, &x, &d.rhs);
    }
    let y = before_expand(&d.rhs).filter(|_| d.lhs.shape == d.out.shape)?;
    cx.binary(variant, &d.lhs, &y)
}

/// f(reshape(x), reshape(y)) = reshape(f(x, y)) for x and y of one shape.
fn inside_reshape(
    cx: &mut Rewriter,
    variant: fn(BinaryOpIr) -> Numeric,
    d: &BinaryOpIr,
) -> Option<TensorIr> {
    let (x, y) = (reshaped_once(cx, &d.lhs)?, reshaped_once(cx, &d.rhs)?);
    if x.shape != y.shape || d.lhs.shape != d.rhs.shape {
        return None;
    }
    let value = cx.binary(variant, &x, &y)?;
    cx.reshape(OperationIr::BaseFloat, &value, d.out.shape.clone())
}
