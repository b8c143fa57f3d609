//! Sources whose batches differ in shape, or hold tensors that do not count samples.

use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::estimator::{GradientNoiseConfig, GradientNoiseMeasurement, draw_batches};
use burn_sharpness::prelude::*;

use super::{N, Net, batch, in_memory, item, model};
use crate::common::{float, relative_error};

/// Samples of one to four steps, padded with ones to the longest of the batch.
fn padded(indices: &[usize]) -> Tensor<3> {
    let length = |i: usize| 1 + i % 4;
    let longest = indices.iter().map(|&i| length(i)).max().unwrap_or(1);
    let sample = |i: usize| {
        let mut steps = item(i).0.repeat(length(i));
        steps.resize(6 * longest, 1.0);
        steps
    };
    let values = indices.iter().flat_map(|&i| sample(i)).collect();
    float(values, [indices.len(), longest, 6], DType::F64, &Device::flex())
}

/// Reads the padding too: a batch that is padded to another length has another loss.
fn padded_loss(model: &Net, x: Tensor<3>) -> Tensor<1> {
    let [n, length, _] = x.dims();
    let hidden = model.hidden.forward(x.reshape([n * length, 6])).tanh();
    model.head.forward(hidden).powi_scalar(2).sum_dim(1).mean()
}

/// Each mini-batch has the padding that it has by itself, not that of those beside it.
#[test]
fn a_batch_is_padded_as_by_itself() {
    let source = IndexedSamples::new(N, |indices: &[usize]| Ok(padded(indices)));
    let batches = draw_batches(Sampling::WithoutReplacement, N, 2, 12, 0, 0).unwrap();
    let lengths: Vec<_> = batches.iter().map(|b| padded(b).dims()[1]).collect();
    let changes = lengths.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 2 && changes < 11, "neighbours alike and unlike: {lengths:?}");

    let config = MiniBatchSharpnessConfig::new(2).with_num_batches(12).with_rel_tol(1e-9);
    let found = config.init(padded_loss).measure(&model(), &source).unwrap().values;
    let one = |indices: &Vec<usize>| {
        let hessian = model().hessian(padded(indices), padded_loss).unwrap();
        let solver = LanczosConfig::new().with_rel_tol(1e-9).init();
        solver.solve(&hessian, None).unwrap().first().value
    };
    let expected: Vec<_> = batches.iter().map(one).collect();
    // λ is accurate to (residual)²/gap.
    assert!(relative_error(&found, &expected) < 1e-12, "{found:?} {expected:?}");

    let along = BatchSharpnessConfig::new(2).with_num_batches(12).init(padded_loss);
    let found = { along }.measure(&model(), &source).unwrap().values;
    let one = |indices: &Vec<usize>| {
        let hessian = model().hessian(padded(indices), padded_loss).unwrap();
        hessian.directional_sharpness().unwrap().unwrap()
    };
    let expected: Vec<_> = batches.iter().map(one).collect();
    assert!(relative_error(&found, &expected) < 1e-11, "{found:?} {expected:?}");
}

/// The mean over the steps of each sample is a mean over samples however long the padding; the loss on
/// each batch after its own step is recorded for each length.
#[test]
fn losses_that_mask_their_padding_are_means_over_samples() {
    let masked = |model: &Net, x: Tensor<3>| {
        let [n, length, _] = x.dims();
        let ones = x.clone().equal_elem(1.0).all_dim(2);
        let weight = ones.bool_not().float().cast(DType::F64);
        let hidden = model.hidden.forward(x.reshape([n * length, 6])).tanh();
        let squares = model.head.forward(hidden).powi_scalar(2).sum_dim(1);
        let squares = squares.reshape([n, length, 1]) * weight.clone();
        (squares.sum_dim(1) / weight.sum_dim(1)).mean()
    };
    // All steps of a sample are alike here: it is the loss of one step of each.
    let plain = |model: &Net, (x, _): (Tensor<2>, Tensor<2>)| {
        model.head.forward(model.hidden.forward(x).tanh()).powi_scalar(2).sum_dim(1).mean()
    };
    let source = IndexedSamples::new(N, |indices: &[usize]| Ok(padded(indices)));
    let config = GradientNoiseConfig::new(2).with_learning_rate(Some(0.1)).with_chunk_size(3);
    let found = config.init(masked).measure(&model(), &source).unwrap();
    let expected = config.init(plain).measure(&model(), &in_memory()).unwrap();
    let numbers = |m: &GradientNoiseMeasurement| {
        let step = m.one_step.as_ref().unwrap();
        [m.curvature.mean, step.measured.mean, step.measured_on_batch.mean]
    };
    assert!(relative_error(&numbers(&found), &numbers(&expected)) < 1e-11);
}

/// One weight for each of three outputs: six numbers of samples would not fit them.
#[test]
fn a_batch_may_have_tensors_that_do_not_count_samples() {
    type Weighted = (Tensor<2>, Tensor<2>, Tensor<1>);
    let weights = || float(vec![1.0, 4.0, 9.0], [3], DType::F64, &Device::flex());
    let weighted = |model: &Net, (x, y, w): Weighted| {
        let scale = w.sqrt().unsqueeze::<2>();
        let error = model.head.forward(model.hidden.forward(x).tanh()) - y;
        (error * scale).powi_scalar(2).sum_dim(1).mean()
    };
    let source = IndexedSamples::new(N, |indices: &[usize]| {
        let (x, y) = batch(indices);
        Ok((x, y, weights()))
    });
    let config = MiniBatchSharpnessConfig::new(4).with_num_batches(5).with_rel_tol(1e-9);
    let found = config.init(weighted).measure(&model(), &source).unwrap().values;
    let inside = |model: &Net, (x, y): (Tensor<2>, Tensor<2>)| {
        let [first, rest] = [model.head.forward(model.hidden.forward(x).tanh()), y];
        let column = |k: usize| {
            let factor = [1.0, 4.0, 9.0][k];
            (first.clone() - rest.clone()).narrow(1, k, 1).powi_scalar(2).mul_scalar(factor)
        };
        (column(0) + column(1) + column(2)).mean()
    };
    let expected = config.init(inside).measure(&model(), &in_memory()).unwrap().values;
    assert!(relative_error(&found, &expected) < 1e-12, "{found:?} {expected:?}");
}
