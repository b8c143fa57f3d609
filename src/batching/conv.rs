//! Convolutions and what else works channel by channel: copies of the data become samples, copies
//! of the weights become channels.

use burn_ir::{ModuleOperationIr as Op, OperationIr, TensorIr};

use super::copies::{Copies, times, with_axis};
use crate::tangent::with_bias;

/// Where copies of one input go: along these axes of these inputs, and along this axis of the
/// output.
struct Fold {
    inputs: &'static [(usize, usize)],
    output: usize,
    /// Whether groups of channels stay as they are.
    any_groups: bool,
}

/// Copies of input number `batched` of a convolution or of a gradient of one.
fn fold_of(op: &Op, batched: usize) -> Option<Fold> {
    let fold = |inputs, output, any_groups| Some(Fold { inputs, output, any_groups });
    match (op, batched) {
        // (x [n, c, ..], weight [o, c, ..]) -> [n, o, ..]
        (Op::Conv1d(_) | Op::Conv2d(_) | Op::Conv3d(_), 0) => fold(&[(0, 0)], 0, true),
        (Op::Conv1d(_) | Op::Conv2d(_) | Op::Conv3d(_), 1) => fold(&[(1, 0)], 1, false),
        // (x [n, c, ..], weight [o, c, ..], g [n, o, ..]) -> [n, c, ..]
        (Op::Conv1dXBackward(_) | Op::Conv2dXBackward(_) | Op::Conv3dXBackward(_), 1) => {
            fold(&[(0, 1), (1, 1)], 1, false)
        }
        (Op::Conv1dXBackward(_) | Op::Conv2dXBackward(_) | Op::Conv3dXBackward(_), 2) => {
            fold(&[(0, 0), (2, 0)], 0, true)
        }
        // (x [n, c, ..], weight [o, c, ..], g [n, o, ..]) -> [o, c, ..]
        (
            Op::Conv1dWeightBackward(_) | Op::Conv2dWeightBackward(_) | Op::Conv3dWeightBackward(_),
            0,
        ) => fold(&[(0, 1), (1, 1)], 1, false),
        (
            Op::Conv1dWeightBackward(_) | Op::Conv2dWeightBackward(_) | Op::Conv3dWeightBackward(_),
            2,
        ) => fold(&[(2, 1), (1, 0)], 0, false),
        // (x [n, c, ..], weight [c, o, ..]) -> [n, o, ..]
        (Op::ConvTranspose1d(_) | Op::ConvTranspose2d(_) | Op::ConvTranspose3d(_), 0) => {
            fold(&[(0, 0)], 0, true)
        }
        (Op::ConvTranspose1d(_) | Op::ConvTranspose2d(_) | Op::ConvTranspose3d(_), 1) => {
            fold(&[(1, 1)], 1, false)
        }
        // (x [n, c, ..], weight [c, o, ..], g [n, o, ..]) -> [c, o, ..]
        (
            Op::ConvTranspose1dWeightBackward(_)
            | Op::ConvTranspose2dWeightBackward(_)
            | Op::ConvTranspose3dWeightBackward(_),
            0,
        ) => fold(&[(0, 1), (1, 0)], 0, false),
        (
            Op::ConvTranspose1dWeightBackward(_)
            | Op::ConvTranspose2dWeightBackward(_)
            | Op::ConvTranspose3dWeightBackward(_),
            2,
        ) => fold(&[(2, 1), (1, 1)], 1, false),
        _ => None,
    }
}

/// The groups of channels of a convolution.
fn groups(op: &Op) -> Option<usize> {
    Some(match op {
        Op::Conv1d(d) => d.options.groups,
        Op::Conv2d(d) => d.options.groups,
        Op::Conv3d(d) => d.options.groups,
        Op::Conv1dXBackward(d) => d.options.groups,
        Op::Conv2dXBackward(d) => d.options.groups,
        Op::Conv3dXBackward(d) => d.options.groups,
        Op::Conv1dWeightBackward(d) => d.options.groups,
        Op::Conv2dWeightBackward(d) => d.options.groups,
        Op::Conv3dWeightBackward(d) => d.options.groups,
        Op::ConvTranspose1d(d) => d.options.groups,
        Op::ConvTranspose2d(d) => d.options.groups,
        Op::ConvTranspose3d(d) => d.options.groups,
        Op::ConvTranspose1dWeightBackward(d) => d.options.groups,
        Op::ConvTranspose2dWeightBackward(d) => d.options.groups,
        Op::ConvTranspose3dWeightBackward(d) => d.options.groups,
        _ => return None,
    })
}

/// A bilinear operation of which one input is batched: as it is, on folded inputs. Several batched
/// inputs, or copies of weights with groups, are looped over.
pub(super) fn bilinear(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    product(cx, cx.op.clone()).map(|y| vec![y])
}

fn product(cx: &mut Copies<'_>, op: OperationIr) -> Option<TensorIr> {
    let OperationIr::Module(module) = &op else { return None };
    let mut batched = (0..cx.n_inputs()).filter(|&i| cx.batched(i));
    let (Some(batched), None) = (batched.next(), batched.next()) else { return None };
    let fold = fold_of(module, batched)?;
    if !fold.any_groups && groups(module)? != 1 {
        return None;
    }
    let input = |i: usize| match fold.inputs.iter().find(|(input, _)| *input == i) {
        Some(&(_, axis)) => cx.folded(i, axis),
        None => cx.input(i),
    };
    let inputs: Vec<TensorIr> = (0..op.inputs().count()).map(input).collect();
    let shape = times(cx.k, &cx.out_shape(0), fold.output);
    let y = cx.shaped(op, &inputs, shape);
    Some(cx.unfold(&y, fold.output))
}

/// `f(x, W) + b`, f bilinear. A bias rides on the product of samples; to other products it is
/// added.
pub(super) fn affine(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let samples_only = !cx.batched(1) && !cx.batched(2);
    if samples_only || cx.n_inputs() < 3 {
        return bilinear(cx);
    }
    let linear = with_bias(cx.op, None);
    let y = if cx.batched(0) || cx.batched(1) {
        product(cx, linear)?
    } else {
        let (inputs, shape) = ([cx.input(0), cx.input(1)], cx.out_shape(0));
        let y = cx.shaped(linear, &inputs, shape);
        cx.emit.reshape(&y, with_axis(1, &y.shape))
    };
    let mut dims = vec![1; y.shape.num_dims()];
    (dims[0], dims[2]) = (if cx.batched(2) { cx.k } else { 1 }, cx.shape(2)[0]);
    let bias = cx.input(2);
    let bias = cx.emit.reshape(&bias, dims.into());
    Some(vec![cx.emit.add(&y, &bias)])
}

/// The sum of `[k, n, o, ..]` over samples and places.
pub(super) fn bias_backward(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let (g, one) = (cx.input(2), cx.shape(2));
    let places = one.as_slice()[2..].iter().product();
    let g = cx.emit.reshape(&g, [cx.k, one[0], one[1], places].into());
    let sum = cx.emit.sum_dim(&g, 3);
    let sum = cx.emit.sum_dim(&sum, 1);
    Some(vec![cx.emit.reshape(&sum, [cx.k, one[1]].into())])
}

/// Copies of the data alone are samples; with statistics or weights of their own they are channels.
pub(super) fn batch_norm(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    let own_channels = (1..cx.n_inputs()).any(|i| cx.batched(i));
    let axis = usize::from(own_channels);
    let input = |i: usize| match i {
        0 => cx.folded(0, axis),
        i if own_channels => cx.folded(i, 0),
        i => cx.input(i),
    };
    let inputs: Vec<TensorIr> = (0..5).map(input).collect();
    let shape = times(cx.k, &cx.out_shape(0), axis);
    let y = cx.shaped(cx.op.clone(), &inputs, shape);
    Some(vec![cx.unfold(&y, axis)])
}

/// The operation takes any rank, but one γ and one β.
pub(super) fn layer_norm(cx: &mut Copies<'_>) -> Option<Vec<TensorIr>> {
    if cx.batched(1) || cx.batched(2) {
        return None;
    }
    let inputs: Vec<TensorIr> = (0..cx.n_inputs()).map(|i| cx.input(i)).collect();
    Some(cx.lifted(cx.op.clone(), &inputs))
}
