//! Functions of one and two variables, matrix products: `src/tangent/rules/float.rs`. Sampling has
//! a file of its own here.

use burn::tensor::DType;

use super::{
    ABOVE_ONE, ANY, INSIDE_ONE, POSITIVE, Row, check, data, f, grid_sample, hessian_at, m, of_mask,
    row,
};
use crate::common::{assert_close, float};

pub fn rows() -> Vec<Row> {
    let lists = [
        of_one_variable(),
        of_two_variables(),
        constants(),
        matmul(),
        ranks(),
        grid_sample::rows(),
    ];
    lists.into_iter().flatten().collect()
}

#[test]
fn float_rules() {
    let lists = [of_one_variable(), of_two_variables(), constants(), matmul(), ranks()];
    check(&lists.into_iter().flatten().collect::<Vec<_>>());
}

fn of_one_variable() -> Vec<Row> {
    vec![
        row("exp", ANY, |x| x.exp()),
        row("log", POSITIVE, |x| x.log()),
        row("log1p", POSITIVE, |x| x.log1p()),
        row("erf", ANY, |x| x.erf()),
        row("sqrt", POSITIVE, |x| x.sqrt()),
        row("recip", POSITIVE, |x| x.recip()),
        row("powf_scalar", POSITIVE, |x| x.powf_scalar(1.7)),
        row("powf_scalar, square", ANY, |x| x.powf_scalar(2.0)),
        row("powf_scalar, negative", POSITIVE, |x| x.powf_scalar(-0.5)),
        row("sin", ANY, |x| x.sin()),
        row("cos", ANY, |x| x.cos()),
        row("tan", ANY, |x| x.tan()),
        row("sinh", ANY, |x| x.sinh()),
        row("cosh", ANY, |x| x.cosh()),
        row("tanh", ANY, |x| x.tanh()),
        row("asin", INSIDE_ONE, |x| x.asin()),
        row("acos", INSIDE_ONE, |x| x.acos()),
        row("atan", ANY, |x| x.atan()),
        row("asinh", ANY, |x| x.asinh()),
        row("acosh", ABOVE_ONE, |x| x.acosh()),
        row("atanh", INSIDE_ONE, |x| x.atanh()),
    ]
}

fn of_two_variables() -> Vec<Row> {
    vec![
        row("powf", POSITIVE, |x| x.clone().powf(x.flip([0]))),
        row("powf, to its own power", POSITIVE, |x| x.clone().powf(x)),
        row("powf, broadcast", POSITIVE, |x| f(m(x.clone()).powf(x.narrow(0, 0, 4).unsqueeze()))),
        row("powf, broadcast left", POSITIVE, |x| {
            f(x.clone().narrow(0, 0, 4).unsqueeze::<2>().powf(m(x)))
        }),
        row("powf of data", ANY, |x| data([12], 0.2, &x.device()).add_scalar(2.0).powf(x)),
        row("powf to a power of data", POSITIVE, |x| {
            let power = data([12], 0.2, &x.device());
            x.powf(power)
        }),
        row("atan2", POSITIVE, |x| x.clone().flip([0]).atan2(x)),
        row("atan2, broadcast both", POSITIVE, |x| {
            f(x.clone().narrow(0, 0, 4).unsqueeze::<2>().atan2(x.narrow(0, 4, 3).unsqueeze_dim(1)))
        }),
        row("atan2 of data", POSITIVE, |x| data([12], 0.2, &x.device()).atan2(x)),
        row("atan2 over data", POSITIVE, |x| {
            let over = data([12], 0.2, &x.device());
            x.atan2(over)
        }),
        row("hypot", POSITIVE, |x| x.clone().flip([0]).hypot(x)),
        row("hypot, broadcast both", POSITIVE, |x| {
            f(x.clone().narrow(0, 0, 4).unsqueeze::<2>().hypot(x.narrow(0, 4, 3).unsqueeze_dim(1)))
        }),
        row("hypot with data", POSITIVE, |x| data([12], 0.2, &x.device()).hypot(x)),
        row("cross", ANY, |x| f(x.clone().reshape([4, 3]).cross(x.flip([0]).reshape([4, 3]), 1))),
        row("cross along the first dimension", ANY, |x| f(m(x.clone()).cross(m(x.flip([0])), 0))),
        row("cross with data", ANY, |x| {
            f(m(x.clone()).cross(data([3, 4], 0.2, &x.device()), 0)).powi_scalar(2)
        }),
    ]
}

/// (xᶜ)″ = c (c − 1) x^(c−2), also at 0, for powers that are smooth there.
#[test]
fn second_derivatives_of_powers_at_zero() {
    let x = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0];
    let c = [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 0.0];
    let second = |i: usize| match c[i] {
        0.0 | 1.0 => 0.0,
        c => c * (c - 1.0) * f64::powf(x[i], c - 2.0),
    };
    let n = x.len();
    let expected: Vec<f64> =
        (0..n * n).map(|e| if e / n == e % n { second(e / n) } else { 0.0 }).collect();
    let found = hessian_at(&x, |x| {
        let power = float(c.to_vec(), [n], DType::F64, &x.device());
        x.powf(power).sum()
    });
    assert_close(&found, &expected, 1e-14, "powers");
}

fn constants() -> Vec<Row> {
    vec![
        row("round", ANY, |x| (x.clone() * 3.0).round() * x),
        row("floor", ANY, |x| (x.clone() * 3.0).floor() * x),
        row("ceil", ANY, |x| (x.clone() * 3.0).ceil() * x),
        row("trunc", ANY, |x| (x.clone() * 3.0).trunc() * x),
        row("int", ANY, |x| (x.clone() * 3.0).int().float().cast(x.dtype()) * x),
        row("is_nan", ANY, |x| of_mask(&x, x.clone().is_nan()) + x),
        row("is_inf", ANY, |x| of_mask(&x, x.clone().is_inf()) + x),
    ]
}

fn matmul() -> Vec<Row> {
    vec![
        row("matmul", ANY, |x| f(m(x.clone()).matmul(m(x).transpose()))),
        row("matmul by data", ANY, |x| f(m(x.clone()).matmul(x.ones_like().reshape([4, 3])))),
        row("matmul of data", ANY, |x| {
            f(data([2, 3], 0.2, &x.device()).matmul(m(x))).powi_scalar(2)
        }),
        row("matmul by itself", ANY, |x| {
            let square = x.narrow(0, 0, 9).reshape([3, 3]);
            f(square.clone().matmul(square))
        }),
        row("matmul by itself twice", ANY, |x| {
            let square = x.narrow(0, 0, 4).reshape([2, 2]);
            f(square.clone().matmul(square.clone()).matmul(square))
        }),
        row("matmul of lengths one", ANY, |x| {
            let (a, b) = (x.clone().narrow(0, 0, 3), x.narrow(0, 3, 1));
            f(a.reshape([3, 1]).matmul(b.reshape([1, 1])))
        }),
        row("matmul, outer", ANY, |x| f(x.clone().reshape([12, 1]).matmul(x.reshape([1, 12])))),
        row("matmul, inner", ANY, |x| f(x.clone().reshape([1, 12]).matmul(x.reshape([12, 1])))),
        row("matmul, batched", ANY, |x| {
            let (a, b) = (x.clone().reshape([3, 2, 2]), x.reshape([3, 2, 2]).swap_dims(1, 2));
            f(a.matmul(b))
        }),
        row("matmul, batch broadcast right", ANY, |x| {
            let (a, b) = (x.clone().reshape([3, 2, 2]), x.narrow(0, 3, 4).reshape([1, 2, 2]));
            f(a.matmul(b))
        }),
        row("matmul, batch broadcast left", ANY, |x| {
            let (a, b) = (x.clone().narrow(0, 3, 4).reshape([1, 2, 2]), x.reshape([3, 2, 2]));
            f(a.matmul(b))
        }),
        row("matmul, batch broadcast both", ANY, |x| {
            let (a, b) = (x.clone().reshape([3, 1, 2, 2]), x.narrow(0, 2, 8).reshape([1, 2, 2, 2]));
            f(a.matmul(b))
        }),
        row("matmul over a dimension of length zero", ANY, |x| {
            let (a, b) = (m(x.clone()).slice([0..3, 1..1]), m(x.clone()).slice([1..1, 0..4]));
            f(a.matmul(b) + m(x).powi_scalar(2))
        }),
    ]
}

fn ranks() -> Vec<Row> {
    let lists = [
        every_rank!("tanh", ANY, |x| x.tanh()),
        every_rank!("powf", POSITIVE, |x| x.clone().powf(x.narrow(-1, 0, 1))),
        every_rank!("hypot", POSITIVE, |x| x.clone().narrow(-1, 0, 1).hypot(x)),
    ];
    let matmuls = vec![
        row("matmul, rank 4", ANY, |x| {
            let a = x.reshape([1, 3, 2, 2]);
            f(a.clone().matmul(a.swap_dims(2, 3)))
        }),
        row("matmul, rank 5", ANY, |x| {
            let a = x.reshape([2, 1, 3, 1, 2]);
            f(a.clone().matmul(a.swap_dims(3, 4)))
        }),
    ];
    lists.into_iter().flatten().chain(matmuls).collect()
}
