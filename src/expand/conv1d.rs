//! Grouped convolutions of sequences whose stride leaves the end of the input unread, as convolutions
//! of images of height one.
//!
//! burn-backend 0.22.1 computes the weight gradient as a convolution of the input by the output
//! gradient. With an end left unread it is longer than the kernel; for one group it is cut, as it is
//! for several groups of ranks two and three, but not here (`conv1d_weight_grad_groups`). The
//! backends of cubecl have a gradient of their own, which is right.

use burn_backend::{Backend, Shape, TensorMetadata};
use burn_ir::{Conv1dOpIr, Conv2dOptionsIr, ModuleOperationIr, OperationIr};

use crate::ir::replay::Replay;

/// What a user is told where the difference shows.
pub(super) const WRONG_IN_BURN: &str = "on this backend the weight gradient of burn 0.22.1 is wrong for a \
    Conv1d with groups whose stride leaves the end of the input unread, in training too; crop the \
    input there, or use a Conv2d of height one";

/// Whether the weight gradient is longer than the kernel.
pub(super) fn leaves_an_end_unread(op: &OperationIr) -> bool {
    let OperationIr::Module(ModuleOperationIr::Conv1d(d)) = op else { return false };
    let options = &d.options;
    let (begin, end) = options.padding[0];
    let (padded, steps) = (d.x.shape[2] + begin + end, d.out.shape[2].saturating_sub(1));
    let reach = padded.saturating_sub(options.stride[0] * steps + 1);
    options.groups > 1 && reach / options.dilation[0] + 1 != d.weight.shape[2]
}

/// Runs the operation on `r` as one of rank two.
pub(super) fn run<B: Backend>(r: &mut Replay<B>, d: &Conv1dOpIr) {
    let (x, weight) = (r.float(&d.x), r.float(&d.weight));
    let bias = d.bias.as_ref().map(|t| r.float(t));
    let image = |t: B::FloatTensorPrimitive| {
        let [a, b, length] = t.shape().dims();
        B::float_reshape(t, Shape::new([a, b, 1, length]))
    };
    let options = Conv2dOptionsIr {
        stride: [1, d.options.stride[0]],
        padding: [(0, 0), d.options.padding[0]],
        dilation: [1, d.options.dilation[0]],
        groups: d.options.groups,
    };
    let y = B::conv2d(image(x), image(weight), bias, options.into());
    r.set_float(&d.out, B::float_reshape(y, d.out.shape.clone()));
}
