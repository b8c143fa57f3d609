//! Operations whose gradient burn 0.22.1 computes wrongly: curvature would be that of a wrong
//! gradient, and so is the training.

use burn_ir::{Conv1dOpIr, ModuleOperationIr, OperationIr, TensorId};

/// Why burn's gradient of `op` is wrong, if it is; `is_tracked` says whether a tensor depends on
/// trainable parameters.
pub(super) fn wrong_gradient(
    op: &OperationIr,
    is_tracked: impl Fn(TensorId) -> bool,
) -> Option<&'static str> {
    match op {
        OperationIr::Module(ModuleOperationIr::Conv1d(d))
            if is_tracked(d.weight.id) && leaves_an_end_unread(d) =>
        {
            Some(
                "the weight gradient of burn 0.22.1 is wrong for a Conv1d with groups whose stride leaves \
                 the end of the input unread; crop the input there, or use a Conv2d of height one",
            )
        }
        _ => None,
    }
}

/// Whether a grouped convolution has a last stretch of input that no window reaches. burn computes
/// the weight gradient as a convolution of the input by the output gradient; it is then longer than
/// the kernel, and is assigned to a part of the kernel's length.
fn leaves_an_end_unread(d: &Conv1dOpIr) -> bool {
    let options = &d.options;
    let (begin, end) = options.padding[0];
    let (padded, steps) = (d.x.shape[2] + begin + end, d.out.shape[2].saturating_sub(1));
    let reach = padded.saturating_sub(options.stride[0] * steps + 1);
    options.groups > 1 && reach / options.dilation[0] + 1 != d.weight.shape[2]
}
