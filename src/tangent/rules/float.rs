//! Rules of burn-ir's float operations.

use std::f64::consts::PI;

use burn_ir::{FloatOperationIr, TensorIr};

use super::super::rule::{Rule::*, RuleCx, Tangent};
use super::{RANDOM, rules};

const QUANTIZED: &str = "quantized tensors carry no tangent; measure the float model";

rules! { FloatOperationIr, "float";
    // Piecewise constant, integers, masks.
    Round => Zero,
    Floor => Zero,
    Ceil => Zero,
    Trunc => Zero,
    IntoInt => Zero,
    IsNan => Zero,
    IsInf => Zero,
    // Products.
    Matmul => Bilinear,
    Cross => Bilinear,
    // Functions of one variable.
    Exp => Custom(exp),
    Log => Custom(log),
    Log1p => Custom(log1p),
    Erf => Custom(erf),
    Sqrt => Custom(sqrt),
    Recip => Custom(recip),
    PowfScalar => Custom(powf_scalar),
    Sin => Custom(sin),
    Cos => Custom(cos),
    Tan => Custom(tan),
    Sinh => Custom(sinh),
    Cosh => Custom(cosh),
    Tanh => Custom(tanh),
    ArcSin => Custom(asin),
    ArcCos => Custom(acos),
    ArcTan => Custom(atan),
    ArcSinh => Custom(asinh),
    ArcCosh => Custom(acosh),
    ArcTanh => Custom(atanh),
    // Functions of two variables.
    Powf => Custom(powf),
    ArcTan2 => Custom(atan2),
    Hypot => Custom(hypot),
    // Written out (bilinear sampling; burn has no gradient for the other modes).
    GridSample2d => Expanded,
    // Not differentiable.
    Random => Unsupported(RANDOM),
    Quantize => Unsupported(QUANTIZED),
    Dequantize => Unsupported(QUANTIZED),
}

/// `y = eˣ`: ẏ = y ⊙ ẋ.
fn exp(cx: &mut RuleCx<'_>) -> Tangent {
    let y = cx.y();
    cx.times(&y)
}

/// `y = log x`: ẏ = ẋ / x.
fn log(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    Some(cx.emit.div(&dx, &x))
}

/// `y = log(1 + x)`: ẏ = ẋ / (1 + x).
fn log1p(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    let shifted = cx.emit.add_scalar(&x, 1.0);
    Some(cx.emit.div(&dx, &shifted))
}

/// `y = erf x`: ẏ = 2/√π · e^(−x²) ⊙ ẋ.
fn erf(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let square = cx.emit.mul(&x, &x);
    let minus = cx.emit.neg(&square);
    let bell = cx.emit.exp(&minus);
    let slope = cx.emit.mul_scalar(&bell, 2.0 / PI.sqrt());
    cx.times(&slope)
}

/// `y = √x`: ẏ = ẋ / (2y).
fn sqrt(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, y) = (cx.dx(0)?, cx.y());
    let twice = cx.emit.mul_scalar(&y, 2.0);
    Some(cx.emit.div(&dx, &twice))
}

/// `y = 1/x`: ẏ = −y² ⊙ ẋ.
fn recip(cx: &mut RuleCx<'_>) -> Tangent {
    let y = cx.y();
    let square = cx.emit.mul(&y, &y);
    let slope = cx.emit.neg(&square);
    cx.times(&slope)
}

/// `y = xᶜ`: ẏ = c · x^(c−1) ⊙ ẋ. Exponents 0, 1 and 2 are exact at x = 0.
fn powf_scalar(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, c) = (cx.x(0), cx.scalar(0));
    if c == 0.0 {
        return None;
    } else if c == 1.0 {
        return cx.dx(0);
    }
    let power = if c == 2.0 { x } else { cx.emit.powf_scalar(&x, c - 1.0) };
    let slope = cx.emit.mul_scalar(&power, c);
    cx.times(&slope)
}

/// `y = sin x`: ẏ = cos x ⊙ ẋ.
fn sin(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let slope = cx.emit.cos(&x);
    cx.times(&slope)
}

/// `y = cos x`: ẏ = −sin x ⊙ ẋ.
fn cos(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let sine = cx.emit.sin(&x);
    let slope = cx.emit.neg(&sine);
    cx.times(&slope)
}

/// `y = tan x`: ẏ = (1 + y²) ⊙ ẋ.
fn tan(cx: &mut RuleCx<'_>) -> Tangent {
    let y = cx.y();
    let square = cx.emit.mul(&y, &y);
    let slope = cx.emit.add_scalar(&square, 1.0);
    cx.times(&slope)
}

/// `y = sinh x`: ẏ = cosh x ⊙ ẋ.
fn sinh(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let slope = cx.emit.cosh(&x);
    cx.times(&slope)
}

/// `y = cosh x`: ẏ = sinh x ⊙ ẋ.
fn cosh(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let slope = cx.emit.sinh(&x);
    cx.times(&slope)
}

/// `y = tanh x`: ẏ = (1 − y²) ⊙ ẋ.
fn tanh(cx: &mut RuleCx<'_>) -> Tangent {
    let y = cx.y();
    let slope = cx.emit.one_minus_square(&y);
    cx.times(&slope)
}

/// `y = asin x`: ẏ = ẋ / √(1 − x²).
fn asin(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    let rest = cx.emit.one_minus_square(&x);
    let root = cx.emit.sqrt(&rest);
    Some(cx.emit.div(&dx, &root))
}

/// `y = acos x`: ẏ = −ẋ / √(1 − x²).
fn acos(cx: &mut RuleCx<'_>) -> Tangent {
    let minus = asin(cx)?;
    Some(cx.emit.neg(&minus))
}

/// `y = atan x`: ẏ = ẋ / (1 + x²).
fn atan(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    let square = cx.emit.mul(&x, &x);
    let rest = cx.emit.add_scalar(&square, 1.0);
    Some(cx.emit.div(&dx, &rest))
}

/// `y = asinh x`: ẏ = ẋ / √(x² + 1).
fn asinh(cx: &mut RuleCx<'_>) -> Tangent {
    over_root_of_square_plus(cx, 1.0)
}

/// `y = acosh x`: ẏ = ẋ / √(x² − 1).
fn acosh(cx: &mut RuleCx<'_>) -> Tangent {
    over_root_of_square_plus(cx, -1.0)
}

fn over_root_of_square_plus(cx: &mut RuleCx<'_>, c: f64) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    let square = cx.emit.mul(&x, &x);
    let rest = cx.emit.add_scalar(&square, c);
    let root = cx.emit.sqrt(&rest);
    Some(cx.emit.div(&dx, &root))
}

/// `y = atanh x`: ẏ = ẋ / (1 − x²).
fn atanh(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    let rest = cx.emit.one_minus_square(&x);
    Some(cx.emit.div(&dx, &rest))
}

/// x ↦ c ⊙ x^(c−1), and 0 where c is 0, also at x = 0: there the power alone is infinite. burn's
/// gradient of x^c has x^(c−1), so that c = 1 becomes 0 in a second derivative.
pub(super) fn power_slope(cx: &mut RuleCx<'_>, x: &TensorIr, c: &TensorIr) -> TensorIr {
    let constant = cx.emit.equal_elem(c, 0.0);
    let less = cx.emit.add_scalar(c, -1.0);
    let less = cx.emit.mask_zero(&less, &constant);
    let power = cx.emit.powf(x, &less);
    cx.emit.mul(c, &power)
}

/// `y = x₁^x₂`: ẏ = x₂ ⊙ x₁^(x₂−1) ⊙ ẋ₁ + y ⊙ log x₁ ⊙ ẋ₂, the first term 0 where x₂ is 0.
fn powf(cx: &mut RuleCx<'_>) -> Tangent {
    let (base, exponent, y) = (cx.x(0), cx.x(1), cx.y());
    let by_base = cx.dx(0).map(|dx| {
        let slope = power_slope(cx, &base, &exponent);
        cx.emit.mul(&slope, &dx)
    });
    let by_exponent = cx.dx(1).map(|dx| {
        let log = cx.emit.log(&base);
        let slope = cx.emit.mul(&y, &log);
        cx.emit.mul(&slope, &dx)
    });
    cx.plus(by_base, by_exponent)
}

/// `φ = atan2(y, x)`: φ̇ = (x ⊙ ẏ − y ⊙ ẋ) / (x² + y²).
fn atan2(cx: &mut RuleCx<'_>) -> Tangent {
    let (y, x) = (cx.x(0), cx.x(1));
    let by_y = cx.dx(0).map(|dy| cx.emit.mul(&x, &dy));
    let by_x = cx.dx(1).map(|dx| {
        let product = cx.emit.mul(&y, &dx);
        cx.emit.neg(&product)
    });
    let numerator = cx.plus(by_y, by_x)?;
    let (xx, yy) = (cx.emit.mul(&x, &x), cx.emit.mul(&y, &y));
    let square = cx.emit.add(&xx, &yy);
    Some(cx.emit.div(&numerator, &square))
}

/// `h = √(x² + y²)`: ḣ = (x ⊙ ẋ + y ⊙ ẏ) / h.
fn hypot(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, y, h) = (cx.x(0), cx.x(1), cx.y());
    let by_x = cx.dx(0).map(|dx| cx.emit.mul(&x, &dx));
    let by_y = cx.dx(1).map(|dy| cx.emit.mul(&y, &dy));
    let numerator = cx.plus(by_x, by_y)?;
    Some(cx.emit.div(&numerator, &h))
}
