//! Rules of burn-ir's module operations: dense layers and embeddings; the others are reported.

use burn_ir::ModuleOperationIr;

use super::super::rule::{Rule::*, RuleCx, Tangent};
use super::rules;

const CONVOLUTION: &str = "convolutions have no JVP rule in this version";
const POOLING: &str = "pooling has no JVP rule in this version";
const NORMALIZATION: &str = "normalization layers that burn runs as one operation have no JVP rule \
    in this version; write them with elementwise operations";
const ATTENTION: &str = "fused attention has no JVP rule in this version; write it with matmul and \
    softmax";
const INTERPOLATION: &str = "interpolation has no JVP rule in this version";
const CTC: &str = "the CTC loss has no JVP rule in this version";

rules! { ModuleOperationIr, "module";
    Linear => Custom(linear),
    LinearXBackward => Bilinear,
    LinearWeightBackward => Bilinear,
    LinearBiasBackward => Linear,
    Embedding => Linear,
    EmbeddingBackward => Custom(embedding_backward),
    BatchNorm => Unsupported(NORMALIZATION),
    Conv1d => Unsupported(CONVOLUTION),
    Conv1dXBackward => Unsupported(CONVOLUTION),
    Conv1dWeightBackward => Unsupported(CONVOLUTION),
    Conv1dBiasBackward => Unsupported(CONVOLUTION),
    Conv2d => Unsupported(CONVOLUTION),
    Conv2dXBackward => Unsupported(CONVOLUTION),
    Conv2dWeightBackward => Unsupported(CONVOLUTION),
    Conv2dBiasBackward => Unsupported(CONVOLUTION),
    Conv3d => Unsupported(CONVOLUTION),
    Conv3dXBackward => Unsupported(CONVOLUTION),
    Conv3dWeightBackward => Unsupported(CONVOLUTION),
    Conv3dBiasBackward => Unsupported(CONVOLUTION),
    DeformableConv2d => Unsupported(CONVOLUTION),
    DeformableConv2dBackward => Unsupported(CONVOLUTION),
    ConvTranspose1d => Unsupported(CONVOLUTION),
    ConvTranspose2d => Unsupported(CONVOLUTION),
    ConvTranspose3d => Unsupported(CONVOLUTION),
    AvgPool1d => Unsupported(POOLING),
    AvgPool2d => Unsupported(POOLING),
    AvgPool1dBackward => Unsupported(POOLING),
    AvgPool2dBackward => Unsupported(POOLING),
    AdaptiveAvgPool1d => Unsupported(POOLING),
    AdaptiveAvgPool2d => Unsupported(POOLING),
    AdaptiveAvgPool1dBackward => Unsupported(POOLING),
    AdaptiveAvgPool2dBackward => Unsupported(POOLING),
    AdaptiveAvgPool3d => Unsupported(POOLING),
    AdaptiveAvgPool3dBackward => Unsupported(POOLING),
    MaxPool1d => Unsupported(POOLING),
    MaxPool1dWithIndices => Unsupported(POOLING),
    MaxPool1dWithIndicesBackward => Unsupported(POOLING),
    MaxPool2d => Unsupported(POOLING),
    MaxPool2dWithIndices => Unsupported(POOLING),
    MaxPool2dWithIndicesBackward => Unsupported(POOLING),
    Interpolate => Unsupported(INTERPOLATION),
    InterpolateBackward => Unsupported(INTERPOLATION),
    Attention => Unsupported(ATTENTION),
    CtcLoss => Unsupported(CTC),
    CtcLossBackward => Unsupported(CTC),
    LayerNorm => Unsupported(NORMALIZATION),
    Unfold4d => Unsupported(CONVOLUTION),
    ConvTranspose1dWeightBackward => Unsupported(CONVOLUTION),
    ConvTranspose1dBiasBackward => Unsupported(CONVOLUTION),
    ConvTranspose2dWeightBackward => Unsupported(CONVOLUTION),
    ConvTranspose2dBiasBackward => Unsupported(CONVOLUTION),
    ConvTranspose3dWeightBackward => Unsupported(CONVOLUTION),
    ConvTranspose3dBiasBackward => Unsupported(CONVOLUTION),
}

/// `y = x W + b`: ẏ = ẋ W + x Ẇ + ḃ.
fn linear(cx: &mut RuleCx<'_>) -> Tangent {
    let y = cx.y();
    let db = if cx.n_inputs() > 2 { cx.dx(2) } else { None };
    // One fused operation per matrix product, and ḃ rides on the first.
    let (x, w) = (cx.x(0), cx.x(1));
    let mut bias = db;
    let mut sum: Tangent = None;
    for (x, w) in [cx.dx(0).map(|dx| (dx, w)), cx.dx(1).map(|dw| (x, dw))].into_iter().flatten() {
        let term = cx.emit.linear(&x, &w, bias.take());
        sum = cx.plus(sum, Some(term));
    }
    match (sum, bias) {
        (None, Some(db)) => {
            // Only the bias has a tangent: ḃ for every row.
            let mut shape = vec![1; y.shape.num_dims()];
            shape[y.shape.num_dims() - 1] = db.shape[0];
            let row = cx.emit.reshape(&db, shape.into());
            Some(cx.emit.broadcast_to(&row, &y.shape))
        }
        (sum, _) => sum,
    }
}

/// `Ẇ = scatter of g at the indices`: linear in g; the weight gives its shape only.
fn embedding_backward(cx: &mut RuleCx<'_>) -> Tangent {
    let dg = cx.dx(1)?;
    Some(cx.replay(|position| (position == 1).then(|| dg.clone())))
}
