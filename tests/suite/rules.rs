//! One row per operation, generated checks for each, and a census: an operation of the rule table
//! that no row differentiates fails the last test.
//!
//! A row is a function y(x) of twelve parameters. The loss Σ cᵢ sin(yᵢ) makes second derivatives of
//! y and products of first ones appear together. Checked in f64 on flex:
//! 1. the replayed value equals plain burn's;
//! 2. the recorded gradient equals burn's;
//! 3. the adjoint law, forward against reverse mode: dL·v = ⟨∇L, v⟩, without differences;
//! 4. dL·v equals a central difference of the loss;
//! 5. H·v equals a central difference of burn's gradient, and ⟨u, Hv⟩ = ⟨v, Hu⟩: this is where the
//!    `*Backward` operations are differentiated.

use std::collections::BTreeSet;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor, activation, module};
use burn::tensor::{IndexingUpdateOp, ops::PadMode};
use burn_sharpness::graph::{LossGraph, ModelState};
use burn_sharpness::prelude::*;
use burn_sharpness::{jvp, op_support};

use crate::common::{float, max_abs, wave};

const N: usize = 12;

/// Points between −1 and 1, none near 0, no two of equal magnitude.
const ANY: (f64, f64) = (0.0, 1.0);
/// Points between 0.3 and 1.7.
const POSITIVE: (f64, f64) = (1.0, 0.7);
/// Points between −0.7 and 0.7.
const INSIDE_ONE: (f64, f64) = (0.0, 0.7);
/// Points between 1.3 and 2.7.
const ABOVE_ONE: (f64, f64) = (2.0, 0.7);

struct Row {
    name: &'static str,
    /// Center and half-width of the interval of parameters.
    domain: (f64, f64),
    y: fn(Tensor<1>) -> Tensor<1>,
    /// Step of the central differences and its relative error.
    difference: (f64, f64),
    /// Relative difference between formulas that are equal but for rounding.
    rounding: f64,
}

/// Differences with h = 1e-5 in f64: h² ≈ 1e-10 of truncation and ε/h ≈ 2e-11 of rounding, times
/// third derivatives of up to a thousand (acosh and powers near the edge of their domains).
const FINE: (f64, f64) = (1e-5, 1e-6);

/// burn's own gradient rounds some scalars to f32 (that of `div_scalar` is 1/c in f32), ours does not.
const BURN: f64 = 1.2e-7;

/// A row that burn computes in f32 (ε = 1.2e-7): h = 1e-2 leaves ε/h ≈ 1e-5 of rounding and
/// h² = 1e-4 of truncation, times third derivatives.
fn row_through_f32(name: &'static str, y: fn(Tensor<1>) -> Tensor<1>) -> Row {
    Row { difference: (1e-2, 2e-3), rounding: 10.0 * f64::from(f32::EPSILON), ..row(name, ANY, y) }
}

fn row(name: &'static str, domain: (f64, f64), y: fn(Tensor<1>) -> Tensor<1>) -> Row {
    // Some ten operations of f64, on values that may cancel to a hundredth.
    Row { name, domain, y, difference: FINE, rounding: 1e-12 }
}

#[derive(Module, Debug)]
struct Point {
    x: Param<Tensor<1>>,
}

impl Row {
    fn point(&self, shift: &[f64], h: f64, device: &Device) -> Point {
        let (center, width) = self.domain;
        let base = wave(N, 0.4);
        let x = (0..N).map(|i| center + width * base[i] + h * shift[i]).collect();
        Point { x: Param::from_tensor(float(x, [N], DType::F64, device)) }
    }

    fn loss(&self) -> impl Fn(&Point, Tensor<1>) -> Tensor<1> + use<> {
        let y = self.y;
        move |model, weights| {
            let y = y(model.x.val()).sin();
            let n = y.dims()[0];
            (y * weights.narrow(0, 0, n)).sum()
        }
    }

    /// Loss and gradient by burn's own autodiff.
    fn burn(&self, v: &[f64], h: f64) -> (f64, Vec<f64>) {
        let device = Device::flex().autodiff();
        let point = self.point(v, h, &device);
        let loss = self.loss()(&point, weights(&device));
        let value: f64 = loss.clone().into_scalar();
        let mut grads = loss.backward();
        let zeros = || Tensor::zeros([N], (&Device::flex(), DType::F64));
        let gradient = point.x.val().grad_remove(&mut grads).unwrap_or_else(zeros);
        (value, gradient.into_data().iter::<f64>().collect())
    }

    fn check(&self) -> Result<(), String> {
        let device = Device::flex();
        let (u, v) = (wave(N, 1.1), wave(N, 2.3));
        let point = self.point(&v, 0.0, &device);
        let (value, gradient) = self.burn(&v, 0.0);
        let scale = max_abs(&gradient).max(1e-3);
        let near = |what: &str, a: f64, b: f64, tolerance: f64| {
            let bound = tolerance * scale.max(b.abs());
            let fine = (a - b).abs() <= bound;
            fine.then_some(()).ok_or_else(|| format!("{}: {what}: {a} is not {b}", self.name))
        };
        let hessian = point
            .hessian(weights(&device), self.loss())
            .map_err(|e| format!("{}: {e}", self.name))?;
        // 1: sums of twelve terms in another order.
        near("value", hessian.loss(), value, self.rounding)?;
        // 2 and 3: the same formulas in another order.
        let ours = hessian.gradient().to_values().unwrap();
        for (a, b) in ours.iter().zip(&gradient) {
            near("gradient", *a, *b, self.rounding.max(BURN))?;
        }
        let direction = hessian.space().from_values(&v).unwrap();
        let (value_jvp, forward) = jvp(&point, weights(&device), self.loss(), &direction).unwrap();
        near("value of jvp", value_jvp, value, self.rounding)?;
        near("adjoint law", forward, ours.iter().zip(&v).map(|(g, v)| g * v).sum(), self.rounding)?;
        // 4 and 5.
        let (h, tolerance) = self.difference;
        let (above, below) = (self.burn(&v, h), self.burn(&v, -h));
        near("difference of the loss", forward, (above.0 - below.0) / (2.0 * h), tolerance)?;
        let hv = hessian.apply(&direction).unwrap().to_values().unwrap();
        for ((hv, above), below) in hv.iter().zip(&above.1).zip(&below.1) {
            let difference = (above - below) / (2.0 * h);
            near("difference of the gradient", *hv, difference, tolerance)?;
        }
        let hu = hessian.apply(&hessian.space().from_values(&u).unwrap()).unwrap();
        let hu = hu.to_values().unwrap();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        near("symmetry", dot(&u, &hv), dot(&v, &hu), 100.0 * self.rounding)
    }

    /// The operations through which this row sends tangents, in the loss and in its gradient.
    fn covers(&self) -> BTreeSet<String> {
        let device = Device::flex();
        let point = self.point(&[0.0; N], 0.0, &device);
        let state = ModelState::of(&point).unwrap();
        let forward = LossGraph::capture(&point, &state, &weights(&device), &self.loss()).unwrap();
        let mut ops = forward.differentiated_ops().unwrap();
        let pushed = forward.differentiate().unwrap().push_forward().unwrap();
        ops.extend(pushed.differentiated_ops().iter().cloned());
        ops
    }
}

fn weights(device: &Device) -> Tensor<1> {
    let weights = wave(4 * N, 0.9).iter().map(|w| 1.0 + 0.5 * w).collect();
    float(weights, [4 * N], DType::F64, &device.clone().without_autodiff())
}

/// `[3, 4]`.
fn m(x: Tensor<1>) -> Tensor<2> {
    x.reshape([3, 4])
}

/// Flat again.
fn f<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let n = x.shape().num_elements();
    x.reshape([n])
}

fn ints<const D: usize>(values: &[i64], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::<1, Int>::from_ints(values, device).reshape(shape)
}

/// Floats of a mask, to keep its values in the loss.
fn of_mask(x: &Tensor<1>, mask: Tensor<1, burn::tensor::Bool>) -> Tensor<1> {
    mask.float().cast(x.dtype())
}

fn base_rows() -> Vec<Row> {
    vec![
        row("reshape", ANY, |x| f(x.reshape([2, 6]))),
        row("swap_dims", ANY, |x| f(m(x.clone()).swap_dims(0, 1)) * x),
        row("permute", ANY, |x| f(x.clone().reshape([2, 3, 2]).permute([2, 0, 1])) * x),
        row("flip", ANY, |x| f(m(x.clone()).flip([1])) * x),
        row("expand", ANY, |x| {
            f(x.clone().reshape([12, 1]).expand([12, 3])) * f(x.reshape([1, 12]).expand([3, 12]))
        }),
        row("unfold", ANY, |x| f(x.clone().unfold::<2, _>(0, 4, 2))),
        row("repeat_dim", ANY, |x| f(m(x).repeat_dim(1, 2)).powi_scalar(2)),
        row("cat of data and parameters", ANY, |x| {
            let zeros = x.clone().narrow(0, 0, 4).zeros_like();
            Tensor::cat(vec![x.clone().narrow(0, 2, 5), zeros, x], 0)
        }),
        row_through_f32("cast", |x| {
            let dtype = x.dtype();
            x.cast(DType::F32).cast(dtype).powi_scalar(2)
        }),
        row("slice", ANY, |x| f(m(x).slice([0..2, 1..4])).powi_scalar(3)),
        row("slice_assign", ANY, |x| {
            let value = m(x.clone()).slice([0..2, 0..2]).powi_scalar(2);
            f(m(x).slice_assign([1..3, 2..4], value)).powi_scalar(2)
        }),
        row("slice_assign of parameters into data", ANY, |x| {
            let value = m(x.clone()).slice([0..2, 0..2]);
            f(m(x.zeros_like()).slice_assign([1..3, 2..4], value)).powi_scalar(2)
        }),
        row("select", ANY, |x| {
            let i = ints(&[2, 0, 2, 1], [4], &x.device());
            f(m(x).select(0, i)).powi_scalar(2)
        }),
        row("select_assign", ANY, |x| {
            let i = ints(&[2, 0], [2], &x.device());
            let value = m(x.clone()).slice([0..2, 0..4]).powi_scalar(2);
            f(m(x).select_assign(0, i, value, IndexingUpdateOp::Add)).powi_scalar(2)
        }),
        row("gather", ANY, |x| {
            let i = ints(&[3, 0, 1, 1, 2, 2], [3, 2], &x.device());
            f(m(x).gather(1, i)).powi_scalar(2)
        }),
        row("scatter", ANY, |x| {
            let i = ints(&[3, 0, 1, 1, 2, 2], [3, 2], &x.device());
            let value = m(x.clone()).slice([0..3, 0..2]).powi_scalar(2);
            f(m(x).scatter(1, i, value, IndexingUpdateOp::Add)).powi_scalar(2)
        }),
        row("gather_nd", ANY, |x| {
            let i = ints(&[2, 3, 0, 1, 1, 1], [3, 2], &x.device());
            m(x).gather_nd::<2, 1>(i).powi_scalar(2)
        }),
        row("scatter_nd", ANY, |x| {
            let i = ints(&[2, 3, 0, 1, 1, 1], [3, 2], &x.device());
            let values = x.clone().narrow(0, 0, 3).powi_scalar(2);
            f(m(x).scatter_nd::<2, 1>(i, values, IndexingUpdateOp::Add)).powi_scalar(2)
        }),
        row("mask_where", ANY, |x| {
            let mask = x.clone().greater_scalar(0.1);
            x.clone().powi_scalar(2).mask_where(mask, x.powi_scalar(3))
        }),
        row("mask_fill", ANY, |x| {
            let mask = x.clone().greater_scalar(0.1);
            x.powi_scalar(2).mask_fill(mask, 3.0)
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

fn arithmetic_rows() -> Vec<Row> {
    vec![
        row("add", ANY, |x| x.clone().powi_scalar(2) + x),
        row("add, broadcast left", ANY, |x| {
            f(x.clone().narrow(0, 0, 4).unsqueeze::<2>() + m(x).powi_scalar(2))
        }),
        row("add, broadcast right", ANY, |x| {
            f(m(x.clone()).powi_scalar(2) + x.narrow(0, 4, 4).unsqueeze())
        }),
        row("add data, broadcast", ANY, |x| {
            let ones = m(x.ones_like());
            f(x.narrow(0, 0, 4).unsqueeze::<2>() + ones)
        }),
        row("add_scalar", ANY, |x| x.add_scalar(0.3).powi_scalar(2)),
        row("sub", ANY, |x| x.clone().powi_scalar(2) - x),
        row("sub, broadcast left", ANY, |x| {
            f(x.clone().narrow(0, 0, 4).unsqueeze::<2>() - m(x).powi_scalar(2))
        }),
        row("sub from data", ANY, |x| x.ones_like() - x.powi_scalar(2)),
        row("sub_scalar", ANY, |x| x.sub_scalar(0.3).powi_scalar(2)),
        row("mul", ANY, |x| x.clone().flip([0]) * x),
        row("mul by itself", ANY, |x| x.clone() * x),
        row("mul, broadcast both", ANY, |x| {
            f(x.clone().narrow(0, 0, 4).unsqueeze::<2>() * x.narrow(0, 4, 3).unsqueeze_dim(1))
        }),
        row("mul_scalar", ANY, |x| x.mul_scalar(-1.3).powi_scalar(2)),
        row("div", POSITIVE, |x| x.clone().flip([0]) / x),
        row("div, broadcast", POSITIVE, |x| f(m(x.clone()) / x.narrow(0, 0, 4).unsqueeze())),
        row("div data by parameters", POSITIVE, |x| x.ones_like() / x),
        row("div_scalar", ANY, |x| x.div_scalar(1.7).powi_scalar(2)),
        row("remainder", POSITIVE, |x| (x.clone() * 3.1).powi_scalar(2).remainder(x.flip([0]))),
        row("remainder_scalar", POSITIVE, |x| (x * 3.1).powi_scalar(2).remainder_scalar(0.73)),
        row("neg", ANY, |x| -x.powi_scalar(2)),
        row("abs", ANY, |x| x.clone().abs() * x),
        row("sign", ANY, |x| x.clone().sign() * x.powi_scalar(2)),
        row("powi_scalar", ANY, |x| x.powi_scalar(3)),
        row("powi", ANY, |x| x.clone().powi(x.ones_like().mul_scalar(3.0))),
        row("mean", ANY, |x| x.powi_scalar(2).mean()),
        row("mean_dim", ANY, |x| f(m(x).powi_scalar(2).mean_dim(0))),
        row("sum", ANY, |x| x.powi_scalar(2).sum()),
        row("sum_dim", ANY, |x| f(m(x).powi_scalar(2).sum_dim(1))),
        row("sum_dims", ANY, |x| f(x.reshape([2, 3, 2]).powi_scalar(2).sum_dims(&[0, 2]))),
        row("cumsum", ANY, |x| f(m(x).powi_scalar(2).cumsum(1))),
        row("prod", POSITIVE, |x| x.prod()),
        row("prod with a zero", ANY, |x| {
            (x.clone() * 1.5 - x.narrow(0, 3, 1) * 1.5 + 1e-30).prod()
        }),
        row("prod_dim", ANY, |x| f(m(x).prod_dim(1))),
        row("prod_dim of length one", ANY, |x| f(x.clone().unsqueeze_dim::<2>(1).prod_dim(1)) * x),
        row("prod of products", POSITIVE, |x| m(x).prod_dim(1).prod()),
        row("cumprod", POSITIVE, |x| f(m(x).cumprod(1)) * 0.5),
        row("pad with a constant", ANY, |x| f(m(x).pad((1, 0, 0, 2), 0.7)).powi_scalar(2)),
        row("pad by reflection", ANY, |x| {
            f(m(x).pad((1, 1, 1, 0), PadMode::Reflect)).powi_scalar(2)
        }),
        row("pad by the edge", ANY, |x| f(m(x).pad((1, 1, 0, 1), PadMode::Edge)).powi_scalar(2)),
        row("full", ANY, |x| x.clone() * x.full_like(1.5)),
    ]
}

fn selection_rows() -> Vec<Row> {
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
        row("clamp", ANY, |x| x.powi_scalar(3).clamp(-0.3, 0.5)),
        row("clamp_min", ANY, |x| x.powi_scalar(3).clamp_min(-0.3)),
        row("clamp_max", ANY, |x| x.powi_scalar(3).clamp_max(0.3)),
        row("max", ANY, |x| x.powi_scalar(3).max()),
        row("min", ANY, |x| x.powi_scalar(3).min()),
        row("max_abs", ANY, |x| x.powi_scalar(3).max_abs()),
        row("max_dim", ANY, |x| f(m(x).powi_scalar(3).max_dim(1))),
        row("min_dim", ANY, |x| f(m(x).powi_scalar(3).min_dim(0))),
        row("max_abs_dim", ANY, |x| f(m(x).powi_scalar(3).max_abs_dim(1))),
        row("max_dim_with_indices", ANY, |x| f(m(x).powi_scalar(3).max_dim_with_indices(1).0)),
        row("min_dim_with_indices", ANY, |x| f(m(x).powi_scalar(3).min_dim_with_indices(1).0)),
        row("max_pair", ANY, |x| x.clone().max_pair(x.powi_scalar(3))),
        row("topk", ANY, |x| f(m(x).powi_scalar(3).topk(2, 1))),
        row("topk_with_indices", ANY, |x| f(m(x).powi_scalar(3).topk_with_indices(2, 1).0)),
        row("sort", ANY, |x| f(m(x).powi_scalar(3).sort(1))),
        row("sort_descending", ANY, |x| f(m(x).powi_scalar(3).sort_descending(0))),
        row("sort_with_indices", ANY, |x| f(m(x).powi_scalar(3).sort_with_indices(1).0)),
        row("cummax", ANY, |x| f(m(x).powi_scalar(3).cummax(1))),
        row("cummin", ANY, |x| f(m(x).powi_scalar(3).cummin(1))),
    ]
}

fn float_rows() -> Vec<Row> {
    vec![
        row("exp", ANY, |x| x.exp()),
        row("log", POSITIVE, |x| x.log()),
        row("log1p", POSITIVE, |x| x.log1p()),
        row("erf", ANY, |x| x.erf()),
        row("sqrt", POSITIVE, |x| x.sqrt()),
        row("recip", POSITIVE, |x| x.recip()),
        row("powf_scalar", POSITIVE, |x| x.powf_scalar(1.7)),
        row("powf_scalar, square", ANY, |x| x.powf_scalar(2.0)),
        row("powf", POSITIVE, |x| x.clone().powf(x.flip([0]))),
        row("powf, broadcast", POSITIVE, |x| f(m(x.clone()).powf(x.narrow(0, 0, 4).unsqueeze()))),
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
        row("atan2", POSITIVE, |x| x.clone().flip([0]).atan2(x)),
        row("hypot", POSITIVE, |x| x.clone().flip([0]).hypot(x)),
        row("round", ANY, |x| (x.clone() * 3.0).round() * x),
        row("floor", ANY, |x| (x.clone() * 3.0).floor() * x),
        row("ceil", ANY, |x| (x.clone() * 3.0).ceil() * x),
        row("trunc", ANY, |x| (x.clone() * 3.0).trunc() * x),
        row("int", ANY, |x| (x.clone() * 3.0).int().float().cast(x.dtype()) * x),
        row("is_nan", ANY, |x| of_mask(&x, x.clone().is_nan()) + x),
        row("is_inf", ANY, |x| of_mask(&x, x.clone().is_inf()) + x),
        row("matmul", ANY, |x| f(m(x.clone()).matmul(m(x).transpose()))),
        row("matmul by data", ANY, |x| f(m(x.clone()).matmul(x.ones_like().reshape([4, 3])))),
        row("matmul, batched", ANY, |x| {
            let (a, b) = (x.clone().reshape([3, 2, 2]), x.reshape([3, 2, 2]).swap_dims(1, 2));
            f(a.matmul(b))
        }),
        row("matmul, batch broadcast", ANY, |x| {
            let (a, b) = (x.clone().reshape([3, 2, 2]), x.narrow(0, 3, 4).reshape([1, 2, 2]));
            f(a.matmul(b))
        }),
        row("cross", ANY, |x| f(x.clone().reshape([4, 3]).cross(x.flip([0]).reshape([4, 3]), 1))),
    ]
}

fn activation_rows() -> Vec<Row> {
    vec![
        row("relu", ANY, |x| activation::relu(x.clone()) * x),
        row("leaky_relu", ANY, |x| activation::leaky_relu(x.clone(), 0.1) * x),
        row("prelu", ANY, |x| f(activation::prelu(m(x.clone()), x.narrow(0, 2, 4)))),
        row("prelu with one slope", ANY, |x| f(activation::prelu(m(x.clone()), x.narrow(0, 2, 1)))),
        row("gelu", ANY, |x| activation::gelu(x * 2.0)),
        row("gelu_approximate", ANY, |x| activation::gelu_approximate(x * 2.0)),
        row("sigmoid", ANY, |x| activation::sigmoid(x * 2.0)),
        row_through_f32("hard_sigmoid", |x| {
            activation::hard_sigmoid(x.clone() * 2.0, 0.2, 0.5) * x
        }),
        row("log_sigmoid", ANY, |x| activation::log_sigmoid(x * 2.0)),
        row("softmax", ANY, |x| f(activation::softmax(m(x) * 2.0, 1)) * 3.0),
        row("softmin", ANY, |x| f(activation::softmin(m(x) * 2.0, 0)) * 3.0),
        row("log_softmax", ANY, |x| f(activation::log_softmax(m(x) * 2.0, 1))),
        row("quiet_softmax", ANY, |x| f(activation::quiet_softmax(m(x) * 2.0, 1)) * 3.0),
        row("silu", ANY, |x| activation::silu(x * 2.0)),
        row("softplus", ANY, |x| activation::softplus(x, 1.3)),
        row("mish", ANY, activation::mish),
        row("elu", ANY, |x| activation::elu(x.clone(), 0.7) * x),
        row("celu", ANY, |x| activation::celu(x.clone(), 0.7) * x),
        row("selu", ANY, |x| activation::selu(x.clone()) * x),
        row_through_f32("hard_swish", |x| activation::hard_swish(x * 2.0)),
        row("glu", ANY, |x| f(activation::glu(m(x), 1))),
        row("softsign", ANY, activation::softsign),
        row("tanhshrink", ANY, activation::tanhshrink),
        row("hardtanh", ANY, |x| activation::hardtanh(x.powi_scalar(3), -0.3, 0.3)),
        row("soft_shrink", ANY, |x| activation::soft_shrink(x.powi_scalar(3), 0.1)),
        row("hard_shrink", ANY, |x| activation::hard_shrink(x.powi_scalar(3), 0.1)),
        row("threshold", ANY, |x| activation::threshold(x.powi_scalar(3), 0.1, 0.3)),
    ]
}

fn module_rows() -> Vec<Row> {
    vec![
        row("linear with bias", ANY, |x| {
            let weight = x.clone().narrow(0, 2, 8).reshape([4, 2]);
            f(module::linear(m(x.clone()), weight, Some(x.narrow(0, 9, 2))))
        }),
        row("linear without bias, of data", ANY, |x| {
            let weight = x.clone().narrow(0, 2, 8).reshape([4, 2]);
            f(module::linear(m(x.ones_like()), weight, None)).powi_scalar(2)
        }),
        row("linear with only the bias trained", ANY, |x| {
            let weight = x.ones_like().narrow(0, 2, 8).reshape([4, 2]);
            f(module::linear(m(x.ones_like()), weight, Some(x.narrow(0, 9, 2)))).powi_scalar(2)
        }),
        row("linear of rank three", ANY, |x| {
            let weight = x.clone().narrow(0, 2, 4).reshape([2, 2]);
            f(module::linear(x.clone().reshape([3, 2, 2]), weight, Some(x.narrow(0, 9, 2))))
        }),
        row("embedding", ANY, |x| {
            let i = ints(&[2, 0, 2, 1], [2, 2], &x.device());
            f(module::embedding(m(x), i)).powi_scalar(2)
        }),
    ]
}

fn check(rows: &[Row]) {
    let failures: Vec<_> = rows.iter().filter_map(|row| row.check().err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn base_rules() {
    check(&base_rows());
}

#[test]
fn arithmetic_rules() {
    check(&arithmetic_rows());
}

#[test]
fn selection_rules() {
    check(&selection_rows());
}

#[test]
fn float_rules() {
    check(&float_rows());
}

#[test]
fn activation_rules() {
    check(&activation_rows());
}

#[test]
fn module_rules() {
    check(&module_rows());
}

/// Supported operations that no loss can send a tangent through, and why.
const WITHOUT_TANGENT: &[(&str, &str)] = &[
    ("base.Empty", "no input"),
    ("base.Ones", "no input"),
    ("base.Zeros", "no input"),
    ("numeric.Full", "no input"),
    // Not recorded by burn 0.22.1; rows of their own in src/tangent/tests.rs.
    ("numeric.Powi", "burn records powf"),
    ("float.IsNan", "burn records a comparison"),
    ("float.IsInf", "burn records a comparison"),
    ("module.Linear", "burn records matmul and add"),
    ("module.LinearXBackward", "burn records matmul"),
    ("module.LinearWeightBackward", "burn records matmul"),
    ("module.LinearBiasBackward", "burn records a sum"),
];

#[test]
fn every_supported_operation_has_a_row() {
    let rows = [
        base_rows(),
        arithmetic_rows(),
        selection_rows(),
        float_rows(),
        activation_rows(),
        module_rows(),
    ];
    let mut seen: BTreeSet<String> = rows.iter().flatten().flat_map(Row::covers).collect();
    for (name, why) in WITHOUT_TANGENT {
        assert!(
            seen.insert(name.to_string()),
            "{name} has a row now; it was left out because {why}"
        );
    }
    let supported = op_support().into_iter().filter(|op| op.reason.is_none());
    let missing: Vec<_> =
        supported.map(|op| op.full_name()).filter(|n| !seen.contains(n)).collect();
    assert!(missing.is_empty(), "no row differentiates {missing:?}");
}
