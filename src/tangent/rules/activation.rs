//! Rules of burn-ir's activations and of their backward operations, which is where the second
//! derivative lives. Kinks follow burn-autodiff: relu′(0) = 0, leaky relu has slope 1 at 0.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use burn_ir::{ActivationOperationIr, TensorIr};

use super::super::rule::{Rule::*, RuleCx, Tangent};
use super::rules;

rules! { ActivationOperationIr, "activation";
    Relu => Custom(relu),
    ReluBackward => Custom(relu_backward),
    LeakyRelu => Custom(leaky_relu),
    PRelu => Custom(prelu),
    Gelu => Custom(gelu),
    GeluBackward => Custom(gelu_backward),
    Sigmoid => Custom(sigmoid),
    SigmoidBackward => Custom(sigmoid_backward),
    HardSigmoid => Custom(hard_sigmoid),
    LogSigmoid => Custom(log_sigmoid),
    LogSigmoidBackward => Custom(log_sigmoid_backward),
    Softmax => Custom(softmax),
    LogSoftmax => Custom(log_softmax),
    Softmin => Custom(softmin),
}

/// `y = max(x, 0)`: ẏ = ẋ where y > 0, else 0.
fn relu(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, y) = (cx.dx(0)?, cx.y());
    Some(cx.emit.relu_backward(&y, &dx))
}

/// `h = g where y > 0, else 0`: ḣ = ġ where y > 0, else 0; piecewise constant in y.
fn relu_backward(cx: &mut RuleCx<'_>) -> Tangent {
    let (dg, y) = (cx.dx(1)?, cx.x(0));
    Some(cx.emit.relu_backward(&y, &dg))
}

/// `y = x where x ≥ 0, else c·x`: the same with ẋ outside the condition.
fn leaky_relu(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x, c) = (cx.dx(0)?, cx.x(0), cx.scalar(0));
    let (below, above) = (cx.emit.lower_elem(&x, 0.0), cx.emit.greater_equal_elem(&x, 0.0));
    let scaled = cx.emit.mul_scalar(&dx, c);
    let (positive, negative) = (cx.emit.mask_zero(&dx, &below), cx.emit.mask_zero(&scaled, &above));
    Some(cx.emit.add(&positive, &negative))
}

/// `y = x where x ≥ 0, else a ⊙ x`: ẏ = ẋ where x ≥ 0, else a ⊙ ẋ + ȧ ⊙ x.
fn prelu(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, a, y) = (cx.x(0), cx.x(1), cx.y());
    let (below, above) = (cx.emit.lower_elem(&x, 0.0), cx.emit.greater_equal_elem(&x, 0.0));
    let positive = cx.dx(0).map(|dx| cx.emit.mask_zero(&dx, &below));
    let by_x = cx.dx(0).map(|dx| cx.emit.mul(&dx, &a));
    let by_a = cx.dx(1).map(|da| cx.emit.mul(&x, &da));
    let scaled = cx.plus(by_x, by_a)?;
    let negative = cx.emit.mask_zero(&scaled, &above);
    let sum = cx.plus(positive, Some(negative))?;
    Some(cx.emit.broadcast_to(&sum, &y.shape))
}

/// `y = x Φ(x)`: ẏ = gelu′(x) ⊙ ẋ, gelu′(x) = Φ(x) + x φ(x).
fn gelu(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let (slope, _) = gelu_derivatives(cx, &x);
    cx.times(&slope)
}

/// `h = gelu′(x) ⊙ g`: ḣ = gelu′(x) ⊙ ġ + g ⊙ gelu″(x) ⊙ ẋ.
fn gelu_backward(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, g) = (cx.x(0), cx.x(1));
    let (slope, second) = gelu_derivatives(cx, &x);
    let by_g = cx.dx(1).map(|dg| cx.emit.mul(&slope, &dg));
    let by_x = cx.dx(0).map(|dx| {
        let slope = cx.emit.mul(&g, &second);
        cx.emit.mul(&slope, &dx)
    });
    cx.plus(by_g, by_x)
}

/// gelu′(x) = Φ(x) + x φ(x) and gelu″(x) = (2 − x²) φ(x), written out: some backends of burn 0.22.1 have the derivative
/// of an approximation instead (see `ir::replay::activation`). They do not depend on tangents, so
/// they are computed once per batch.
fn gelu_derivatives(cx: &mut RuleCx<'_>, x: &TensorIr) -> (TensorIr, TensorIr) {
    let scaled = cx.emit.mul_scalar(x, FRAC_1_SQRT_2);
    let erf = cx.emit.erf(&scaled);
    let shifted = cx.emit.add_scalar(&erf, 1.0);
    let probability = cx.emit.mul_scalar(&shifted, 0.5);
    let square = cx.emit.mul(x, x);
    let half = cx.emit.mul_scalar(&square, -0.5);
    let bell = cx.emit.exp(&half);
    let density = cx.emit.mul_scalar(&bell, 1.0 / (2.0 * PI).sqrt());
    let product = cx.emit.mul(x, &density);
    let minus = cx.emit.neg(&square);
    let factor = cx.emit.add_scalar(&minus, 2.0);
    (cx.emit.add(&probability, &product), cx.emit.mul(&factor, &density))
}

/// `y = σ(x)`: ẏ = y ⊙ (1 − y) ⊙ ẋ.
fn sigmoid(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, y) = (cx.dx(0)?, cx.y());
    Some(cx.emit.sigmoid_backward(&y, &dx))
}

/// `h = s ⊙ (1 − s) ⊙ g`: ḣ = s ⊙ (1 − s) ⊙ ġ + (1 − 2s) ⊙ g ⊙ ṡ.
fn sigmoid_backward(cx: &mut RuleCx<'_>) -> Tangent {
    let (s, g) = (cx.x(0), cx.x(1));
    let by_g = cx.dx(1).map(|dg| cx.emit.sigmoid_backward(&s, &dg));
    let by_s = cx.dx(0).map(|ds| {
        let twice = cx.emit.mul_scalar(&s, -2.0);
        let factor = cx.emit.add_scalar(&twice, 1.0);
        let slope = cx.emit.mul(&factor, &g);
        cx.emit.mul(&slope, &ds)
    });
    cx.plus(by_g, by_s)
}

/// `y = clamp(a·x + b, 0, 1)`: ẏ = a·ẋ where 0 ≤ a·x + b ≤ 1, else 0.
fn hard_sigmoid(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x, a, b) = (cx.dx(0)?, cx.x(0), cx.scalar(0), cx.scalar(1));
    let scaled = cx.emit.mul_scalar(&x, a);
    let line = cx.emit.add_scalar(&scaled, b);
    let (below, above) = (cx.emit.lower_elem(&line, 0.0), cx.emit.greater_elem(&line, 1.0));
    let slope = cx.emit.mul_scalar(&dx, a);
    let right = cx.emit.mask_zero(&slope, &below);
    Some(cx.emit.mask_zero(&right, &above))
}

/// `y = log σ(x)`: ẏ = σ(−x) ⊙ ẋ.
fn log_sigmoid(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    Some(cx.emit.log_sigmoid_backward(&x, &dx))
}

/// `h = σ(−x) ⊙ g`: ḣ = σ(−x) ⊙ ġ − σ(x) ⊙ (1 − σ(x)) ⊙ g ⊙ ẋ.
fn log_sigmoid_backward(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, g) = (cx.x(0), cx.x(1));
    let by_g = cx.dx(1).map(|dg| cx.emit.log_sigmoid_backward(&x, &dg));
    let by_x = cx.dx(0).map(|dx| {
        let s = cx.emit.sigmoid(&x);
        let product = cx.emit.mul(&g, &dx);
        let slope = cx.emit.sigmoid_backward(&s, &product);
        cx.emit.neg(&slope)
    });
    cx.plus(by_g, by_x)
}

fn axis(cx: &RuleCx<'_>) -> usize {
    match cx.op {
        burn_ir::OperationIr::Activation(
            ActivationOperationIr::Softmax(d)
            | ActivationOperationIr::LogSoftmax(d)
            | ActivationOperationIr::Softmin(d),
        ) => d.axis,
        op => unreachable!("{op:?} has no softmax axis"),
    }
}

/// `y = softmax(x)`: ẏ = y ⊙ (ẋ − Σ y ⊙ ẋ).
fn softmax(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, y, axis) = (cx.dx(0)?, cx.y(), axis(cx));
    let weighted = cx.emit.mul(&y, &dx);
    let mean = cx.emit.sum_dim(&weighted, axis);
    let centered = cx.emit.sub(&dx, &mean);
    Some(cx.emit.mul(&y, &centered))
}

/// `y = log softmax(x)`: ẏ = ẋ − Σ eʸ ⊙ ẋ.
fn log_softmax(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, y, axis) = (cx.dx(0)?, cx.y(), axis(cx));
    let p = cx.emit.exp(&y);
    let weighted = cx.emit.mul(&p, &dx);
    let mean = cx.emit.sum_dim(&weighted, axis);
    Some(cx.emit.sub(&dx, &mean))
}

/// `y = softmax(−x)`: ẏ = −y ⊙ (ẋ − Σ y ⊙ ẋ).
fn softmin(cx: &mut RuleCx<'_>) -> Tangent {
    let minus = softmax(cx)?;
    Some(cx.emit.neg(&minus))
}
