//! Deformable convolution, which is expanded before it is differentiated: inputs x, offsets o,
//! weight w, mask m, bias b. flex computes its gradient in f32 for every dtype.

use burn::tensor::module;
use burn::tensor::ops::DeformConvOptions;
use burn::tensor::{DType, Device, Tensor};

use crate::common::float;
use crate::rules::inputs::{Inputs, row_of};
use crate::rules::{Row, check, f};

type Options = DeformConvOptions<2>;

/// Rounding of burn's gradient: sums of some ten products in f32.
const BURN: f64 = 10.0 * f32::EPSILON as f64;

pub fn rows() -> Vec<Row> {
    let options = Options::new;
    let plain = || options([1, 1], [0, 0], [1, 1], 1, 1);
    let (x, w) = ([1, 2, 3, 3], [2, 2, 2, 2]);
    let mut rows: Vec<_> =
        ["xowmb", "xowm", "xowb", "xow", "Xowm", "xOwM", "XoW", "XOw", "xOW", "XOWm", "XOWMb"]
            .map(|roles| deform(roles, x, w, plain()))
            .into();
    rows.extend([
        deform("xowmb", [2, 1, 2, 3], [1, 1, 2, 2], plain()),
        deform("xowmb", [1, 1, 3, 2], [1, 1, 3, 2], options([1, 1], [1, 0], [1, 1], 1, 1)),
        deform("xowmb", [1, 1, 4, 3], [2, 1, 2, 2], options([2, 1], [0, 1], [1, 1], 1, 1)),
        deform("xowmb", [1, 1, 4, 4], [1, 1, 2, 2], options([1, 2], [1, 1], [2, 3], 1, 1)),
        // Groups of the weight, of the offsets, of both.
        deform("xowmb", [1, 2, 2, 3], [2, 1, 2, 2], options([1, 1], [0, 0], [1, 1], 2, 1)),
        deform("xowmb", [1, 2, 2, 3], [1, 2, 2, 2], options([1, 1], [0, 0], [1, 1], 1, 2)),
        deform("xowmb", [1, 4, 2, 2], [2, 2, 2, 1], options([1, 1], [0, 0], [1, 1], 2, 2)),
        deform("xowb", [1, 4, 2, 2], [4, 1, 1, 2], options([1, 1], [0, 1], [1, 1], 4, 2)),
        // Lengths of one.
        deform("xowmb", [1, 1, 1, 1], [1, 1, 1, 1], plain()),
        deform("xowmb", [1, 1, 1, 3], [1, 1, 1, 2], plain()),
    ]);
    rows
}

#[test]
fn deform_conv_rules() {
    check(&rows());
}

fn deform(roles: &'static str, x: [usize; 4], w: [usize; 4], options: Options) -> Row {
    let name = format!("deform_conv2d {roles} of {x:?} by {w:?}, {options:?}");
    let size = |axis: usize| {
        let kernel = options.dilation[axis] * (w[axis + 2] - 1) + 1;
        (x[axis + 2] + 2 * options.padding[axis] - kernel) / options.stride[axis] + 1
    };
    let taps = options.offset_groups * w[2] * w[3];
    let shapes = vec![
        ('x', x.to_vec()),
        ('o', vec![x[0], 2 * taps, size(0), size(1)]),
        ('w', w.to_vec()),
        ('m', vec![x[0], taps, size(0), size(1)]),
        ('b', vec![w[0]]),
    ];
    let row = row_of(name, roles, shapes, move |i: &Inputs| {
        let (x, offset, w) = (i.get('x'), away_from_pixels(i.get('o')), i.get('w'));
        f(module::deform_conv2d(x, offset, w, i.maybe('m'), i.maybe('b'), options.clone()))
    });
    // Differences of a gradient in f32 would be good for two digits; the recorded one is in f64 and
    // has been compared with it.
    Row { burn: BURN, difference_of_recorded: true, ..row }
}

/// Offsets between 0.2 and 0.8 above an integer from −1 to 1: samples in every neighbour and beyond
/// the border, none at a pixel, where bilinear sampling has a kink.
fn away_from_pixels(x: Tensor<4>) -> Tensor<4> {
    let fraction = x.mul_scalar(0.3).add_scalar(0.5);
    let integers = integers(fraction.dims(), &fraction.device());
    fraction + integers
}

/// −1, 0 and 1 in some order.
fn integers(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let n = shape.iter().product::<usize>();
    let values = (0..n).map(|i| ((7 * i + i / 4) % 3) as f64 - 1.0).collect();
    float(values, shape, DType::F64, device)
}
