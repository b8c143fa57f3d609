//! Resizing of images. flex has no gradient of `Lanczos3`, and neither value nor gradient of
//! `NearestExact`.

use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Tensor, module};

use crate::rules::{ANY, Row, check, f, row};

pub fn rows() -> Vec<Row> {
    use InterpolateMode::{Bicubic, Bilinear, Nearest};
    let mut rows = Vec::new();
    for mode in [Nearest, Bilinear, Bicubic] {
        for align in [true, false] {
            let to = |size: [usize; 2]| {
                let options = InterpolateOptions::new(mode.clone()).with_align_corners(align);
                options.with_output_size(size)
            };
            rows.extend([
                // Up, down, up in one direction and down in the other, by a fraction, as before.
                interpolate([1, 2, 2, 3], to([4, 6])),
                interpolate([1, 1, 4, 6], to([2, 3])),
                interpolate([2, 1, 4, 2], to([3, 5])),
                interpolate([1, 1, 3, 4], to([3, 4])),
                // Sizes of one.
                interpolate([1, 2, 3, 3], to([1, 1])),
                interpolate([1, 2, 1, 1], to([2, 3])),
                interpolate([1, 2, 1, 4], to([2, 2])),
            ]);
            let scaled = InterpolateOptions::new(mode.clone()).with_align_corners(align);
            rows.push(interpolate([1, 1, 3, 4], scaled.with_scale_factor([2.0, 1.5])));
        }
    }
    rows
}

#[test]
fn interpolate_rules() {
    check(&rows());
}

fn interpolate(shape: [usize; 4], options: InterpolateOptions) -> Row {
    let name = format!("interpolate of {shape:?}, {options:?}");
    let n = shape.iter().product();
    let y = move |x: Tensor<1>| {
        f(module::interpolate(x.powi_scalar(2).reshape(shape), options.clone()))
    };
    row(name, ANY, y).params(n)
}
