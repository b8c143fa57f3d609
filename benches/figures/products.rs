//! The MLP with cross-entropy: products, mini-batch sharpness, and the rate of arithmetic.

use burn::tensor::{Device, Distribution, Tensor};
use burn_sharpness::estimator::{Draws, MiniBatchSharpnessConfig, Sampling, draw_batches};
use burn_sharpness::operator::Lanes;
use burn_sharpness::{LinearOperator, ParamBlock, Result};

use crate::support::clock::{interleaved, median_ratio};
use crate::support::learnable::{SAMPLES, samples, select};
use crate::support::{BATCH_SIZES, Case, Loss, Mlp, WIDTHS};
use crate::{Extent, line, rounds_at};

const LOSS: Loss = Loss::CrossEntropy;
/// Vectors of a block.
const BLOCK: usize = 8;

/// `hvp_over_gradient` times this: one product as a solver's step computes it, in row-space vectors,
/// from images to coordinates and from these to images.
fn best_product(lanes: &dyn Lanes, images: &Tensor<2>) {
    let coordinates = lanes.apply(images).expect("the images fit");
    let images = lanes.images(&coordinates).expect("the coordinates fit");
    lanes.space().device().sync().expect("the device works");
    drop(images);
}

/// Dense products, a block of them, the best product, and the first product of an operator.
pub fn products(extent: Extent, rounds: usize) -> Result<()> {
    for &batch in extent.batches(&BATCH_SIZES) {
        let case = Case::new(LOSS, batch);
        let operator = case.primal();
        let v = case.direction(&operator);
        let lanes = operator.lanes()?.expect("row-space vectors pay at every batch size");
        let images = lanes.images_of(&v)?;
        let block = ParamBlock::from_vectors(&vec![v.clone(); BLOCK])?;
        let rounds = rounds_at(batch, rounds);
        let [gradient, dense, best, first] = interleaved(
            rounds,
            [
                &mut || drop(case.gradient()),
                &mut || drop(case.tangent(&operator, &v)),
                &mut || best_product(lanes, &images),
                &mut || drop(case.tangent(&case.primal(), &v)),
            ],
        );
        // By itself: the large block that it drops makes what comes next slower. Here that is a
        // product that is not counted.
        let [_, single, of_block] = interleaved(
            rounds.div_ceil(2),
            [
                &mut || drop(case.tangent(&operator, &v)),
                &mut || drop(case.tangent(&operator, &v)),
                &mut || drop(case.tangents(&operator, &block)),
            ],
        );
        line("dense_hvp_over_gradient", batch, median_ratio(&dense, &gradient));
        let of_block = median_ratio(&of_block, &single) / BLOCK as f64;
        line("block8_hvp_over_single_hvp", batch, of_block);
        line("hvp_over_gradient", batch, median_ratio(&best, &gradient));
        line("first_product_over_gradient", batch, median_ratio(&first, &gradient));
    }
    Ok(())
}

/// The whole measurement of 16 batches to a residual of 1%, in gradients of these batches.
pub fn sharpness(extent: Extent, rounds: usize) -> Result<()> {
    let num_batches = if extent == Extent::Test { 1 } else { 16 };
    let device = Device::flex().autodiff();
    let (model, data) = (Mlp::new(&device), samples(SAMPLES, &device));
    for &batch in extent.batches(&[8, 32, 128]) {
        let sampling = Sampling::WithoutReplacement;
        let drawn = draw_batches(sampling, SAMPLES, batch, num_batches, 0, 0)?;
        let case = |indices: &Vec<usize>| Case::of(LOSS, model.clone(), select(&data, indices));
        let cases: Vec<Case> = drawn.iter().map(case).collect();
        let config = MiniBatchSharpnessConfig::new(batch)
            .with_num_batches(num_batches)
            .with_sampling(sampling)
            .with_draws(Draws::Fixed)
            .with_rel_tol(1e-2);
        let [gradients, sharpness] = interleaved(
            (rounds / 12).max(1),
            [&mut || cases.iter().for_each(|case| drop(case.gradient())), &mut || {
                let measured = config.init(LOSS.function()).measure(&model, &data);
                assert_eq!(measured.expect("a supported network").n_unconverged, 0);
            }],
        );
        line("sharpness_over_gradient", batch, median_ratio(&sharpness, &gradients));
    }
    Ok(())
}

/// Multiply-adds per second of the dense tangent pass, over those of the same matrix products done
/// bare by burn: 1 means that a product costs nothing but its matrix products.
///
/// The count, in units of batch · inputs · outputs of a layer. With the primal values kept (a the
/// inputs of a layer, W its weights, δ the derivative by its outputs, and dots for tangents):
///
/// | layer | forward | derivative by the weights | derivative by the inputs | together |
/// |---|---|---|---|---|
/// | first | x·Ẇ | xᵀ·δ̇ | | 2 |
/// | others | a·Ẇ + ȧ·W | ȧᵀ·δ + aᵀ·δ̇ | δ̇·Wᵀ + δ·Ẇᵀ | 6 |
///
/// The sizes are equal on both sides, so the ratio of rates is the inverse ratio of times. For
/// scale: a gradient is 2 for the first layer and 3 for each other one.
pub fn rate_of_matmul(extent: Extent, rounds: usize) {
    let batch = if extent == Extent::Test { 8 } else { 1024 };
    let case = Case::new(LOSS, batch);
    let operator = case.primal();
    let v = case.direction(&operator);
    let device = Device::flex();
    let random = |shape| Tensor::<2>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
    let layer = |(i, ends): (usize, &[usize])| {
        let tensors =
            [random([batch, ends[0]]), random([ends[0], ends[1]]), random([batch, ends[1]])];
        (i == 0, tensors)
    };
    let layers: Vec<_> = WIDTHS.windows(2).enumerate().map(layer).collect();
    let bare = || {
        for (first, [a, w, d]) in &layers {
            for _ in 0..if *first { 1 } else { 2 } {
                drop(a.clone().matmul(w.clone()));
                drop(a.clone().transpose().matmul(d.clone()));
                if !first {
                    drop(d.clone().matmul(w.clone().transpose()));
                }
            }
        }
        device.sync().expect("the device works");
    };
    let [products, tangent] = interleaved(
        rounds_at(batch, rounds),
        [&mut || bare(), &mut || drop(case.tangent(&operator, &v))],
    );
    line("dense_rate_over_matmul", batch, median_ratio(&products, &tangent));
}
