//! Replay of burn-ir's module operations.
//! One long match, one line of meaning per operation: hence the length.

use burn_backend::Backend;
use burn_backend::ops::UnfoldOptions;
use burn_backend::tensor::{BoolTensor, FloatTensor};
use burn_ir::{ModuleOperationIr as Op, TensorIr};

use super::Replay;

impl<B: Backend> Replay<B> {
    fn some_float(&mut self, tensor: &Option<TensorIr>) -> Option<FloatTensor<B>> {
        tensor.as_ref().map(|t| self.float(t))
    }

    fn some_bool(&mut self, tensor: &Option<TensorIr>) -> Option<BoolTensor<B>> {
        tensor.as_ref().map(|t| self.bool(t))
    }
}

pub(super) fn run<B: Backend>(r: &mut Replay<B>, op: &Op) {
    match op {
        Op::Linear(d) => {
            let (x, w, b) = (r.float(&d.x), r.float(&d.weight), r.some_float(&d.bias));
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
        Op::Conv1d(d) => {
            let (x, w, b) = (r.float(&d.x), r.float(&d.weight), r.some_float(&d.bias));
            r.set_float(&d.out, B::conv1d(x, w, b, d.options.clone().into()));
        }
        Op::Conv1dXBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv1d_x_backward(x, w, g, d.options.clone().into()));
        }
        Op::Conv1dWeightBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv1d_weight_backward(x, w, g, d.options.clone().into()));
        }
        Op::Conv1dBiasBackward(d) => {
            let (x, b, g) = (r.float(&d.x), r.float(&d.bias), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv1d_bias_backward(x, b, g));
        }
        Op::Conv2d(d) => {
            let (x, w, b) = (r.float(&d.x), r.float(&d.weight), r.some_float(&d.bias));
            r.set_float(&d.out, B::conv2d(x, w, b, d.options.clone().into()));
        }
        Op::Conv2dXBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv2d_x_backward(x, w, g, d.options.clone().into()));
        }
        Op::Conv2dWeightBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv2d_weight_backward(x, w, g, d.options.clone().into()));
        }
        Op::Conv2dBiasBackward(d) => {
            let (x, b, g) = (r.float(&d.x), r.float(&d.bias), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv2d_bias_backward(x, b, g));
        }
        Op::Conv3d(d) => {
            let (x, w, b) = (r.float(&d.x), r.float(&d.weight), r.some_float(&d.bias));
            r.set_float(&d.out, B::conv3d(x, w, b, d.options.clone().into()));
        }
        Op::Conv3dXBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv3d_x_backward(x, w, g, d.options.clone().into()));
        }
        Op::Conv3dWeightBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv3d_weight_backward(x, w, g, d.options.clone().into()));
        }
        Op::Conv3dBiasBackward(d) => {
            let (x, b, g) = (r.float(&d.x), r.float(&d.bias), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv3d_bias_backward(x, b, g));
        }
        Op::ConvTranspose1d(d) => {
            let (x, w, b) = (r.float(&d.x), r.float(&d.weight), r.some_float(&d.bias));
            r.set_float(&d.out, B::conv_transpose1d(x, w, b, d.options.clone().into()));
        }
        Op::ConvTranspose1dWeightBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            let options = d.options.clone().into();
            r.set_float(&d.out, B::conv_transpose1d_weight_backward(x, w, g, options));
        }
        Op::ConvTranspose1dBiasBackward(d) => {
            let (x, b, g) = (r.float(&d.x), r.float(&d.bias), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv_transpose1d_bias_backward(x, b, g));
        }
        Op::ConvTranspose2d(d) => {
            let (x, w, b) = (r.float(&d.x), r.float(&d.weight), r.some_float(&d.bias));
            r.set_float(&d.out, B::conv_transpose2d(x, w, b, d.options.clone().into()));
        }
        Op::ConvTranspose2dWeightBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            let options = d.options.clone().into();
            r.set_float(&d.out, B::conv_transpose2d_weight_backward(x, w, g, options));
        }
        Op::ConvTranspose2dBiasBackward(d) => {
            let (x, b, g) = (r.float(&d.x), r.float(&d.bias), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv_transpose2d_bias_backward(x, b, g));
        }
        Op::ConvTranspose3d(d) => {
            let (x, w, b) = (r.float(&d.x), r.float(&d.weight), r.some_float(&d.bias));
            r.set_float(&d.out, B::conv_transpose3d(x, w, b, d.options.clone().into()));
        }
        Op::ConvTranspose3dWeightBackward(d) => {
            let (x, w, g) = (r.float(&d.x), r.float(&d.weight), r.float(&d.output_grad));
            let options = d.options.clone().into();
            r.set_float(&d.out, B::conv_transpose3d_weight_backward(x, w, g, options));
        }
        Op::ConvTranspose3dBiasBackward(d) => {
            let (x, b, g) = (r.float(&d.x), r.float(&d.bias), r.float(&d.output_grad));
            r.set_float(&d.out, B::conv_transpose3d_bias_backward(x, b, g));
        }
        Op::DeformableConv2d(d) => {
            let (x, offset, w) = (r.float(&d.x), r.float(&d.offset), r.float(&d.weight));
            let (mask, b) = (r.some_float(&d.mask), r.some_float(&d.bias));
            let options = d.options.clone().into();
            r.set_float(&d.out, B::deform_conv2d(x, offset, w, mask, b, options));
        }
        Op::Unfold4d(d) => {
            let x = r.float(&d.x);
            let o = &d.options;
            let options = UnfoldOptions::new(o.stride, o.padding, o.dilation);
            r.set_float(&d.out, B::unfold4d(x, d.kernel_size, options));
        }
        Op::AvgPool1d(d) => {
            let x = r.float(&d.x);
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            r.set_float(&d.out, B::avg_pool1d(x, k, s, p, d.count_include_pad, d.ceil_mode));
        }
        Op::AvgPool1dBackward(d) => {
            let (x, g) = (r.float(&d.x), r.float(&d.grad));
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            let y = B::avg_pool1d_backward(x, g, k, s, p, d.count_include_pad, d.ceil_mode);
            r.set_float(&d.out, y);
        }
        Op::AvgPool2d(d) => {
            let x = r.float(&d.x);
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            r.set_float(&d.out, B::avg_pool2d(x, k, s, p, d.count_include_pad, d.ceil_mode));
        }
        Op::AvgPool2dBackward(d) => {
            let (x, g) = (r.float(&d.x), r.float(&d.grad));
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            let y = B::avg_pool2d_backward(x, g, k, s, p, d.count_include_pad, d.ceil_mode);
            r.set_float(&d.out, y);
        }
        Op::AdaptiveAvgPool1d(d) => {
            let x = r.float(&d.x);
            r.set_float(&d.out, B::adaptive_avg_pool1d(x, d.output_size));
        }
        Op::AdaptiveAvgPool1dBackward(d) => {
            let (x, g) = (r.float(&d.x), r.float(&d.grad));
            r.set_float(&d.out, B::adaptive_avg_pool1d_backward(x, g));
        }
        Op::AdaptiveAvgPool2d(d) => {
            let x = r.float(&d.x);
            r.set_float(&d.out, B::adaptive_avg_pool2d(x, d.output_size));
        }
        Op::AdaptiveAvgPool2dBackward(d) => {
            let (x, g) = (r.float(&d.x), r.float(&d.grad));
            r.set_float(&d.out, B::adaptive_avg_pool2d_backward(x, g));
        }
        Op::AdaptiveAvgPool3d(d) => {
            let x = r.float(&d.x);
            r.set_float(&d.out, B::adaptive_avg_pool3d(x, d.output_size));
        }
        Op::AdaptiveAvgPool3dBackward(d) => {
            let (x, g) = (r.float(&d.x), r.float(&d.grad));
            r.set_float(&d.out, B::adaptive_avg_pool3d_backward(x, g));
        }
        Op::MaxPool1d(d) => {
            let x = r.float(&d.x);
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            r.set_float(&d.out, B::max_pool1d(x, k, s, p, d.dilation, d.ceil_mode));
        }
        Op::MaxPool1dWithIndices(d) => {
            let x = r.float(&d.x);
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            let int = d.out_indices.dtype.into();
            let y = B::max_pool1d_with_indices(x, k, s, p, d.dilation, d.ceil_mode, int);
            r.set_float(&d.out, y.output);
            r.set_int(&d.out_indices, y.indices);
        }
        Op::MaxPool1dWithIndicesBackward(d) => {
            let (x, g, i) = (r.float(&d.x), r.float(&d.grad), r.int(&d.indices));
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            let y = B::max_pool1d_with_indices_backward(x, k, s, p, d.dilation, d.ceil_mode, g, i);
            r.set_float(&d.out, y.x_grad);
        }
        Op::MaxPool2d(d) => {
            let x = r.float(&d.x);
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            r.set_float(&d.out, B::max_pool2d(x, k, s, p, d.dilation, d.ceil_mode));
        }
        Op::MaxPool2dWithIndices(d) => {
            let x = r.float(&d.x);
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            let int = d.out_indices.dtype.into();
            let y = B::max_pool2d_with_indices(x, k, s, p, d.dilation, d.ceil_mode, int);
            r.set_float(&d.out, y.output);
            r.set_int(&d.out_indices, y.indices);
        }
        Op::MaxPool2dWithIndicesBackward(d) => {
            let (x, g, i) = (r.float(&d.x), r.float(&d.grad), r.int(&d.indices));
            let (k, s, p) = (d.kernel_size, d.stride, d.padding);
            let y = B::max_pool2d_with_indices_backward(x, k, s, p, d.dilation, d.ceil_mode, g, i);
            r.set_float(&d.out, y.x_grad);
        }
        Op::Interpolate(d) => {
            let x = r.float(&d.x);
            r.set_float(&d.out, B::interpolate(x, d.output_size, d.options.clone().into()));
        }
        Op::InterpolateBackward(d) => {
            let (x, g) = (r.float(&d.x), r.float(&d.grad));
            let y = B::interpolate_backward(x, g, d.output_size, d.options.clone().into());
            r.set_float(&d.out, y);
        }
        Op::BatchNorm(d) => {
            let (x, gamma, beta) = (r.float(&d.x), r.float(&d.gamma), r.float(&d.beta));
            let (mean, variance) = (r.float(&d.mean), r.float(&d.variance));
            let y = B::batch_norm(x, gamma, beta, mean, variance, d.epsilon.elem());
            r.set_float(&d.out, y);
        }
        Op::LayerNorm(d) => {
            let (x, gamma, beta) = (r.float(&d.input), r.float(&d.gamma), r.some_float(&d.beta));
            r.set_float(&d.out, B::layer_norm(x, gamma, beta, d.epsilon.elem()));
        }
        Op::Attention(d) => {
            let (q, k, v) = (r.float(&d.query), r.float(&d.key), r.float(&d.value));
            let (mask, bias) = (r.some_bool(&d.mask), r.some_float(&d.attn_bias));
            r.set_float(&d.out, B::attention(q, k, v, mask, bias, d.options.clone().into()));
        }
        Op::CtcLoss(d) => {
            let (log_p, targets) = (r.float(&d.log_probs), r.int(&d.targets));
            let (inputs, lengths) = (r.int(&d.input_lengths), r.int(&d.target_lengths));
            r.set_float(&d.out, B::ctc_loss(log_p, targets, inputs, lengths, d.blank));
        }
        Op::DeformableConv2dBackward(d) => {
            let (x, offset, w) = (r.float(&d.x), r.float(&d.offset), r.float(&d.weight));
            let (mask, b) = (r.some_float(&d.mask), r.some_float(&d.bias));
            let g = r.float(&d.out_grad);
            let options = d.options.clone().into();
            let grads = B::deform_conv2d_backward(x, offset, w, mask, b, g, options);
            r.set_float(&d.input_grad, grads.x_grad);
            r.set_float(&d.offset_grad, grads.offset_grad);
            r.set_float(&d.weight_grad, grads.weight_grad);
            for (out, grad) in [(&d.mask_grad, grads.mask_grad), (&d.bias_grad, grads.bias_grad)] {
                if let (Some(out), Some(grad)) = (out, grad) {
                    r.set_float(out, grad);
                }
            }
        }
        Op::CtcLossBackward(d) => {
            let (log_p, targets) = (r.float(&d.log_probs), r.int(&d.targets));
            let (inputs, lengths) = (r.int(&d.input_lengths), r.int(&d.target_lengths));
            let g = r.float(&d.grad_loss);
            let y = B::ctc_loss_backward(log_p, targets, inputs, lengths, g, d.blank);
            r.set_float(&d.out, y);
        }
    }
}
