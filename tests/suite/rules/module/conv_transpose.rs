//! Transposed convolutions in one, two and three dimensions: inputs x, weight w, bias b.

use burn::tensor::ops::ConvTransposeOptions;
use burn::tensor::{Tensor, module};

use crate::rules::inputs::{Inputs, row_of};
use crate::rules::{ANY, Row, check, data, f, row};

pub fn rows() -> Vec<Row> {
    [one(), two(), three(), repeated()].into_iter().flatten().collect()
}

#[test]
fn conv_transpose_rules() {
    check(&rows());
}

/// The weight is `[channels in, channels out of a group, ..]`.
fn shapes(x: &[usize], w: &[usize], groups: usize) -> Vec<(char, Vec<usize>)> {
    vec![('x', x.to_vec()), ('w', w.to_vec()), ('b', vec![w[1] * groups])]
}

type Options<const N: usize> = ConvTransposeOptions<N>;

fn conv1d(roles: &'static str, x: [usize; 3], w: [usize; 3], options: Options<1>) -> Row {
    let name = format!("conv_transpose1d {roles} of {x:?} by {w:?}, {options:?}");
    row_of(name, roles, shapes(&x, &w, options.groups), move |i: &Inputs| {
        f(module::conv_transpose1d(i.get('x'), i.get('w'), i.maybe('b'), options.clone()))
    })
}

fn conv2d(roles: &'static str, x: [usize; 4], w: [usize; 4], options: Options<2>) -> Row {
    let name = format!("conv_transpose2d {roles} of {x:?} by {w:?}, {options:?}");
    row_of(name, roles, shapes(&x, &w, options.groups), move |i: &Inputs| {
        f(module::conv_transpose2d(i.get('x'), i.get('w'), i.maybe('b'), options.clone()))
    })
}

fn conv3d(roles: &'static str, x: [usize; 5], w: [usize; 5], options: Options<3>) -> Row {
    let name = format!("conv_transpose3d {roles} of {x:?} by {w:?}, {options:?}");
    row_of(name, roles, shapes(&x, &w, options.groups), move |i: &Inputs| {
        f(module::conv_transpose3d(i.get('x'), i.get('w'), i.maybe('b'), options.clone()))
    })
}

fn one() -> Vec<Row> {
    let options = |stride, padding, out, dilation, groups| {
        Options::new([stride], [padding], [out], [dilation], groups)
    };
    let plain = || options(1, 0, 0, 1, 1);
    let mut rows: Vec<_> = ["xwb", "xw", "Xwb", "Xw", "xW", "xWB", "xWb", "XwB", "XWb"]
        .map(|roles| conv1d(roles, [2, 2, 3], [2, 3, 2], plain()))
        .into();
    rows.extend([
        conv1d("xwb", [1, 2, 4], [2, 2, 3], options(1, 1, 0, 1, 1)),
        conv1d("xwb", [1, 2, 3], [2, 2, 3], options(2, 0, 0, 1, 1)),
        conv1d("xwb", [1, 2, 3], [2, 2, 3], options(2, 1, 1, 1, 1)),
        conv1d("xwb", [1, 2, 3], [2, 2, 2], options(3, 1, 2, 1, 1)),
        conv1d("xwb", [1, 2, 3], [2, 2, 2], options(1, 1, 1, 3, 1)),
        conv1d("xwb", [1, 1, 4], [1, 2, 3], options(2, 2, 1, 2, 1)),
        // Groups, one per channel, and with two outputs each.
        conv1d("xwb", [1, 4, 3], [4, 1, 2], options(1, 0, 0, 1, 2)),
        conv1d("xwb", [2, 3, 2], [3, 1, 2], options(2, 0, 1, 1, 3)),
        conv1d("xwb", [1, 2, 3], [2, 2, 3], options(2, 1, 1, 1, 2)),
        // Lengths of one.
        conv1d("xwb", [1, 1, 1], [1, 1, 1], plain()),
        conv1d("xwb", [3, 2, 1], [2, 2, 1], plain()),
        conv1d("xwb", [1, 2, 1], [2, 2, 3], options(2, 1, 1, 1, 1)),
    ]);
    rows
}

fn two() -> Vec<Row> {
    let options = Options::<2>::new;
    let plain = || options([1, 1], [0, 0], [0, 0], [1, 1], 1);
    let mut rows: Vec<_> = ["xwb", "xw", "Xwb", "Xw", "xW", "xWB", "xWb", "XwB", "XWb"]
        .map(|roles| conv2d(roles, [2, 2, 2, 3], [2, 2, 2, 1], plain()))
        .into();
    rows.extend([
        conv2d("xwb", [1, 1, 3, 3], [1, 2, 3, 2], options([1, 1], [1, 0], [0, 0], [1, 1], 1)),
        conv2d("xwb", [1, 1, 2, 3], [1, 2, 3, 2], options([2, 1], [0, 0], [1, 0], [1, 1], 1)),
        conv2d("xwb", [1, 1, 3, 2], [1, 2, 2, 3], options([2, 3], [1, 1], [0, 2], [1, 1], 1)),
        conv2d("xwb", [1, 1, 2, 3], [1, 2, 2, 2], options([1, 2], [1, 0], [1, 1], [2, 1], 1)),
        conv2d("xwb", [1, 2, 2, 3], [2, 1, 2, 2], options([1, 1], [0, 0], [0, 0], [1, 1], 2)),
        conv2d("xwb", [1, 4, 2, 1], [4, 2, 2, 1], options([2, 1], [0, 0], [1, 0], [1, 1], 2)),
        conv2d("xwb", [1, 1, 1, 1], [1, 1, 1, 1], plain()),
        conv2d("xwb", [1, 2, 1, 3], [2, 2, 1, 2], plain()),
        conv2d("xwb", [2, 2, 1, 1], [2, 2, 2, 2], options([2, 2], [0, 0], [0, 0], [1, 1], 1)),
    ]);
    rows
}

fn three() -> Vec<Row> {
    let options = Options::<3>::new;
    let plain = || options([1; 3], [0; 3], [0; 3], [1; 3], 1);
    let mut rows: Vec<_> = ["xwb", "xw", "Xw", "xWB", "XWb"]
        .map(|roles| conv3d(roles, [2, 1, 2, 2, 1], [1, 2, 1, 2, 2], plain()))
        .into();
    rows.extend([
        conv3d("xwb", [1, 1, 2, 3, 2], [1, 1, 2, 2, 3], options([1; 3], [1; 3], [0; 3], [1; 3], 1)),
        conv3d(
            "xwb",
            [1, 1, 2, 2, 2],
            [1, 1, 2, 1, 2],
            options([2, 1, 3], [0; 3], [1, 0, 2], [1; 3], 1),
        ),
        conv3d(
            "xwb",
            [1, 1, 2, 2, 2],
            [1, 1, 2, 1, 2],
            options([1, 2, 1], [1, 0, 0], [1, 1, 0], [2, 1, 2], 1),
        ),
        conv3d("xwb", [1, 2, 2, 1, 2], [2, 1, 2, 1, 2], options([1; 3], [0; 3], [0; 3], [1; 3], 2)),
        conv3d(
            "xwb",
            [1, 2, 2, 1, 2],
            [2, 1, 1, 2, 1],
            options([2, 1, 2], [0; 3], [1, 0, 1], [1; 3], 2),
        ),
        conv3d("xwb", [1, 2, 1, 1, 1], [2, 2, 1, 1, 1], plain()),
    ]);
    rows
}

/// One tensor in several places, and inputs that are data in part.
fn repeated() -> Vec<Row> {
    let options = || Options::new([2], [1], [0], [1], 1);
    let weight = |x: &Tensor<1>| x.clone().narrow(0, 0, 12).reshape([2, 2, 3]);
    vec![
        row("two conv_transpose1d that share a weight", ANY, move |x| {
            let input = data([1, 2, 2], 0.2, &x.device());
            let hidden = module::conv_transpose1d(input, weight(&x), None, options()).tanh();
            f(module::conv_transpose1d(hidden, weight(&x), None, options()))
        }),
        row("conv_transpose1d of a batch of which half is data", ANY, move |x| {
            let half = data([1, 2, 3], 0.2, &x.device());
            let input = Tensor::cat(vec![half, x.clone().narrow(0, 0, 6).reshape([1, 2, 3])], 0);
            f(module::conv_transpose1d(input, weight(&x), None, options()))
        }),
        row("conv_transpose1d of a tensor by itself", ANY, move |x| {
            f(module::conv_transpose1d(weight(&x), weight(&x), None, options()))
        }),
    ]
}
