//! `Tensor::grid_sample_2d`, which is expanded before it is differentiated. burn's autodiff has
//! bilinear sampling only.

use burn::tensor::ops::{GridSampleOptions, GridSamplePaddingMode, InterpolateMode};
use burn::tensor::{DType, Device, Tensor};

use crate::common::float;

use super::inputs::{Inputs, row_of};
use super::{ANY, N, Row, check, f, row};

pub fn rows() -> Vec<Row> {
    use GridSamplePaddingMode::{Border, Reflection, Zeros};
    let mut rows = Vec::new();
    for padding in [Zeros, Border, Reflection] {
        for align in [false, true] {
            // Image and grid, only the image, only the grid.
            for roles in ["xg", "xG", "Xg"] {
                rows.push(grid_sample(roles, padding, align, [2, 2, 3, 4], [2, 2, 3, 2]));
            }
        }
    }
    // Sizes of one: a line as image, a single point. (Reflection in a line of one pixel is constant.)
    rows.push(grid_sample("xg", Zeros, false, [1, 1, 1, 4], [1, 1, 1, 2]));
    rows.push(grid_sample("xg", Border, false, [1, 2, 3, 1], [1, 2, 1, 2]));
    rows.push(grid_sample("xg", Reflection, true, [1, 1, 1, 4], [1, 2, 1, 2]));
    rows
}

#[test]
fn grid_sample_rules() {
    check(&rows());
}

#[test]
fn other_sampling_is_reported() {
    let y = |x: Tensor<1>| {
        let image = x.clone().reshape([1, 1, 3, 4]);
        let grid = x.reshape([1, 3, 2, 2]);
        f(image.grid_sample_2d(grid, InterpolateMode::Nearest))
    };
    let row = row("grid_sample, nearest", ANY, y);
    let error = row.recorded(&[0.0; N], 0.0).unwrap_err().to_string();
    assert!(error.contains("float.GridSample2d") && error.contains("bilinear"), "{error}");
}

fn grid_sample(
    roles: &'static str,
    padding: GridSamplePaddingMode,
    align: bool,
    image: [usize; 4],
    grid: [usize; 4],
) -> Row {
    let name = format!("grid_sample {roles} of {image:?} {padding:?}, align_corners {align}");
    let shapes = vec![('x', image.to_vec()), ('g', grid.to_vec())];
    row_of(name, roles, shapes, move |inputs: &Inputs| {
        let image = inputs.get::<4>('x');
        let grid = points(inputs.get('g'), image.dims(), align);
        let options = GridSampleOptions::new(InterpolateMode::Bilinear)
            .with_padding_mode(padding)
            .with_align_corners(align);
        f(image.grid_sample_2d(grid, options))
    })
}

/// Normalized coordinates of points whose pixel coordinates are between 0.1 and 0.4 above an integer
/// from −2 to 4: inside the image and beyond each side, never at the kinks, which are at multiples
/// of a half (where a point goes to the next pixel, and where it is clamped or reflected).
fn points(x: Tensor<4>, image: [usize; 4], align: bool) -> Tensor<4> {
    let fraction = x.mul_scalar(0.15).add_scalar(0.25);
    let pixels = fraction.clone() + integers(fraction.dims(), &fraction.device());
    // The last dimension of a grid is (x, y).
    let sizes = [image[3] as f64, image[2] as f64];
    let affine = |axis: usize| {
        let pixel = pixels.clone().narrow(3, axis, 1);
        if align {
            pixel.mul_scalar(2.0 / (sizes[axis] - 1.0).max(1.0)).sub_scalar(1.0)
        } else {
            pixel.add_scalar(0.5).mul_scalar(2.0 / sizes[axis]).sub_scalar(1.0)
        }
    };
    Tensor::cat(vec![affine(0), affine(1)], 3)
}

/// −2 to 4 in some order.
fn integers(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let n = shape.iter().product::<usize>();
    let values = (0..n).map(|i| ((3 * i + 2) % 7) as f64 - 2.0).collect();
    float(values, shape, DType::F64, device)
}
