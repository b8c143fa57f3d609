//! Replay of burn-ir's module operations: dense layers and embeddings.

use burn_backend::Backend;
use burn_ir::ModuleOperationIr as Op;

use super::Replay;

pub(super) fn run<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Linear(d) => {
            let (x, w) = (r.float(&d.x), r.float(&d.weight));
            let b = d.bias.as_ref().map(|b| r.float(b));
            r.set_float(&d.out, B::linear(x, w, b));
        }
        Op::LinearXBackward(d) => {
            let (w, g) = (r.float(&d.weight), r.float(&d.output_grad));
            r.set_float(&d.out, B::linear_x_backward(w, g));
        }
        Op::LinearWeightBackward(d) => {
            let (x, g) = (r.float(&d.x), r.float(&d.output_grad));
            r.set_float(&d.out, B::linear_weight_backward(x, g));
        }
        Op::LinearBiasBackward(d) => {
            let g = r.float(&d.output_grad);
            r.set_float(&d.out, B::linear_bias_backward(g));
        }
        Op::Embedding(d) => {
            let (w, i) = (r.float(&d.weights), r.int(&d.indices));
            r.set_float(&d.out, B::embedding(w, i));
        }
        Op::EmbeddingBackward(d) => {
            let (w, g) = (r.float(&d.weights), r.float(&d.out_grad));
            let i = r.int(&d.indices);
            r.set_float(&d.out, B::embedding_backward(w, g, i));
        }
        // `Unsupported` in the rule table.
        Op::BatchNorm(_)
        | Op::Conv1d(_)
        | Op::Conv1dXBackward(_)
        | Op::Conv1dWeightBackward(_)
        | Op::Conv1dBiasBackward(_)
        | Op::Conv2d(_)
        | Op::Conv2dXBackward(_)
        | Op::Conv2dWeightBackward(_)
        | Op::Conv2dBiasBackward(_)
        | Op::Conv3d(_)
        | Op::Conv3dXBackward(_)
        | Op::Conv3dWeightBackward(_)
        | Op::Conv3dBiasBackward(_)
        | Op::DeformableConv2d(_)
        | Op::DeformableConv2dBackward(_)
        | Op::ConvTranspose1d(_)
        | Op::ConvTranspose2d(_)
        | Op::ConvTranspose3d(_)
        | Op::AvgPool1d(_)
        | Op::AvgPool2d(_)
        | Op::AvgPool1dBackward(_)
        | Op::AvgPool2dBackward(_)
        | Op::AdaptiveAvgPool1d(_)
        | Op::AdaptiveAvgPool2d(_)
        | Op::AdaptiveAvgPool1dBackward(_)
        | Op::AdaptiveAvgPool2dBackward(_)
        | Op::AdaptiveAvgPool3d(_)
        | Op::AdaptiveAvgPool3dBackward(_)
        | Op::MaxPool1d(_)
        | Op::MaxPool1dWithIndices(_)
        | Op::MaxPool1dWithIndicesBackward(_)
        | Op::MaxPool2d(_)
        | Op::MaxPool2dWithIndices(_)
        | Op::MaxPool2dWithIndicesBackward(_)
        | Op::Interpolate(_)
        | Op::InterpolateBackward(_)
        | Op::Attention(_)
        | Op::CtcLoss(_)
        | Op::CtcLossBackward(_)
        | Op::LayerNorm(_)
        | Op::Unfold4d(_)
        | Op::ConvTranspose1dWeightBackward(_)
        | Op::ConvTranspose1dBiasBackward(_)
        | Op::ConvTranspose2dWeightBackward(_)
        | Op::ConvTranspose2dBiasBackward(_)
        | Op::ConvTranspose3dWeightBackward(_)
        | Op::ConvTranspose3dBiasBackward(_) => {
            unreachable!("checked against the rule table before replay")
        }
    }
}
