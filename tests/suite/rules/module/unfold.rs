//! Unfolding into columns, which is expanded before it is differentiated, and its adjoint, which
//! burn writes as a transposed convolution.

use burn::tensor::ops::UnfoldOptions;
use burn::tensor::{Tensor, module};

use crate::rules::{ANY, Row, check, f, row};

pub fn rows() -> Vec<Row> {
    vec![
        unfold([1, 2, 3, 4], [2, 3], UnfoldOptions::new([1, 1], [0, 0], [1, 1])),
        unfold([2, 1, 4, 3], [2, 2], UnfoldOptions::new([2, 1], [0, 1], [1, 1])),
        unfold([1, 1, 5, 4], [2, 2], UnfoldOptions::new([1, 3], [1, 0], [3, 1])),
        unfold([1, 1, 1, 1], [1, 1], UnfoldOptions::new([1, 1], [0, 0], [1, 1])),
        unfold([1, 2, 1, 4], [1, 2], UnfoldOptions::new([1, 2], [0, 0], [1, 1])),
        fold([1, 4, 4], [3, 3], [2, 2], UnfoldOptions::new([1, 1], [0, 0], [1, 1])),
        fold([1, 4, 4], [2, 5], [1, 2], UnfoldOptions::new([1, 3], [0, 0], [1, 1])),
        fold([1, 2, 8], [2, 2], [2, 1], UnfoldOptions::new([2, 1], [1, 1], [1, 1])),
    ]
}

#[test]
fn unfold_rules() {
    check(&rows());
}

fn unfold(shape: [usize; 4], kernel: [usize; 2], options: UnfoldOptions) -> Row {
    let name = format!("unfold4d of {shape:?} by {kernel:?}, {options:?}");
    let y = move |x: Tensor<1>| {
        f(module::unfold4d(x.reshape(shape), kernel, options.clone())).powi_scalar(2)
    };
    row(name, ANY, y).params(shape.iter().product())
}

fn fold(shape: [usize; 3], output: [usize; 2], kernel: [usize; 2], options: UnfoldOptions) -> Row {
    let name = format!("fold4d of {shape:?} into {output:?} by {kernel:?}, {options:?}");
    let y = move |x: Tensor<1>| {
        f(module::fold4d(x.reshape(shape), output, kernel, options.clone())).powi_scalar(2)
    };
    row(name, ANY, y).params(shape.iter().product())
}
