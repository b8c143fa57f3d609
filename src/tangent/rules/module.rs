//! Rules of burn-ir's module operations: dense layers, convolutions, pooling, embeddings,
//! interpolation, batch normalization. What one rule cannot serve (attention, deformable
//! convolution, ...) is written out first, in `crate::expand`.
//!
//! Ties in a pooling window follow the index that the backend's own pooling returns, as in
//! burn-autodiff. Operations that read an input for its shape alone list the others
//! (`MultilinearIn`).

use burn_backend::Shape;
use burn_ir::{ModuleOperationIr, OperationIr, TensorIr};

use super::super::rule::{Rule::*, RuleCx, Tangent};
use super::rules;

const WRITTEN_OUT: &str = "a loss never contains it: the forward operation is written out before it is \
    differentiated; use the forward operation";

/// Inputs (x, weight, g): the gradient of x reads only the shape of x.
const WEIGHT_AND_GRADIENT: &[usize] = &[1, 2];
/// Inputs (x, weight, g): the gradient of the weight reads only the shape of the weight.
const INPUT_AND_GRADIENT: &[usize] = &[0, 2];
/// Inputs (x, g), or an embedding's (weight, g, indices).
const SECOND: &[usize] = &[1];
/// Inputs (x, bias, g), or a pooling's (x, indices, g).
const THIRD: &[usize] = &[2];

rules! { ModuleOperationIr, "module";
    // y = f(x, W) + b, f bilinear.
    Linear => Custom(affine),
    Conv1d => Custom(affine),
    Conv2d => Custom(affine),
    Conv3d => Custom(affine),
    ConvTranspose1d => Custom(affine),
    ConvTranspose2d => Custom(affine),
    ConvTranspose3d => Custom(affine),
    // Their gradients.
    LinearXBackward => Bilinear,
    LinearWeightBackward => Bilinear,
    LinearBiasBackward => Linear,
    Conv1dXBackward => MultilinearIn(WEIGHT_AND_GRADIENT),
    Conv2dXBackward => MultilinearIn(WEIGHT_AND_GRADIENT),
    Conv3dXBackward => MultilinearIn(WEIGHT_AND_GRADIENT),
    Conv1dWeightBackward => MultilinearIn(INPUT_AND_GRADIENT),
    Conv2dWeightBackward => MultilinearIn(INPUT_AND_GRADIENT),
    Conv3dWeightBackward => MultilinearIn(INPUT_AND_GRADIENT),
    Conv1dBiasBackward => MultilinearIn(THIRD),
    Conv2dBiasBackward => MultilinearIn(THIRD),
    Conv3dBiasBackward => MultilinearIn(THIRD),
    ConvTranspose1dWeightBackward => MultilinearIn(INPUT_AND_GRADIENT),
    ConvTranspose2dWeightBackward => MultilinearIn(INPUT_AND_GRADIENT),
    ConvTranspose3dWeightBackward => MultilinearIn(INPUT_AND_GRADIENT),
    ConvTranspose1dBiasBackward => MultilinearIn(THIRD),
    ConvTranspose2dBiasBackward => MultilinearIn(THIRD),
    ConvTranspose3dBiasBackward => MultilinearIn(THIRD),
    // Linear in the data.
    Embedding => Linear,
    AvgPool1d => Linear,
    AvgPool2d => Linear,
    AdaptiveAvgPool1d => Linear,
    AdaptiveAvgPool2d => Linear,
    AdaptiveAvgPool3d => Linear,
    Interpolate => Linear,
    // Their gradients.
    EmbeddingBackward => MultilinearIn(SECOND),
    AvgPool1dBackward => MultilinearIn(SECOND),
    AvgPool2dBackward => MultilinearIn(SECOND),
    AdaptiveAvgPool1dBackward => MultilinearIn(SECOND),
    AdaptiveAvgPool2dBackward => MultilinearIn(SECOND),
    AdaptiveAvgPool3dBackward => MultilinearIn(SECOND),
    InterpolateBackward => MultilinearIn(SECOND),
    // Selections.
    MaxPool1d => Custom(max_pool),
    MaxPool2d => Custom(max_pool),
    MaxPool1dWithIndices => Custom(max_pool_with_indices),
    MaxPool2dWithIndices => Custom(max_pool_with_indices),
    MaxPool1dWithIndicesBackward => MultilinearIn(THIRD),
    MaxPool2dWithIndicesBackward => MultilinearIn(THIRD),
    // A formula of its own, for running and for batch statistics alike.
    BatchNorm => Custom(batch_norm),
    // Written out in elementary operations.
    LayerNorm => Expanded,
    Attention => Expanded,
    Unfold4d => Expanded,
    DeformableConv2d => Expanded,
    CtcLoss => Expanded,
    DeformableConv2dBackward => Unsupported(WRITTEN_OUT),
    CtcLossBackward => Unsupported(WRITTEN_OUT),
}

/// `y = f(x, W) + b`, f bilinear: ẏ = f(ẋ, W) + f(x, Ẇ) + ḃ.
fn affine(cx: &mut RuleCx<'_>) -> Tangent {
    let y = cx.y();
    // One fused operation per product, and ḃ rides on the first.
    let mut db = if cx.n_inputs() > 2 { cx.dx(2) } else { None };
    let mut sum: Tangent = None;
    for position in 0..2 {
        let Some(dx) = cx.dx(position) else { continue };
        let product = with_bias(cx.op, db.take());
        let term = cx.replay_as(product, |p| (p == position).then(|| dx.clone()));
        sum = cx.plus(sum, Some(term));
    }
    let Some(db) = db else { return sum };
    // Only the bias has a tangent: the same for every sample and place.
    let mut shape = vec![1; y.shape.num_dims()];
    shape[channel_axis(cx.op, &y)] = db.shape[0];
    let channels = cx.emit.reshape(&db, shape.into());
    Some(cx.emit.broadcast_to(&channels, &y.shape))
}

/// The operation with another bias, or none.
pub(crate) fn with_bias(op: &OperationIr, bias: Tangent) -> OperationIr {
    use ModuleOperationIr as Op;
    let mut op = op.clone();
    match &mut op {
        OperationIr::Module(Op::Linear(d)) => d.bias = bias,
        OperationIr::Module(Op::Conv1d(d)) => d.bias = bias,
        OperationIr::Module(Op::Conv2d(d)) => d.bias = bias,
        OperationIr::Module(Op::Conv3d(d)) => d.bias = bias,
        OperationIr::Module(Op::ConvTranspose1d(d)) => d.bias = bias,
        OperationIr::Module(Op::ConvTranspose2d(d)) => d.bias = bias,
        OperationIr::Module(Op::ConvTranspose3d(d)) => d.bias = bias,
        op => unreachable!("{op:?} has no bias"),
    }
    op
}

/// Channels come last in dense layers `[.., out]`, second in convolutions `[n, out, ..]`.
fn channel_axis(op: &OperationIr, y: &TensorIr) -> usize {
    match op {
        OperationIr::Module(ModuleOperationIr::Linear(_)) => y.shape.num_dims() - 1,
        _ => 1,
    }
}

/// `(y, i)`, y = the largest x of each window and its place in the plane: ẏ = ẋ there.
fn max_pool_with_indices(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, indices) = (cx.dx(0)?, cx.output(1));
    Some(at_places(cx, &dx, &indices))
}

/// `y = the largest x of each window`: ẏ = ẋ at its place, which the operation with indices finds.
fn max_pool(cx: &mut RuleCx<'_>) -> Tangent {
    let (dx, x) = (cx.dx(0)?, cx.x(0));
    let indices = match cx.op {
        OperationIr::Module(ModuleOperationIr::MaxPool1d(d)) => cx.emit.max_pool1d_indices(d, x),
        OperationIr::Module(ModuleOperationIr::MaxPool2d(d)) => cx.emit.max_pool2d_indices(d, x),
        op => unreachable!("{op:?} is no max pooling"),
    };
    Some(at_places(cx, &dx, &indices))
}

/// `dx[n, c, ..]` at flat `indices[n, c, ..]` of each plane.
fn at_places(cx: &mut RuleCx<'_>, dx: &TensorIr, indices: &TensorIr) -> TensorIr {
    let plane = |shape: &Shape| -> Shape {
        let (n, c) = (shape[0], shape[1]);
        [n, c, shape.iter().skip(2).product()].into()
    };
    let flat = cx.emit.reshape(dx, plane(&dx.shape));
    let places = cx.emit.reshape(indices, plane(&indices.shape));
    let picked = cx.emit.gather(&flat, 2, &places);
    cx.emit.reshape(&picked, indices.shape.clone())
}

/// `y = γ n + β`, n = (x − μ)/s, s = √(v + ε), per channel:
/// ẏ = (γ/s)(ẋ − μ̇) + γ̇ n + β̇ − γ v̇/(2s²) n.
fn batch_norm(cx: &mut RuleCx<'_>) -> Tangent {
    let (x, y) = (cx.x(0), cx.y());
    let mut shape = vec![1; x.shape.num_dims()];
    shape[1] = x.shape[1];
    let channels = |cx: &mut RuleCx<'_>, t: &TensorIr| cx.emit.reshape(t, shape.clone().into());
    let [gamma, mean, variance] = [1, 3, 4].map(|i| cx.x(i)).map(|t| channels(cx, &t));
    let [dgamma, dbeta, dmean, dvariance] =
        [1, 2, 3, 4].map(|i| cx.dx(i)).map(|t| t.map(|t| channels(cx, &t)));
    let shifted = cx.emit.add_scalar(&variance, cx.scalar(0));
    let s = cx.emit.sqrt(&shifted);
    let centered = cx.emit.sub(&x, &mean);
    let normal = cx.emit.div(&centered, &s);

    let moved = match (cx.dx(0), dmean) {
        (Some(a), Some(b)) => Some(cx.emit.sub(&a, &b)),
        (Some(a), None) => Some(a),
        (None, b) => b.map(|b| cx.emit.neg(&b)),
    };
    let slope = cx.emit.div(&gamma, &s);
    let by_x = moved.map(|moved| cx.emit.mul(&moved, &slope));
    let by_variance = dvariance.map(|dv| {
        let half = cx.emit.mul_scalar(&gamma, -0.5);
        let slope = cx.emit.div(&half, &shifted);
        cx.emit.mul(&slope, &dv)
    });
    // Both are factors of n.
    let scale = cx.plus(dgamma, by_variance);
    let by_scale = scale.map(|scale| cx.emit.mul(&normal, &scale));
    let sum = cx.plus(by_x, by_scale);
    let sum = cx.plus(sum, dbeta)?;
    Some(cx.emit.broadcast_to(&sum, &y.shape))
}
