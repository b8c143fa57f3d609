//! Convolutions in one, two and three dimensions: inputs x, weight w, bias b.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use crate::rules::inputs::{Inputs, row_of};
use crate::rules::{ANY, Row, check, data, f, row};

pub fn rows() -> Vec<Row> {
    [conv1d_rows(), conv2d_rows(), conv3d_rows(), repeated()].into_iter().flatten().collect()
}

#[test]
fn conv_rules() {
    check(&rows());
}

fn shapes(x: &[usize], w: &[usize]) -> Vec<(char, Vec<usize>)> {
    vec![('x', x.to_vec()), ('w', w.to_vec()), ('b', vec![w[0]])]
}

fn conv1d(roles: &'static str, x: [usize; 3], w: [usize; 3], options: ConvOptions<1>) -> Row {
    let name = format!("conv1d {roles} of {x:?} by {w:?}, {options:?}");
    row_of(name, roles, shapes(&x, &w), move |i: &Inputs| {
        f(module::conv1d(i.get('x'), i.get('w'), i.maybe('b'), options.clone()))
    })
}

fn conv2d(roles: &'static str, x: [usize; 4], w: [usize; 4], options: ConvOptions<2>) -> Row {
    let name = format!("conv2d {roles} of {x:?} by {w:?}, {options:?}");
    row_of(name, roles, shapes(&x, &w), move |i: &Inputs| {
        f(module::conv2d(i.get('x'), i.get('w'), i.maybe('b'), options.clone()))
    })
}

fn conv3d(roles: &'static str, x: [usize; 5], w: [usize; 5], options: ConvOptions<3>) -> Row {
    let name = format!("conv3d {roles} of {x:?} by {w:?}, {options:?}");
    row_of(name, roles, shapes(&x, &w), move |i: &Inputs| {
        f(module::conv3d(i.get('x'), i.get('w'), i.maybe('b'), options.clone()))
    })
}

/// Padding that differs at the two ends.
fn uneven<const N: usize>(stride: [usize; N], padding: [(usize, usize); N]) -> ConvOptions<N> {
    ConvOptions::new_with_padding(stride, padding, [1; N], 1)
}

fn conv1d_rows() -> Vec<Row> {
    let options = |stride, padding, dilation, groups| {
        ConvOptions::new([stride], [padding], [dilation], groups)
    };
    let plain = || options(1, 0, 1, 1);
    let mut rows: Vec<_> = ["xwb", "xw", "Xwb", "Xw", "xW", "xWB", "xWb", "XwB", "XWb"]
        .map(|roles| conv1d(roles, [2, 2, 5], [3, 2, 2], plain()))
        .into();
    rows.extend([
        // Padding; strides that fit and that leave an end unread; strides beyond the kernel.
        conv1d("xwb", [2, 2, 3], [2, 2, 3], options(1, 1, 1, 1)),
        conv1d("xwb", [1, 2, 5], [2, 2, 3], options(2, 0, 1, 1)),
        conv1d("xwb", [1, 2, 6], [2, 2, 3], options(2, 0, 1, 1)),
        conv1d("xw", [1, 1, 8], [2, 1, 2], options(3, 0, 1, 1)),
        conv1d("xw", [1, 1, 7], [2, 1, 2], options(3, 1, 1, 1)),
        conv1d("xwb", [1, 2, 6], [2, 2, 2], options(1, 0, 3, 1)),
        conv1d("xwb", [1, 2, 7], [2, 2, 3], options(2, 2, 2, 1)),
        conv1d("xwb", [1, 2, 4], [2, 2, 2], uneven([1], [(1, 0)])),
        conv1d("xwb", [1, 1, 4], [2, 1, 3], uneven([2], [(0, 2)])),
        // Groups, one per channel, and with two outputs each.
        conv1d("xwb", [2, 4, 3], [4, 2, 2], options(1, 0, 1, 2)),
        conv1d("xwb", [1, 3, 4], [3, 1, 2], options(1, 1, 1, 3)),
        conv1d("xwb", [1, 2, 5], [4, 1, 3], options(2, 1, 1, 2)),
        conv1d("xwb", [2, 4, 6], [2, 2, 2], options(2, 2, 2, 2)),
        // Lengths of one.
        conv1d("xwb", [1, 1, 1], [1, 1, 1], plain()),
        conv1d("xwb", [3, 2, 1], [2, 2, 1], plain()),
        conv1d("xwb", [1, 2, 1], [2, 2, 3], options(1, 1, 1, 1)),
        conv1d("xwb", [1, 2, 3], [2, 2, 3], plain()),
    ]);
    rows
}

fn conv2d_rows() -> Vec<Row> {
    let options = ConvOptions::<2>::new;
    let plain = || options([1, 1], [0, 0], [1, 1], 1);
    let mut rows: Vec<_> = ["xwb", "xw", "Xwb", "Xw", "xW", "xWB", "xWb", "XwB", "XWb"]
        .map(|roles| conv2d(roles, [2, 2, 3, 4], [2, 2, 2, 3], plain()))
        .into();
    rows.extend([
        conv2d("xwb", [1, 2, 3, 3], [2, 2, 3, 3], options([1, 1], [1, 1], [1, 1], 1)),
        conv2d("xwb", [1, 1, 4, 5], [2, 1, 3, 2], options([2, 1], [1, 0], [1, 1], 1)),
        conv2d("xwb", [1, 1, 4, 6], [2, 1, 3, 2], options([1, 3], [0, 1], [1, 1], 1)),
        conv2d("xwb", [1, 1, 5, 6], [2, 1, 2, 2], options([2, 2], [0, 0], [1, 2], 1)),
        conv2d("xwb", [1, 1, 4, 5], [2, 1, 2, 3], options([1, 1], [1, 2], [2, 1], 1)),
        conv2d("xwb", [1, 2, 3, 3], [1, 2, 2, 2], uneven([1, 1], [(1, 0), (0, 2)])),
        conv2d("xw", [1, 1, 4, 3], [2, 1, 3, 2], uneven([2, 1], [(0, 1), (1, 1)])),
        // Groups, one per channel, and with two outputs each.
        conv2d("xwb", [1, 4, 3, 2], [2, 2, 2, 2], options([1, 1], [0, 0], [1, 1], 2)),
        conv2d("xwb", [2, 2, 3, 2], [2, 1, 2, 2], options([1, 1], [1, 0], [1, 1], 2)),
        conv2d("xwb", [1, 2, 4, 4], [4, 1, 3, 2], options([2, 1], [1, 1], [1, 2], 2)),
        // Lengths of one.
        conv2d("xwb", [1, 1, 1, 1], [1, 1, 1, 1], plain()),
        conv2d("xwb", [2, 3, 1, 1], [2, 3, 1, 1], plain()),
        conv2d("xwb", [1, 2, 1, 4], [2, 2, 1, 2], plain()),
        conv2d("xwb", [1, 2, 4, 1], [2, 2, 3, 3], options([1, 1], [1, 1], [1, 1], 1)),
        conv2d("xwb", [1, 2, 2, 3], [2, 2, 2, 3], plain()),
    ]);
    rows
}

fn conv3d_rows() -> Vec<Row> {
    let options = ConvOptions::<3>::new;
    let plain = || options([1, 1, 1], [0, 0, 0], [1, 1, 1], 1);
    let mut rows: Vec<_> = ["xwb", "xw", "Xw", "xWB", "XWb"]
        .map(|roles| conv3d(roles, [2, 1, 2, 3, 2], [2, 1, 2, 2, 1], plain()))
        .into();
    rows.extend([
        conv3d("xwb", [1, 1, 2, 3, 2], [2, 1, 2, 1, 2], options([1; 3], [1, 0, 1], [1; 3], 1)),
        conv3d("xwb", [1, 1, 3, 4, 2], [1, 1, 2, 2, 2], options([2, 1, 2], [0; 3], [1; 3], 1)),
        conv3d("xwb", [1, 1, 2, 3, 4], [1, 1, 1, 2, 3], options([1, 2, 3], [1, 1, 1], [1; 3], 1)),
        conv3d("xwb", [1, 1, 3, 2, 4], [1, 1, 2, 1, 2], options([1; 3], [0; 3], [2, 1, 3], 1)),
        conv3d("xwb", [1, 2, 2, 2, 2], [2, 1, 2, 1, 2], options([1; 3], [0, 1, 0], [1; 3], 2)),
        conv3d("xwb", [1, 2, 3, 2, 4], [2, 1, 2, 1, 1], options([2, 1, 3], [0; 3], [1; 3], 2)),
        conv3d("xwb", [1, 2, 1, 1, 1], [2, 2, 1, 1, 1], plain()),
        conv3d("xwb", [1, 1, 1, 3, 1], [1, 1, 1, 2, 1], plain()),
        conv3d("xwb", [1, 1, 2, 1, 2], [1, 1, 3, 1, 3], options([1; 3], [1, 0, 1], [1; 3], 1)),
    ]);
    rows
}

/// Where a stride leaves the end of the input unread, burn 0.22.1 computes a weight gradient longer
/// than the weight and writes it over the group's part of it as it is (two and three dimensions cut
/// it first): wrong where a group has several channels in or out. There is nothing that a row could
/// be compared with. When this fails, burn has been corrected: make it a row.
#[test]
fn burns_gradient_of_a_grouped_conv1d_that_leaves_an_end_unread_is_wrong() {
    let row = conv1d("xw", [1, 2, 4], [4, 1, 3], ConvOptions::new([2], [0], [1], 2));
    let v = crate::common::wave(row.n, 2.3);
    let (above, below) = (row.burn(&v, 1e-5).0, row.burn(&v, -1e-5).0);
    let slope: f64 = row.burn(&v, 0.0).1.iter().zip(&v).map(|(g, v)| g * v).sum();
    assert!((slope - (above - below) / 2e-5).abs() > 1e-3);
    let failure = row.check().unwrap_err();
    assert!(failure.contains("weight gradient of burn 0.22.1 is wrong"), "{failure}");
}

/// One tensor in several places, and inputs that are data in part.
fn repeated() -> Vec<Row> {
    let same = || ConvOptions::new([1], [1], [1], 1);
    let weight = |x: &Tensor<1>| x.clone().narrow(0, 0, 12).reshape([2, 2, 3]);
    vec![
        row("two conv1d that share a weight", ANY, move |x| {
            let input = data([1, 2, 4], 0.2, &x.device());
            let hidden = module::conv1d(input, weight(&x), None, same()).tanh();
            f(module::conv1d(hidden, weight(&x), None, same()))
        }),
        row("conv1d of a batch of which half is data", ANY, move |x| {
            let half = data([1, 2, 3], 0.2, &x.device());
            let input = Tensor::cat(vec![half, x.clone().narrow(0, 0, 6).reshape([1, 2, 3])], 0);
            f(module::conv1d(input, weight(&x), None, same()))
        }),
        row("conv1d of data plus parameters", ANY, move |x| {
            let shift = x.clone().narrow(0, 3, 3).reshape([1, 1, 3]);
            let input = data([1, 2, 3], 0.2, &x.device()) + shift;
            f(module::conv1d(input, weight(&x), Some(x.clone().narrow(0, 5, 2)), same()))
        }),
        row("conv1d of a tensor by itself", ANY, move |x| {
            f(module::conv1d(weight(&x), weight(&x), None, same()))
        }),
        row("conv2d of a tensor by itself", ANY, |x| {
            let kernel = x.clone().reshape([1, 1, 3, 4]);
            let options = ConvOptions::new([1, 1], [1, 2], [1, 1], 1);
            f(module::conv2d(kernel.clone(), kernel, Some(x.narrow(0, 2, 1)), options))
        }),
        row("conv2d, its weight used once more", ANY, |x| {
            let kernel = x.clone().reshape([3, 1, 2, 2]);
            let input = data([1, 1, 3, 3], 0.2, &x.device());
            let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
            let y = module::conv2d(input, kernel.clone(), Some(x.clone().narrow(0, 0, 3)), options);
            f(y * kernel.reshape([1, 3, 2, 2])) * x
        }),
    ]
}
