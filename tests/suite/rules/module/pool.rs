//! Pooling: averages, adaptive averages, and the largest of each window, where no two are equal.

use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Tensor, module};

use crate::rules::{ANY, Row, check, f, row};

pub fn rows() -> Vec<Row> {
    let lists = [avg1d(), avg2d(), adaptive(), max1d(), max2d(), repeated()];
    lists.into_iter().flatten().collect()
}

#[test]
fn pool_rules() {
    check(&rows());
}

/// A row of a function of one tensor.
fn of<const D: usize>(
    name: String,
    shape: [usize; D],
    y: impl Fn(Tensor<D>) -> Tensor<D> + 'static,
) -> Row {
    let n = shape.iter().product();
    row(name, ANY, move |x| f(y(x.reshape(shape)))).params(n)
}

fn avg1d_of(shape: [usize; 3], options: AvgPoolOptions<1>) -> Row {
    let name = format!("avg_pool1d of {shape:?}, {options:?}");
    of(name, shape, move |x| module::avg_pool1d(x.powi_scalar(2), options.clone()))
}

fn avg2d_of(shape: [usize; 4], options: AvgPoolOptions<2>) -> Row {
    let name = format!("avg_pool2d of {shape:?}, {options:?}");
    of(name, shape, move |x| module::avg_pool2d(x.powi_scalar(2), options.clone()))
}

fn avg1d() -> Vec<Row> {
    let kernel = |size| AvgPoolOptions::new([size]);
    let mut rows = vec![
        avg1d_of([2, 2, 4], kernel(2)),
        avg1d_of([1, 2, 5], kernel(3).with_stride([1])),
        avg1d_of([1, 2, 6], kernel(2).with_stride([3])),
        avg1d_of([2, 1, 1], kernel(1)),
        avg1d_of([1, 2, 3], kernel(3)),
    ];
    for count in [true, false] {
        let padded = kernel(3).with_padding([1]).with_count_include_pad(count);
        let uneven = kernel(3).with_padding_pairs([(0, 2)]).with_count_include_pad(count);
        rows.extend([
            avg1d_of([1, 2, 5], padded.clone().with_stride([2])),
            avg1d_of([1, 2, 6], padded.clone().with_stride([2])),
            avg1d_of([1, 2, 6], padded.with_stride([2]).with_ceil_mode(true)),
            avg1d_of([1, 2, 5], uneven.clone().with_stride([2])),
            avg1d_of([1, 2, 5], uneven.with_stride([3]).with_ceil_mode(true)),
            avg1d_of([1, 2, 5], kernel(2).with_ceil_mode(true).with_count_include_pad(count)),
        ]);
    }
    rows
}

fn avg2d() -> Vec<Row> {
    let kernel = AvgPoolOptions::new;
    let mut rows = vec![
        avg2d_of([2, 2, 2, 4], kernel([2, 2])),
        avg2d_of([1, 2, 3, 5], kernel([2, 3]).with_stride([1, 2])),
        avg2d_of([1, 1, 5, 4], kernel([1, 2]).with_stride([3, 1])),
        avg2d_of([2, 1, 1, 1], kernel([1, 1])),
        avg2d_of([1, 2, 1, 4], kernel([1, 2])),
    ];
    for count in [true, false] {
        let padded = kernel([3, 2]).with_padding([1, 0]).with_count_include_pad(count);
        let uneven =
            kernel([3, 2]).with_padding_pairs([(1, 0), (0, 1)]).with_count_include_pad(count);
        rows.extend([
            avg2d_of([1, 2, 3, 4], padded.clone().with_stride([2, 1])),
            avg2d_of([1, 1, 4, 5], padded.clone().with_stride([2, 2])),
            avg2d_of([1, 1, 4, 5], padded.with_stride([2, 2]).with_ceil_mode(true)),
            avg2d_of([1, 2, 3, 4], uneven.clone().with_stride([1, 2])),
            avg2d_of([1, 1, 4, 4], uneven.with_stride([2, 2]).with_ceil_mode(true)),
        ]);
    }
    rows
}

fn adaptive() -> Vec<Row> {
    let one = |shape: [usize; 3], size: usize| {
        let name = format!("adaptive_avg_pool1d of {shape:?} to {size}");
        of(name, shape, move |x| module::adaptive_avg_pool1d(x.powi_scalar(2), size))
    };
    let two = |shape: [usize; 4], size: [usize; 2]| {
        let name = format!("adaptive_avg_pool2d of {shape:?} to {size:?}");
        of(name, shape, move |x| module::adaptive_avg_pool2d(x.powi_scalar(2), size))
    };
    let three = |shape: [usize; 5], size: [usize; 3]| {
        let name = format!("adaptive_avg_pool3d of {shape:?} to {size:?}");
        of(name, shape, move |x| module::adaptive_avg_pool3d(x.powi_scalar(2), size))
    };
    vec![
        one([2, 2, 4], 2),
        // Windows that overlap, all of it, as long as before, longer than before.
        one([1, 2, 5], 3),
        one([1, 2, 5], 1),
        one([1, 2, 3], 3),
        one([1, 2, 3], 5),
        one([2, 1, 1], 1),
        two([2, 1, 4, 2], [2, 1]),
        two([1, 2, 3, 5], [2, 3]),
        two([1, 2, 3, 3], [1, 1]),
        two([1, 1, 2, 3], [3, 4]),
        two([1, 2, 1, 4], [1, 3]),
        three([1, 1, 2, 4, 3], [1, 2, 2]),
        three([1, 2, 2, 3, 2], [1, 1, 1]),
        three([2, 1, 1, 2, 3], [1, 3, 2]),
    ]
}

/// With and without indices: two operations in the loss, one gradient.
fn max1d_of(shape: [usize; 3], options: MaxPoolOptions<1>) -> [Row; 2] {
    let indices = options.clone();
    [
        of(format!("max_pool1d of {shape:?}, {options:?}"), shape, move |x| {
            module::max_pool1d(x.powi_scalar(3), options.clone())
        }),
        of(format!("max_pool1d_with_indices of {shape:?}, {indices:?}"), shape, move |x| {
            let (y, i) = module::max_pool1d_with_indices(x.powi_scalar(3), indices.clone());
            y.clone() * i.float().cast(y.dtype()).add_scalar(1.0)
        }),
    ]
}

fn max2d_of(shape: [usize; 4], options: MaxPoolOptions<2>) -> [Row; 2] {
    let indices = options.clone();
    [
        of(format!("max_pool2d of {shape:?}, {options:?}"), shape, move |x| {
            module::max_pool2d(x.powi_scalar(3), options.clone())
        }),
        of(format!("max_pool2d_with_indices of {shape:?}, {indices:?}"), shape, move |x| {
            let (y, i) = module::max_pool2d_with_indices(x.powi_scalar(3), indices.clone());
            y.clone() * i.float().cast(y.dtype()).add_scalar(1.0)
        }),
    ]
}

fn max1d() -> Vec<Row> {
    let kernel = |size| MaxPoolOptions::new([size]);
    let rows = [
        max1d_of([2, 2, 4], kernel(2)),
        max1d_of([1, 2, 5], kernel(3).with_stride([1])),
        max1d_of([1, 2, 6], kernel(2).with_stride([3])),
        max1d_of([1, 2, 6], kernel(3).with_stride([2]).with_padding([1])),
        max1d_of([1, 2, 6], kernel(3).with_stride([2]).with_padding([1]).with_ceil_mode(true)),
        max1d_of([1, 2, 5], kernel(2).with_ceil_mode(true)),
        max1d_of([1, 2, 6], kernel(2).with_stride([1]).with_dilation([3])),
        max1d_of([1, 2, 6], kernel(3).with_stride([2]).with_padding([1]).with_dilation([2])),
        max1d_of([1, 2, 5], kernel(3).with_stride([2]).with_padding_pairs([(0, 1)])),
        max1d_of(
            [1, 2, 6],
            kernel(2).with_stride([3]).with_padding_pairs([(1, 0)]).with_ceil_mode(true),
        ),
        max1d_of([2, 1, 1], kernel(1)),
        max1d_of([1, 2, 3], kernel(3)),
    ];
    rows.into_iter().flatten().collect()
}

fn max2d() -> Vec<Row> {
    let kernel = MaxPoolOptions::new;
    let rows = [
        max2d_of([2, 2, 2, 4], kernel([2, 2])),
        max2d_of([1, 2, 3, 5], kernel([2, 3]).with_stride([1, 2])),
        max2d_of([1, 1, 5, 4], kernel([1, 2]).with_stride([3, 1])),
        max2d_of([1, 2, 3, 4], kernel([3, 2]).with_stride([2, 1]).with_padding([1, 0])),
        max2d_of(
            [1, 1, 4, 5],
            kernel([3, 2]).with_stride([2, 2]).with_padding([1, 0]).with_ceil_mode(true),
        ),
        max2d_of([1, 1, 4, 5], kernel([2, 2]).with_stride([1, 1]).with_dilation([2, 3])),
        max2d_of(
            [1, 1, 4, 5],
            kernel([2, 3]).with_stride([1, 2]).with_padding([1, 1]).with_dilation([3, 2]),
        ),
        max2d_of(
            [1, 2, 3, 4],
            kernel([3, 2]).with_stride([1, 2]).with_padding_pairs([(1, 0), (0, 1)]),
        ),
        max2d_of(
            [1, 1, 4, 4],
            kernel([3, 2])
                .with_stride([2, 2])
                .with_padding_pairs([(1, 0), (0, 1)])
                .with_ceil_mode(true),
        ),
        max2d_of([2, 1, 1, 1], kernel([1, 1])),
        max2d_of([1, 2, 1, 4], kernel([1, 2])),
    ];
    rows.into_iter().flatten().collect()
}

fn repeated() -> Vec<Row> {
    let pairs = || MaxPoolOptions::new([2]).with_stride([1]).with_padding_pairs([(1, 0)]);
    vec![
        of("max_pool1d, and its input once more".into(), [1, 2, 6], move |x| {
            module::max_pool1d(x.clone().powi_scalar(3), pairs()) * x
        }),
        of("max_pool1d of max_pool1d".into(), [1, 2, 6], move |x| {
            let y = module::max_pool1d(x.powi_scalar(3), MaxPoolOptions::new([2]).with_stride([1]));
            module::max_pool1d(y, MaxPoolOptions::new([3]).with_stride([2]))
        }),
        of("avg_pool2d, and its input once more".into(), [1, 2, 3, 2], |x| {
            let options = AvgPoolOptions::new([3, 1]).with_stride([1, 1]).with_padding([1, 0]);
            module::avg_pool2d(x.clone(), options) * x
        }),
    ]
}
