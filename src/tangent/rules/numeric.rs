//! Rules of burn-ir's numeric operations on floats. Ties in max, min, sort and top-k follow the
//! index that the backend's own argument operation returns, as in burn-autodiff.

use burn_backend::TensorData;
use burn_ir::{NumericOperationIr, OperationIr, PadModeIr, ScalarIr, TensorIr};

use super::super::rule::{Rule::*, RuleCx, Tangent};
use super::float::power_slope;
use super::{RANDOM, rules};

rules! { NumericOperationIr, "numeric";
    // Constants, comparisons, indices, signs.
    Full => Zero,
    Greater => Zero,
    GreaterElem => Zero,
    GreaterEqual => Zero,
    GreaterEqualElem => Zero,
    Lower => Zero,
    LowerElem => Zero,
    LowerEqual => Zero,
    LowerEqualElem => Zero,
    ArgMax => Zero,
    ArgMin => Zero,
    ArgTopK => Zero,
    ArgSort => Zero,
    Sign => Zero,
    // Linear.
    Neg => Linear,
    MulScalar => Linear,
    DivScalar => Linear,
    Sum => Linear,
    SumDim => Linear,
    SumDims => Linear,
    Mean => Linear,
    MeanDim => Linear,
    CumSum => Linear,
    Mul => Bilinear,
    // The tangent passes through.
    AddScalar => Custom(same),
    SubScalar => Custom(same),
    RemScalar => Custom(same),
    // Arithmetic.
    Add => Custom(add),
    Sub => Custom(sub),
    Div => Custom(div),
    Rem => Custom(rem),
    Abs => Custom(abs),
    Powi => Custom(powi),
    PowiScalar => Custom(powi_scalar),
    Pad => Custom(pad),
    // Selections.
    Clamp => Custom(clamp),
    ClampMin => Custom(clamp_min),
    ClampMax => Custom(clamp_max),
    Max => Custom(max),
    Min => Custom(min),
    MaxAbs => Custom(max_abs),
    MaxDim => Custom(max_dim),
    MinDim => Custom(min_dim),
    MaxAbsDim => Custom(max_abs_dim),
    MaxDimWithIndices => Custom(with_indices),
    MinDimWithIndices => Custom(with_indices),
    TopK => Custom(top_k),
    TopKWithIndices => Custom(with_indices),
    Sort => Custom(sort),
    SortWithIndices => Custom(with_indices),
    CumMax => Custom(cum_extreme),
    CumMin => Custom(cum_extreme),
    // Written out as multiplications, whose gradient is right also at elements that are 0.
    Prod => Expanded,
    ProdDim => Expanded,
    CumProd => Expanded,
    IntRandom => Unsupported(RANDOM),
}

/// `y = x + c` and the like: ẏ = ẋ.
fn same(cx: &mut RuleCx<'_>) -> Tangent {
    cx.dx(0)
}

/// `y = x₁ + x₂`: ẏ = ẋ₁ + ẋ₂.
fn add(cx: &mut RuleCx<'_>) -> Tangent {
    let sum = cx.plus(cx.dx(0), cx.dx(1))?;
    Some(cx.emit.broadcast_to(&sum, &cx.y().shape))
}

/// `y = x₁ − x₂`: ẏ = ẋ₁ − ẋ₂.
fn sub(cx: &mut RuleCx<'_>) -> Tangent {
    let difference = match (cx.dx(0), cx.dx(1)) {
        (Some(a), Some(b)) => cx.emit.sub(&a, &b),
        (Some(a), None) => a,
        (None, b) => cx.emit.neg(&b?),
    };
    Some(cx.emit.broadcast_to(&difference, &cx.y().shape))
}

/// `y = x₁ / x₂`: ẏ = (ẋ₁ − y ⊙ ẋ₂) / x₂.
fn div(cx: &mut RuleCx<'_>) -> Tangent {
    let (x2, y) = (cx.x(1), cx.y());
    let by_divisor = cx.dx(1).map(|dx2| cx.emit.mul(&y, &dx2));
    let numerator = match (cx.dx(0), by_divisor) {
        (Some(a), Some(b)) => cx.emit.sub(&a, &b),
        (Some(a), None) => a,
        (None, b) => cx.emit.neg(&b?),
    };
    Some(cx.emit.div(&numerator, &x2))
}

/// `y = x₁ − ⌊x₁/x₂⌋ x₂`: ẏ = ẋ₁ − ⌊x₁/x₂⌋ ⊙ ẋ₂.
fn rem(cx: &mut RuleCx<'_>) -> Tangent {
    let (x1, x2, y) = (cx.x(0), cx.x(1), cx.y());
    let by_divisor = cx.dx(1).map(|dx2| {
        let quotient = cx.emit.div(&x1, &x2);
        let floor = cx.emit.floor(&quotient);
        let product = cx.emit.mul(&floor, &dx2);
        cx.emit.neg(&product)
    });
    let sum = cx.plus(cx.dx(0), by_divisor)?;
    Some(cx.emit.broadcast_to(&sum, &y.shape))
}

/// `y = |x|`: ẏ = sign(x) ⊙ ẋ, 0 at 0.
fn abs(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let sign = cx.emit.sign(&x);
    cx.times(&sign)
}

/// `y = xⁿ`, n an integer tensor: ẏ = n ⊙ x^(n−1) ⊙ ẋ, 0 where n is 0.
fn powi(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, n) = (cx.x(0), cx.x(1));
    let n = cx.emit.int_to_float(&n, x.dtype);
    let slope = power_slope(cx, &x, &n);
    cx.times(&slope)
}

/// `y = xⁿ`: ẏ = n · x^(n−1) ⊙ ẋ.
fn powi_scalar(cx: &mut RuleCx<'_>) -> Tangent {
    let x = cx.x(0);
    let n: i64 = cx.raw_scalar(0).elem();
    let power = match n {
        0 => return None,
        1 => return cx.dx(0),
        2 => x,
        n => cx.emit.powi_scalar(&x, n - 1),
    };
    let slope = cx.emit.mul_scalar(&power, n as f64);
    cx.times(&slope)
}

/// `y = x padded`: ẏ = ẋ padded, by 0 where x was padded by a constant.
fn pad(cx: &mut RuleCx<'_>) -> Tangent {
    Some(cx.replay_changed(|op| {
        if let OperationIr::NumericFloat(_, NumericOperationIr::Pad(d)) = op
            && let PadModeIr::Constant(_) = d.mode
        {
            d.mode = PadModeIr::Constant(ScalarIr::Float(0.0));
        }
    }))
}

/// `y = clamp(x, a, b)`: ẏ = ẋ where a ≤ x ≤ b, else 0.
fn clamp(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x, a, b) = (cx.dx(0)?, cx.x(0), cx.scalar(0), cx.scalar(1));
    let (below, above) = (cx.emit.lower_elem(&x, a), cx.emit.greater_elem(&x, b));
    let right = cx.emit.mask_zero(&dx, &below);
    Some(cx.emit.mask_zero(&right, &above))
}

/// `y = max(x, a)`: ẏ = ẋ where x ≥ a, else 0.
fn clamp_min(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x, a) = (cx.dx(0)?, cx.x(0), cx.scalar(0));
    let below = cx.emit.lower_elem(&x, a);
    Some(cx.emit.mask_zero(&dx, &below))
}

/// `y = min(x, b)`: ẏ = ẋ where x ≤ b, else 0.
fn clamp_max(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x, b) = (cx.dx(0)?, cx.x(0), cx.scalar(0));
    let above = cx.emit.greater_elem(&x, b);
    Some(cx.emit.mask_zero(&dx, &above))
}

/// x and ẋ with one axis, and the axis: how reductions of everything become reductions of a
/// vector.
fn flat(cx: &mut RuleCx<'_>) -> Option<(TensorIr, TensorIr)> {
    let (x, dx) = (cx.x(0), cx.dx(0)?);
    let n = x.shape.num_elements();
    let flat_x = cx.emit.reshape(&x, [n].into());
    Some((flat_x, cx.emit.reshape(&dx, [n].into())))
}

/// `y = max x`: ẏ = ẋ at the largest element.
fn max(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx) = flat(cx)?;
    let index = cx.emit.argmax(&x, 0);
    Some(cx.emit.gather(&dx, 0, &index))
}

/// `y = min x`: ẏ = ẋ at the smallest element.
fn min(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx) = flat(cx)?;
    let index = cx.emit.argmin(&x, 0);
    Some(cx.emit.gather(&dx, 0, &index))
}

/// `y = max |x|`: ẏ = sign(x) ⊙ ẋ at the element of largest magnitude.
fn max_abs(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx) = flat(cx)?;
    Some(largest_magnitude(cx, &x, &dx, 0))
}

/// `y = max x` along an axis: ẏ = ẋ at the largest element.
fn max_dim(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx, axis) = (cx.x(0), cx.dx(0)?, reduced_axis(cx));
    let index = cx.emit.argmax(&x, axis);
    Some(cx.emit.gather(&dx, axis, &index))
}

/// `y = min x` along an axis: ẏ = ẋ at the smallest element.
fn min_dim(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx, axis) = (cx.x(0), cx.dx(0)?, reduced_axis(cx));
    let index = cx.emit.argmin(&x, axis);
    Some(cx.emit.gather(&dx, axis, &index))
}

/// `y = max |x|` along an axis: ẏ = sign(x) ⊙ ẋ at the element of largest magnitude.
fn max_abs_dim(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx, axis) = (cx.x(0), cx.dx(0)?, reduced_axis(cx));
    Some(largest_magnitude(cx, &x, &dx, axis))
}

fn largest_magnitude(cx: &mut RuleCx<'_>, x: &TensorIr, dx: &TensorIr, axis: usize) -> TensorIr {
    let (magnitude, sign) = (cx.emit.abs(x), cx.emit.sign(x));
    let index = cx.emit.argmax(&magnitude, axis);
    let signed = cx.emit.mul(&sign, dx);
    cx.emit.gather(&signed, axis, &index)
}

/// `(y, i)`, y = x at the indices i along an axis: ẏ = ẋ at i.
fn with_indices(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, index, axis) = (cx.dx(0)?, cx.output(1), reduced_axis(cx));
    Some(cx.emit.gather(&dx, axis, &index))
}

/// `y = the k largest x` along an axis: ẏ = ẋ at them.
fn top_k(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx, axis) = (cx.x(0), cx.dx(0)?, reduced_axis(cx));
    let k = cx.y().shape[axis];
    let index = cx.emit.argtopk(&x, axis, k);
    Some(cx.emit.gather(&dx, axis, &index))
}

/// `y = x sorted` along an axis: ẏ = ẋ in the same order.
fn sort(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, dx, axis) = (cx.x(0), cx.dx(0)?, reduced_axis(cx));
    let descending = matches!(
        cx.op,
        OperationIr::NumericFloat(_, NumericOperationIr::Sort(d)) if d.descending
    );
    let index = cx.emit.argsort(&x, axis, descending);
    Some(cx.emit.gather(&dx, axis, &index))
}

/// `yᵢ = max or min of xₖ, k ≤ i`: ẏᵢ = ẋ at the last k ≤ i with yₖ = xₖ, burn-autodiff's choice
/// among ties.
fn cum_extreme(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, y, dx, axis) = (cx.x(0), cx.y(), cx.dx(0)?, reduced_axis(cx));
    let index = last_record(cx, &x, &y, axis);
    Some(cx.emit.gather(&dx, axis, &index))
}

/// For each position along `axis`, the last position up to it at which `y == x`.
fn last_record(cx: &mut RuleCx<'_>, x: &TensorIr, y: &TensorIr, axis: usize) -> TensorIr {
    let n = x.shape[axis];
    let mut line_shape = vec![1; x.shape.num_dims()];
    line_shape[axis] = n;
    let positions = TensorData::new((0..n as i64).collect::<Vec<_>>(), line_shape);
    let line = cx.emit.constant(positions.convert_dtype(cx.emit.int_dtype()));
    cx.emit.last_equal(x, y, &line, axis)
}

/// The axis along which the operation reduces, selects or accumulates.
fn reduced_axis(cx: &RuleCx<'_>) -> usize {
    use NumericOperationIr as Op;
    let OperationIr::NumericFloat(_, op) = cx.op else {
        unreachable!("{:?} is not a numeric operation on floats", cx.op)
    };
    if let Op::MaxDim(d) | Op::MinDim(d) | Op::MaxAbsDim(d) | Op::TopK(d) = op {
        d.axis
    } else if let Op::MaxDimWithIndices(d) | Op::MinDimWithIndices(d) = op {
        d.dim
    } else if let Op::CumMax(d) | Op::CumMin(d) = op {
        d.axis
    } else if let Op::TopKWithIndices(d) = op {
        d.dim
    } else if let Op::Sort(d) = op {
        d.dim
    } else if let Op::SortWithIndices(d) = op {
        d.dim
    } else {
        unreachable!("{op:?} has no axis")
    }
}
