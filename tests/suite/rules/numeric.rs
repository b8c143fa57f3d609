//! Arithmetic, reductions, selections: `src/tangent/rules/numeric.rs`. The row lists are long
//! because there is a row for each way in which an operation can be used.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, ops::PadMode};
use burn_sharpness::prelude::*;

use super::{ANY, N, PHASE, POSITIVE, Point, Row, check, data, f, hessian_at, m, of_mask, row};
use crate::common::{assert_close, float, wave};

pub fn rows() -> Vec<Row> {
    let lists = [
        sums(),
        products(),
        of_one_variable(),
        reductions(),
        elementwise_ranks(),
        reduction_ranks(),
        products_through_zeros(),
        comparisons(),
        selections(),
        repeated(),
        empty(),
    ];
    lists.into_iter().flatten().collect()
}

#[test]
fn numeric_rules() {
    check(&rows());
}

/// `[1, 4]`, of the first four parameters.
fn line(x: &Tensor<1>) -> Tensor<2> {
    x.clone().narrow(0, 0, 4).unsqueeze()
}

/// `[3, 1]`, of three other parameters.
fn column(x: &Tensor<1>) -> Tensor<2> {
    x.clone().narrow(0, 4, 3).unsqueeze_dim(1)
}

fn sums() -> Vec<Row> {
    vec![
        row("add", ANY, |x| x.clone().powi_scalar(2) + x),
        row("add, broadcast left", ANY, |x| f(line(&x) + m(x).powi_scalar(2))),
        row("add, broadcast right", ANY, |x| f(m(x.clone()).powi_scalar(2) + column(&x))),
        row("add, broadcast both", ANY, |x| f(line(&x) + column(&x)).powi_scalar(2)),
        row("add data, broadcast", ANY, |x| {
            let ones = m(x.ones_like());
            f(line(&x) + ones)
        }),
        row("add to data, broadcast both", ANY, |x| {
            f(data([3, 1], 0.2, &x.device()) + line(&x)).powi_scalar(2)
        }),
        row("add_scalar", ANY, |x| x.add_scalar(0.3).powi_scalar(2)),
        row("sub", ANY, |x| x.clone().powi_scalar(2) - x),
        row("sub, broadcast left", ANY, |x| f(line(&x) - m(x).powi_scalar(2))),
        row("sub, broadcast right", ANY, |x| f(m(x.clone()).powi_scalar(2) - column(&x))),
        row("sub, broadcast both", ANY, |x| f(line(&x) - column(&x)).powi_scalar(2)),
        row("sub from data", ANY, |x| x.ones_like() - x.powi_scalar(2)),
        row("sub from data, broadcast both", ANY, |x| {
            f(data([3, 1], 0.2, &x.device()) - line(&x)).powi_scalar(2)
        }),
        row("sub data, broadcast both", ANY, |x| {
            f(line(&x) - data([3, 1], 0.2, &x.device())).powi_scalar(2)
        }),
        row("sub_scalar", ANY, |x| x.sub_scalar(0.3).powi_scalar(2)),
        row("neg", ANY, |x| -x.powi_scalar(2)),
    ]
}

fn products() -> Vec<Row> {
    vec![
        row("mul", ANY, |x| x.clone().flip([0]) * x),
        row("mul by itself", ANY, |x| x.clone() * x),
        row("mul, broadcast left", ANY, |x| f(line(&x) * m(x))),
        row("mul, broadcast right", ANY, |x| f(m(x.clone()) * column(&x))),
        row("mul, broadcast both", ANY, |x| f(line(&x) * column(&x))),
        row("mul data, broadcast both", ANY, |x| {
            f(data([3, 1], 0.2, &x.device()) * line(&x)).powi_scalar(2)
        }),
        row("mul_scalar", ANY, |x| x.mul_scalar(-1.3).powi_scalar(2)),
        row("div", POSITIVE, |x| x.clone().flip([0]) / x),
        row("div by itself", POSITIVE, |x| x.clone() / x.clone() * x),
        row("div, broadcast", POSITIVE, |x| f(m(x.clone()) / line(&x))),
        row("div, broadcast left", POSITIVE, |x| f(line(&x) / m(x))),
        row("div, broadcast both", POSITIVE, |x| f(line(&x) / column(&x))),
        row("div data by parameters", POSITIVE, |x| x.ones_like() / x),
        row("div data by parameters, broadcast both", POSITIVE, |x| {
            f(data([3, 1], 0.2, &x.device()) / line(&x))
        }),
        row("div parameters by data, broadcast both", ANY, |x| {
            f(line(&x) / data([3, 1], 0.2, &x.device()).add_scalar(2.0)).powi_scalar(2)
        }),
        row("div_scalar", ANY, |x| x.div_scalar(1.7).powi_scalar(2)),
        row("remainder", POSITIVE, |x| (x.clone() * 3.1).powi_scalar(2).remainder(x.flip([0]))),
        row("remainder, broadcast both", POSITIVE, |x| {
            f((line(&x) * 3.1).powi_scalar(2).remainder(column(&x)))
        }),
        row("remainder of data", POSITIVE, |x| {
            data([12], 0.2, &x.device()).mul_scalar(3.1).remainder(x)
        }),
        row("remainder by data, broadcast both", POSITIVE, |x| {
            let divisor = data([3, 1], 0.2, &x.device()).add_scalar(2.0);
            f((line(&x) * 3.1).powi_scalar(2).remainder(divisor))
        }),
        row("remainder_scalar", POSITIVE, |x| (x * 3.1).powi_scalar(2).remainder_scalar(0.73)),
    ]
}

fn of_one_variable() -> Vec<Row> {
    vec![
        row("abs", ANY, |x| x.clone().abs() * x),
        row("sign", ANY, |x| x.clone().sign() * x.powi_scalar(2)),
        row("powi_scalar", ANY, |x| x.powi_scalar(3)),
        row("powi_scalar, square", ANY, |x| x.powi_scalar(2)),
        row("powi_scalar, one", ANY, |x| x.clone().powi_scalar(1) * x),
        row("powi_scalar, zero", ANY, |x| x.clone().powi_scalar(0) * x),
        row("powi_scalar, negative", POSITIVE, |x| x.powi_scalar(-2)),
        row("powi", ANY, |x| x.clone().powi(x.ones_like().mul_scalar(3.0))),
        row("pad with a constant", ANY, |x| f(m(x).pad((1, 0, 0, 2), 0.7)).powi_scalar(2)),
        row("pad by reflection", ANY, |x| {
            f(m(x).pad((1, 1, 1, 0), PadMode::Reflect)).powi_scalar(2)
        }),
        row("pad by the edge", ANY, |x| f(m(x).pad((1, 1, 0, 1), PadMode::Edge)).powi_scalar(2)),
        row("full", ANY, |x| x.clone() * x.full_like(1.5)),
    ]
}

fn reductions() -> Vec<Row> {
    vec![
        row("mean", ANY, |x| x.powi_scalar(2).mean()),
        row("mean_dim", ANY, |x| f(m(x).powi_scalar(2).mean_dim(0))),
        row("mean_dims", ANY, |x| f(x.reshape([2, 3, 2]).powi_scalar(2).mean_dims(&[0, 2]))),
        row("sum", ANY, |x| x.powi_scalar(2).sum()),
        row("sum_dim", ANY, |x| f(m(x).powi_scalar(2).sum_dim(1))),
        row("sum_dim of length one", ANY, |x| {
            f(x.clone().unsqueeze_dim::<2>(1).powi_scalar(2).sum_dim(1)) * x
        }),
        row("sum_dims", ANY, |x| f(x.reshape([2, 3, 2]).powi_scalar(2).sum_dims(&[0, 2]))),
        row("cumsum", ANY, |x| f(m(x).powi_scalar(2).cumsum(1))),
        row("cumsum along the first dimension", ANY, |x| f(m(x).powi_scalar(2).cumsum(0))),
        row("prod", POSITIVE, |x| x.prod()),
        row("prod with a zero", ANY, |x| {
            (x.clone() * 1.5 - x.narrow(0, 3, 1) * 1.5 + 1e-30).prod()
        }),
        row("prod_dim", ANY, |x| f(m(x).prod_dim(1))),
        row("prod_dim along the first dimension", ANY, |x| f(m(x).prod_dim(0))),
        row("prod_dim of length one", ANY, |x| f(x.clone().unsqueeze_dim::<2>(1).prod_dim(1)) * x),
        row("prod of products", POSITIVE, |x| m(x).prod_dim(1).prod()),
        row("cumprod", POSITIVE, |x| f(m(x).cumprod(1)) * 0.5),
        row("cumprod along the first dimension", POSITIVE, |x| f(m(x).cumprod(0)) * 0.5),
        row("var", ANY, |x| f(m(x.clone()).var(1) * m(x))),
    ]
}

fn elementwise_ranks() -> Vec<Row> {
    let lists = [
        every_rank!("add", ANY, |x| x.clone().powi_scalar(2) + x.narrow(-1, 0, 1)),
        every_rank!("sub", ANY, |x| x.clone().narrow(0, 0, 1) - x.powi_scalar(2)),
        every_rank!("mul", ANY, |x| x.clone().narrow(0, 0, 1) * x),
        every_rank!("div", POSITIVE, |x| x.clone() / x.narrow(-1, 0, 1)),
        every_rank!("remainder_scalar", POSITIVE, |x| {
            (x * 3.1).powi_scalar(2).remainder_scalar(0.73)
        }),
        every_rank!("clamp", ANY, |x| x.powi_scalar(3).clamp(-0.3, 0.5)),
        every_rank!("abs", ANY, |x| x.clone().abs() * x),
    ];
    lists.into_iter().flatten().collect()
}

fn reduction_ranks() -> Vec<Row> {
    let lists = [
        every_rank!("sum", ANY, |x| x.powi_scalar(2).sum()),
        every_rank!("sum_dim", ANY, |x| x.clone().powi_scalar(2).sum_dim(-1) * x),
        every_rank!("sum_dim along the first dimension", ANY, |x| {
            x.clone().powi_scalar(2).sum_dim(0) * x
        }),
        every_rank!("mean_dim", ANY, |x| x.clone().powi_scalar(2).mean_dim(-1) * x),
        every_rank!("prod_dim", POSITIVE, |x| x.clone().prod_dim(-1) * x),
        every_rank!("cumsum", ANY, |x| x.clone().powi_scalar(2).cumsum(0) * x),
        every_rank!("cumprod", POSITIVE, |x| x.cumprod(-1) * 0.5),
        every_rank!("max", ANY, |x| x.clone().powi_scalar(3).max() * x.sum()),
        every_rank!("max_dim", ANY, |x| x.clone().powi_scalar(3).max_dim(-1) * x),
        every_rank!("min_dim", ANY, |x| x.clone().powi_scalar(3).min_dim(0) * x),
        every_rank!("sort", ANY, |x| x.clone().powi_scalar(3).sort(-1) * x),
        every_rank!("topk", ANY, |x| x.clone().powi_scalar(3).topk(1, -1) * x),
    ];
    lists.into_iter().flatten().collect()
}

/// x less its own values at `places`, where it is 0 to the bit, and varies as x.
fn with_zeros(x: Tensor<1>, places: &[usize]) -> Tensor<1> {
    let (mut subtracted, values) = (vec![0.0; N], wave(N, PHASE));
    places.iter().for_each(|&i| subtracted[i] = values[i]);
    let subtracted = float(subtracted, [N], DType::F64, &x.device());
    x - subtracted
}

/// Products with no, one and several elements that are 0; in matrices, of each kind.
fn products_through_zeros() -> Vec<Row> {
    vec![
        row("prod, one zero", ANY, |x| with_zeros(x, &[9]).prod()),
        row("prod, two zeros", ANY, |x| with_zeros(x, &[2, 9]).prod()),
        row("prod, three zeros", ANY, |x| with_zeros(x, &[2, 5, 9]).prod()),
        row("prod, one zero, squared", ANY, |x| {
            (with_zeros(x, &[9]).prod() * 20.0 - 1.0).powi_scalar(2)
        }),
        row("prod of an odd number, two zeros", ANY, |x| {
            with_zeros(x, &[0, 9]).slice(0..11).prod()
        }),
        row("prod_dim, zeros", ANY, |x| f(m(with_zeros(x, &[1, 4, 6])).prod_dim(1))),
        row("prod_dim along the first dimension, zeros", ANY, |x| {
            f(m(with_zeros(x, &[1, 4, 8])).prod_dim(0))
        }),
        row("cumprod, zeros", ANY, |x| f(m(with_zeros(x, &[1, 4, 6])).cumprod(1))),
        row("cumprod along the first dimension, zeros", ANY, |x| {
            f(m(with_zeros(x, &[1, 4, 8])).cumprod(0))
        }),
        row("cumprod of all, two zeros", ANY, |x| with_zeros(x, &[2, 5]).cumprod(0)),
    ]
}

/// ∂²Πx/∂xᵢ∂xⱼ is the product of the others, whatever is 0.
#[test]
fn second_derivatives_of_products() {
    let points: [&[f64]; 5] = [
        &[2.0, 0.0, 3.0],
        &[0.0, 0.0, 3.0],
        &[0.0, 0.0, 0.0],
        &[2.0, -1.5, 3.0],
        &[0.5, 0.0, 1.5, 0.0, -2.0],
    ];
    for x in points {
        let n = x.len();
        // Π of the first `m` without those at `left_out`.
        let others = |m: usize, left_out: &[usize]| -> f64 {
            (0..m).filter(|k| !left_out.contains(k)).map(|k| x[k]).product()
        };
        let matrix = |entry: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..n * n).map(|e| entry(e / n, e % n)).collect()
        };
        let second = |i: usize, j: usize| if i == j { 0.0 } else { others(n, &[i, j]) };
        let squared = |i: usize, j: usize| {
            let (value, first) = (others(n, &[]), others(n, &[i]) * others(n, &[j]));
            2.0 * first + 2.0 * (value - 1.0) * second(i, j)
        };
        let running = |i: usize, j: usize| {
            let of = |m: usize| others(m + 1, &[i, j]);
            if i == j { 0.0 } else { (i.max(j)..n).map(of).sum() }
        };
        // A few products of small numbers each.
        let check = |found: Vec<f64>, expected: &dyn Fn(usize, usize) -> f64, what: &str| {
            assert_close(&found, &matrix(expected), 1e-14, &format!("{what} at {x:?}"));
        };
        check(hessian_at(x, |x| x.prod()), &second, "prod");
        check(hessian_at(x, |x| (x.prod() - 1.0).powi_scalar(2)), &squared, "square of prod");
        check(hessian_at(x, |x| x.cumprod(0).sum()), &running, "cumprod");
    }
}

/// c/c is 1 to the bit, which c · (1/c) is not for every c: ⌊c/c⌋·w − 1 squared has the second
/// derivative 2 by w.
#[test]
fn divisions_by_a_scalar_are_exact() {
    let device = Device::flex();
    for dtype in [DType::F32, DType::F64] {
        let model = Point { x: Param::from_tensor(float(vec![0.5], [1], dtype, &device)) };
        for c in (1..=100).map(f64::from) {
            let loss = |model: &Point, x: Tensor<1>| {
                (x.div_scalar(c).floor() * model.x.val() - 1.0).powi_scalar(2).mean()
            };
            // First where nothing is near a whole number, so that the gradients agree in any case.
            for x in [1.25 * c, c] {
                let batch = float(vec![x], [1], dtype, &device);
                let hessian = model.hessian(batch, loss).unwrap();
                assert_eq!(hessian.to_dense().unwrap(), [[2.0]], "{x} / {c}, {dtype:?}");
            }
        }
    }
}

fn comparisons() -> Vec<Row> {
    vec![
        row("greater", ANY, |x| of_mask(&x, x.clone().greater(x.clone().flip([0]))) * x),
        row("greater_scalar", ANY, |x| of_mask(&x, x.clone().greater_scalar(0.1)) * x),
        row("greater_equal", ANY, |x| {
            of_mask(&x, x.clone().greater_equal(x.clone().flip([0]))) * x
        }),
        row("greater_equal_scalar", ANY, |x| of_mask(&x, x.clone().greater_equal_scalar(0.1)) * x),
        row("lower", ANY, |x| of_mask(&x, x.clone().lower(x.clone().flip([0]))) * x),
        row("lower_scalar", ANY, |x| of_mask(&x, x.clone().lower_scalar(0.1)) * x),
        row("lower_equal", ANY, |x| of_mask(&x, x.clone().lower_equal(x.clone().flip([0]))) * x),
        row("lower_equal_scalar", ANY, |x| of_mask(&x, x.clone().lower_equal_scalar(0.1)) * x),
        row("argmax", ANY, |x| f(m(x.clone()).argmax(1).float().cast(x.dtype()) * m(x))),
        row("argmin", ANY, |x| f(m(x.clone()).argmin(1).float().cast(x.dtype()) * m(x))),
        row("argtopk", ANY, |x| {
            f(m(x.clone()).argtopk(3, 1).float().cast(x.dtype()) * m(x).slice([0..3, 0..3]))
        }),
        row("argsort", ANY, |x| f(m(x.clone()).argsort(1).float().cast(x.dtype()) * m(x))),
    ]
}

fn selections() -> Vec<Row> {
    vec![
        row("clamp", ANY, |x| x.powi_scalar(3).clamp(-0.3, 0.5)),
        row("clamp_min", ANY, |x| x.powi_scalar(3).clamp_min(-0.3)),
        row("clamp_max", ANY, |x| x.powi_scalar(3).clamp_max(0.3)),
        row("max", ANY, |x| x.powi_scalar(3).max()),
        row("min", ANY, |x| x.powi_scalar(3).min()),
        row("max_abs", ANY, |x| x.powi_scalar(3).max_abs()),
        row("max_dim", ANY, |x| f(m(x).powi_scalar(3).max_dim(1))),
        row("max_dims", ANY, |x| f(x.reshape([2, 3, 2]).powi_scalar(3).max_dims(&[0, 2]))),
        row("min_dim", ANY, |x| f(m(x).powi_scalar(3).min_dim(0))),
        row("max_abs_dim", ANY, |x| f(m(x).powi_scalar(3).max_abs_dim(1))),
        row("max_dim_with_indices", ANY, |x| f(m(x).powi_scalar(3).max_dim_with_indices(1).0)),
        row("min_dim_with_indices", ANY, |x| f(m(x).powi_scalar(3).min_dim_with_indices(1).0)),
        row("max_pair", ANY, |x| x.clone().max_pair(x.powi_scalar(3))),
        row("max_pair, broadcast both", ANY, |x| f(line(&x).max_pair(column(&x)).powi_scalar(3))),
        row("min_pair", ANY, |x| x.clone().min_pair(x.powi_scalar(3))),
        row("topk", ANY, |x| f(m(x).powi_scalar(3).topk(2, 1))),
        row("topk along the first dimension", ANY, |x| f(m(x).powi_scalar(3).topk(2, 0))),
        row("topk_with_indices", ANY, |x| f(m(x).powi_scalar(3).topk_with_indices(2, 1).0)),
        row("sort", ANY, |x| f(m(x).powi_scalar(3).sort(1))),
        row("sort_descending", ANY, |x| f(m(x).powi_scalar(3).sort_descending(0))),
        row("sort_with_indices", ANY, |x| f(m(x).powi_scalar(3).sort_with_indices(1).0)),
        row("sort_descending_with_indices", ANY, |x| {
            f(m(x).powi_scalar(3).sort_descending_with_indices(0).0)
        }),
        row("cummax", ANY, |x| f(m(x).powi_scalar(3).cummax(1))),
        row("cummin", ANY, |x| f(m(x).powi_scalar(3).cummin(1))),
        row("cummax along the first dimension", ANY, |x| f(m(x).powi_scalar(3).cummax(0))),
    ]
}

fn repeated() -> Vec<Row> {
    vec![
        row("one tensor three times in a product", ANY, |x| x.clone() * x.clone() * x),
        row("one tensor three times in one sum", ANY, |x| x.clone() + x.clone() + x.powi_scalar(2)),
        row("one result three times", ANY, |x| {
            let y = x.exp();
            (y.clone().sin() + y.clone().powi_scalar(2)) * y.flip([0])
        }),
        row("one tensor as itself, in a reduction and as an index", ANY, |x| {
            let largest = x.clone().argmax(0);
            x.clone() * x.clone().powi_scalar(2).sum() + x.select(0, largest)
        }),
        row("a difference with itself", ANY, |x| (x.clone() - x.clone()) * x.clone() + x),
    ]
}

/// Sums over nothing are zeros: constants.
fn empty() -> Vec<Row> {
    vec![
        row("sum_dim of length zero", ANY, |x| {
            let none = m(x.clone()).slice([0..3, 2..2]);
            f(none.sum_dim(1) + m(x).powi_scalar(2))
        }),
        row("sum of nothing", ANY, |x| x.clone().slice(5..5).sum() + x.powi_scalar(2)),
        row("arithmetic on nothing", ANY, |x| {
            let none = m(x.clone()).slice([1..1, 0..4]);
            let sum = (none.clone() * line(&x) + none).sum_dim(0);
            f(sum + m(x).powi_scalar(2))
        }),
    ]
}
