//! Shapes, indexing, masks: `src/tangent/rules/base.rs`. The row lists are long because there is a
//! row for each way in which an operation can be used.

use burn::tensor::{DType, IndexingUpdateOp, Tensor, s};

use super::{ANY, Row, check, data, f, ints, m, of_mask, row, row_through_f32};

pub fn rows() -> Vec<Row> {
    let lists = [rearrangements(), ranks(), slices(), indexing(), updates(), masks(), empty()];
    lists.into_iter().flatten().collect()
}

#[test]
fn base_rules() {
    check(&rows());
}

fn rearrangements() -> Vec<Row> {
    vec![
        row("reshape", ANY, |x| f(x.reshape([2, 6]))),
        row("swap_dims", ANY, |x| f(m(x.clone()).swap_dims(0, 1)) * x),
        row("permute", ANY, |x| f(x.clone().reshape([2, 3, 2]).permute([2, 0, 1])) * x),
        row("flip", ANY, |x| f(m(x.clone()).flip([1])) * x),
        row("flip of two dimensions", ANY, |x| f(m(x.clone()).flip([0, 1])) * x),
        row("expand", ANY, |x| {
            f(x.clone().reshape([12, 1]).expand([12, 3])) * f(x.reshape([1, 12]).expand([3, 12]))
        }),
        row("expand to a higher rank", ANY, |x| {
            f(x.clone().reshape([1, 12]).expand([2, 3, 12])) * f(x.reshape([12]).expand([6, 12]))
        }),
        row("expand in the middle", ANY, |x| {
            f(x.clone().reshape([3, 1, 4]).expand([3, 2, 4])) * f(m(x).repeat_dim(0, 2))
        }),
        row("unfold", ANY, |x| f(x.clone().unfold::<2, _>(0, 4, 2))),
        row("unfold without overlap", ANY, |x| f(m(x).unfold::<3, _>(1, 2, 2)).powi_scalar(2)),
        row("unfold with gaps, rank 2", ANY, |x| f(m(x).unfold::<3, _>(0, 1, 2)).powi_scalar(2)),
        row("repeat_dim", ANY, |x| f(m(x).repeat_dim(1, 2)).powi_scalar(2)),
        row("repeat_dim of length one", ANY, |x| {
            f(x.clone().reshape([1, 12]).repeat_dim(0, 3)) * f(x.reshape([12, 1]).repeat_dim(1, 3))
        }),
        row("cat of data and parameters", ANY, |x| {
            let zeros = x.clone().narrow(0, 0, 4).zeros_like();
            Tensor::cat(vec![x.clone().narrow(0, 2, 5), zeros, x], 0)
        }),
        row("cat of one tensor three times", ANY, |x| {
            let x = m(x).powi_scalar(2);
            f(Tensor::cat(vec![x.clone(), x.clone(), x], 1))
        }),
        row("stack", ANY, |x| {
            f(Tensor::stack::<2>(vec![x.clone(), x.clone().flip([0])], 1)) * x.repeat_dim(0, 2)
        }),
        row_through_f32("cast", |x| {
            let dtype = x.dtype();
            x.cast(DType::F32).cast(dtype).powi_scalar(2)
        }),
    ]
}

fn ranks() -> Vec<Row> {
    let lists = [
        every_rank!("swap_dims", ANY, |x| x.clone().swap_dims(0, -1).powi_scalar(2)),
        every_rank!("flip", ANY, |x| x.clone().flip([-1]) * x),
        every_rank!("repeat_dim", ANY, |x| x.repeat_dim(0, 2).powi_scalar(2)),
        every_rank!("slice", ANY, |x| x.clone().slice_dim(-1, 0..2) * x.slice_dim(-1, 0..1)),
        every_rank!("cat", ANY, |x| Tensor::cat(vec![x.clone().powi_scalar(2), x], -1)),
    ];
    lists.into_iter().flatten().collect()
}

fn slices() -> Vec<Row> {
    vec![
        row("slice", ANY, |x| f(m(x).slice([0..2, 1..4])).powi_scalar(3)),
        row("slice with steps", ANY, |x| f(m(x).slice(s![..;2, 1..4;2])).powi_scalar(3)),
        row("slice backwards", ANY, |x| f(m(x.clone()).slice(s![..;-1, ..])) * x),
        row("slice_assign", ANY, |x| {
            let value = m(x.clone()).slice([0..2, 0..2]).powi_scalar(2);
            f(m(x).slice_assign([1..3, 2..4], value)).powi_scalar(2)
        }),
        row("slice_assign with steps", ANY, |x| {
            let value = m(x.clone()).slice([0..2, 0..2]).powi_scalar(2);
            f(m(x).slice_assign(s![..;2, 0..4;2], value)).powi_scalar(2)
        }),
        row("slice_assign of parameters into data", ANY, |x| {
            let value = m(x.clone()).slice([0..2, 0..2]);
            f(m(x.zeros_like()).slice_assign([1..3, 2..4], value)).powi_scalar(2)
        }),
        row("slice_assign of data into parameters", ANY, |x| {
            let value = data([2, 2], 0.2, &x.device());
            f(m(x).slice_assign([1..3, 2..4], value)).powi_scalar(2)
        }),
        row("slice_fill", ANY, |x| f(m(x).slice_fill([1..3, 2..4], 0.7)).powi_scalar(2)),
    ]
}

fn indexing() -> Vec<Row> {
    vec![
        row("select", ANY, |x| {
            let i = ints(&[2, 0, 2, 1], [4], &x.device());
            f(m(x).select(0, i)).powi_scalar(2)
        }),
        row("select along the last dimension", ANY, |x| {
            let i = ints(&[3, 3, 0], [3], &x.device());
            f(m(x).select(1, i)).powi_scalar(2)
        }),
        row("gather", ANY, |x| {
            let i = ints(&[3, 0, 1, 1, 2, 2], [3, 2], &x.device());
            f(m(x).gather(1, i)).powi_scalar(2)
        }),
        row("gather along the first dimension", ANY, |x| {
            let i = ints(&[2, 0, 1, 1, 0, 0, 2, 2], [2, 4], &x.device());
            f(m(x).gather(0, i)).powi_scalar(2)
        }),
        row("gather_nd", ANY, |x| {
            let i = ints(&[2, 3, 0, 1, 1, 1], [3, 2], &x.device());
            m(x).gather_nd::<2, 1>(i).powi_scalar(2)
        }),
        row("gather_nd of lines, one twice", ANY, |x| {
            let i = ints(&[2, 0, 2], [3, 1], &x.device());
            f(m(x).gather_nd::<2, 2>(i)).powi_scalar(2)
        }),
    ]
}

/// `Add` takes repeated indices; for `Assign` they are undefined behaviour in burn.
fn updates() -> Vec<Row> {
    use IndexingUpdateOp::{Add, Assign};
    let part = |x: &Tensor<1>| m(x.clone()).slice([0..3, 0..2]).powi_scalar(2);
    let both = |update: IndexingUpdateOp| {
        vec![
            row(format!("select_assign, {update:?}"), ANY, move |x| {
                let i = ints(&[2, 0], [2], &x.device());
                let value = m(x.clone()).slice([0..2, 0..4]).powi_scalar(2);
                f(m(x).select_assign(0, i, value, update)).powi_scalar(2)
            }),
            row(format!("select_assign of parameters into data, {update:?}"), ANY, move |x| {
                let i = ints(&[3, 1], [2], &x.device());
                let into = data([3, 4], 0.2, &x.device());
                f(into.select_assign(1, i, part(&x), update)).powi_scalar(2)
            }),
            row(format!("select_assign of data into parameters, {update:?}"), ANY, move |x| {
                let i = ints(&[3, 1], [2], &x.device());
                let value = data([3, 2], 0.2, &x.device());
                f(m(x).select_assign(1, i, value, update)).powi_scalar(2)
            }),
            row(format!("scatter, {update:?}"), ANY, move |x| {
                let i = ints(&[3, 0, 1, 2, 2, 0], [3, 2], &x.device());
                f(m(x.clone()).scatter(1, i, part(&x), update)).powi_scalar(2)
            }),
            row(format!("scatter of parameters into data, {update:?}"), ANY, move |x| {
                let i = ints(&[3, 0, 1, 2, 2, 0], [3, 2], &x.device());
                let into = data([3, 4], 0.2, &x.device());
                f(into.scatter(1, i, part(&x), update)).powi_scalar(2)
            }),
            row(format!("scatter of data into parameters, {update:?}"), ANY, move |x| {
                let i = ints(&[3, 0, 1, 2, 2, 0], [3, 2], &x.device());
                let value = data([3, 2], 0.2, &x.device());
                f(m(x).scatter(1, i, value, update)).powi_scalar(2)
            }),
            row(format!("scatter_nd, {update:?}"), ANY, move |x| {
                let i = ints(&[2, 3, 0, 1, 1, 1], [3, 2], &x.device());
                let values = x.clone().narrow(0, 0, 3).powi_scalar(2);
                f(m(x).scatter_nd::<2, 1>(i, values, update)).powi_scalar(2)
            }),
            row(format!("scatter_nd of lines into data, {update:?}"), ANY, move |x| {
                let i = ints(&[2, 0], [2, 1], &x.device());
                let into = data([3, 4], 0.2, &x.device());
                let values = m(x).slice([0..2, 0..4]);
                f(into.scatter_nd::<2, 2>(i, values, update)).powi_scalar(2)
            }),
            row(format!("scatter_nd of data into parameters, {update:?}"), ANY, move |x| {
                let i = ints(&[2, 3, 0, 1, 1, 1], [3, 2], &x.device());
                let values = data([3], 0.2, &x.device());
                f(m(x).scatter_nd::<2, 1>(i, values, update)).powi_scalar(2)
            }),
        ]
    };
    let repeated = vec![
        row("select_assign, one line twice", ANY, |x| {
            let i = ints(&[2, 2], [2], &x.device());
            let value = m(x.clone()).slice([0..2, 0..4]).powi_scalar(2);
            f(m(x).select_assign(0, i, value, Add)).powi_scalar(2)
        }),
        row("scatter, one element twice", ANY, move |x| {
            let i = ints(&[3, 3, 1, 1, 2, 0], [3, 2], &x.device());
            f(m(x.clone()).scatter(1, i, part(&x), Add)).powi_scalar(2)
        }),
        row("scatter_nd, one element twice", ANY, |x| {
            let i = ints(&[2, 3, 0, 1, 2, 3], [3, 2], &x.device());
            let values = x.clone().narrow(0, 0, 3).powi_scalar(2);
            f(m(x).scatter_nd::<2, 1>(i, values, Add)).powi_scalar(2)
        }),
    ];
    [both(Add), both(Assign), repeated].into_iter().flatten().collect()
}

fn masks() -> Vec<Row> {
    vec![
        row("mask_where", ANY, |x| {
            let mask = x.clone().greater_scalar(0.1);
            x.clone().powi_scalar(2).mask_where(mask, x.powi_scalar(3))
        }),
        row("mask_where, data where the mask holds", ANY, |x| {
            let (mask, value) = (x.clone().greater_scalar(0.1), data([12], 0.2, &x.device()));
            x.powi_scalar(2).mask_where(mask, value)
        }),
        row("mask_where, data elsewhere", ANY, |x| {
            let mask = x.clone().greater_scalar(0.1);
            data([12], 0.2, &x.device()).mask_where(mask, x.powi_scalar(2))
        }),
        row("mask_where, a value of one element", ANY, |x| {
            let mask = x.clone().greater_scalar(0.1);
            x.clone().powi_scalar(2).mask_where(mask, x.narrow(0, 3, 1))
        }),
        row("mask_fill", ANY, |x| {
            let mask = x.clone().greater_scalar(0.1);
            x.powi_scalar(2).mask_fill(mask, 3.0)
        }),
        row("mask_fill, one mask for all lines", ANY, |x| {
            let mask = x.clone().narrow(0, 0, 4).greater_scalar(0.1).reshape([1, 4]);
            f(m(x).powi_scalar(2).mask_fill(mask, 3.0))
        }),
        row("equal", ANY, |x| of_mask(&x, x.clone().equal(x.clone())) * x.powi_scalar(2)),
        row("not_equal", ANY, |x| {
            of_mask(&x, x.clone().not_equal(x.clone().flip([0]))) * x.powi_scalar(2)
        }),
        row("equal_scalar", ANY, |x| of_mask(&x, x.clone().equal_scalar(0.5)) + x),
        row("not_equal_scalar", ANY, |x| of_mask(&x, x.clone().not_equal_scalar(0.5)) * x),
        row("any", ANY, |x| of_mask(&x, x.clone().any()) * x),
        row("all", ANY, |x| of_mask(&x, x.clone().all()) * x),
        row("any_dim", ANY, |x| f(m(x.clone()).any_dim(1).float().cast(x.dtype()) * m(x))),
        row("all_dim", ANY, |x| f(m(x.clone()).all_dim(1).float().cast(x.dtype()) * m(x))),
    ]
}

/// Dimensions of length 0: burn makes the empty slice without recording where it comes from.
fn empty() -> Vec<Row> {
    vec![
        row("cat with an empty slice", ANY, |x| {
            Tensor::cat(vec![x.clone().powi_scalar(2).slice(3..3), x.powi_scalar(2)], 0)
        }),
        row("cat with an operation on an empty slice", ANY, |x| {
            let none = m(x.clone()).slice([0..3, 2..2]).powi_scalar(2);
            f(Tensor::cat(vec![m(x).powi_scalar(2), none], 1))
        }),
        row("assignment to an empty slice", ANY, |x| {
            let none = m(x.clone()).slice([0..3, 2..2]);
            f(m(x).slice_assign([0..3, 1..1], none)).powi_scalar(2)
        }),
        row("rearrangements of an empty tensor", ANY, |x| {
            let none = m(x.clone()).slice([0..3, 2..2]).swap_dims(0, 1);
            let none = none.clone().flip([1]) + none.repeat_dim(0, 2).permute([0, 1]);
            f(Tensor::cat(vec![none, m(x).swap_dims(0, 1)], 0)).powi_scalar(2)
        }),
    ]
}
