//! One row per operation, generated checks for each, and a census: an operation of the rule table
//! that no row differentiates fails the last test. The files here mirror `src/tangent/rules/`.
//!
//! A row is a function y(x) of a dozen parameters, more for convolutions. The loss Σ cᵢ sin(yᵢ)
//! makes second derivatives of y and products of first ones appear together. Checked in f64 on
//! flex:
//! 1. the replayed value equals plain burn's;
//! 2. the recorded gradient equals burn's;
//! 3. the adjoint law, forward against reverse mode: dL·v = ⟨∇L, v⟩, without differences;
//! 4. dL·v equals a central difference of the loss;
//! 5. H·v equals a central difference of burn's gradient, and ⟨u, Hv⟩ = ⟨v, Hu⟩: this is where the
//!    `*Backward` operations are differentiated.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor};
use burn_sharpness::graph::{LossGraph, ModelState};
use burn_sharpness::prelude::*;
use burn_sharpness::{check_batching, jvp, op_support};

use crate::common::{float, max_abs, wave};

/// Rows `$name` for x of each rank from 1 to 5, some of whose dimensions are 1.
macro_rules! every_rank {
    ($name:literal, $domain:expr, |$x:ident| $y:expr) => {{
        use $crate::rules::{f, row};
        vec![
            row(concat!($name, ", rank 1"), $domain, |$x| f($y)),
            row(concat!($name, ", rank 2"), $domain, |x| {
                let $x = x.reshape([3, 4]);
                f($y)
            }),
            row(concat!($name, ", rank 3"), $domain, |x| {
                let $x = x.reshape([2, 3, 2]);
                f($y)
            }),
            row(concat!($name, ", rank 4"), $domain, |x| {
                let $x = x.reshape([1, 3, 2, 2]);
                f($y)
            }),
            row(concat!($name, ", rank 5"), $domain, |x| {
                let $x = x.reshape([2, 1, 3, 1, 2]);
                f($y)
            }),
        ]
    }};
}

mod activation;
mod base;
mod float;
mod grid_sample;
mod inputs;
mod module;
mod numeric;

/// Parameters of a row that does not say how many it has.
const N: usize = 12;
/// Of the wave that parameters are.
const PHASE: f64 = 0.4;
/// The largest number of results of a row: each has a weight in the loss.
const MAX_OUTPUTS: usize = 256;

/// Points between −1 and 1, none near 0; of the first 60 no two within 3e-4 in magnitude.
const ANY: (f64, f64) = (0.0, 1.0);
/// Points between 0.3 and 1.7.
const POSITIVE: (f64, f64) = (1.0, 0.7);
/// Points between −0.7 and 0.7.
const INSIDE_ONE: (f64, f64) = (0.0, 0.7);
/// Points between 1.3 and 2.7.
const ABOVE_ONE: (f64, f64) = (2.0, 0.7);

type Function = Rc<dyn Fn(Tensor<1>) -> Tensor<1>>;

struct Row {
    name: String,
    /// How many parameters it has.
    n: usize,
    /// Center and half-width of the interval of parameters.
    domain: (f64, f64),
    y: Function,
    /// Step of the central differences and its relative error.
    difference: (f64, f64),
    /// Relative difference between formulas that are equal but for rounding.
    rounding: f64,
    /// Relative rounding of burn's own gradient.
    burn: f64,
    /// Whether H·v is compared with differences of the recorded gradient instead of burn's.
    difference_of_recorded: bool,
}

/// Differences with h = 1e-5 in f64: h² ≈ 1e-10 of truncation and ε/h ≈ 2e-11 of rounding, times
/// third derivatives of up to a thousand (acosh and powers near the edge of their domains, sums of
/// ten products inside a sine).
const FINE: (f64, f64) = (1e-5, 1e-6);

/// burn's own gradient rounds some scalars to f32 (that of `div_scalar` is 1/c in f32), ours does not.
const BURN: f64 = 1.2e-7;

fn row(
    name: impl Into<String>,
    domain: (f64, f64),
    y: impl Fn(Tensor<1>) -> Tensor<1> + 'static,
) -> Row {
    Row {
        name: name.into(),
        n: N,
        domain,
        y: Rc::new(y),
        difference: FINE,
        // Some ten operations of f64, on values that may cancel to a hundredth.
        rounding: 1e-12,
        burn: BURN,
        difference_of_recorded: false,
    }
}

/// A row that burn computes in f32 (ε = 1.2e-7): h = 1e-2 leaves ε/h ≈ 1e-5 of rounding and
/// h² = 1e-4 of truncation, times third derivatives.
fn row_through_f32(name: &str, y: impl Fn(Tensor<1>) -> Tensor<1> + 'static) -> Row {
    Row { difference: (1e-2, 2e-3), rounding: 10.0 * f64::from(f32::EPSILON), ..row(name, ANY, y) }
}

#[derive(Module, Debug)]
struct Point {
    x: Param<Tensor<1>>,
}

impl Row {
    /// The same row with `n` parameters.
    fn params(self, n: usize) -> Self {
        Self { n, ..self }
    }

    fn point(&self, shift: &[f64], h: f64, device: &Device) -> Point {
        let (center, width) = self.domain;
        let base = wave(self.n, PHASE);
        let x = (0..self.n).map(|i| center + width * base[i] + h * shift[i]).collect();
        Point { x: Param::from_tensor(float(x, [self.n], DType::F64, device)) }
    }

    fn loss(&self) -> impl Fn(&Point, Tensor<1>) -> Tensor<1> + use<> {
        let y = self.y.clone();
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
        let zeros = || Tensor::zeros([self.n], (&Device::flex(), DType::F64));
        let gradient = point.x.val().grad_remove(&mut grads).unwrap_or_else(zeros);
        (value, gradient.into_data().iter::<f64>().collect())
    }

    /// The recorded gradient.
    fn recorded(&self, v: &[f64], h: f64) -> Result<Vec<f64>, burn_sharpness::Error> {
        let device = Device::flex();
        let hessian = self.point(v, h, &device).hessian(weights(&device), self.loss())?;
        hessian.gradient().to_values()
    }

    /// Whether a is b, to `tolerance` relative to b or to `scale`.
    fn near(&self, what: &str, a: f64, b: f64, tolerance: f64, scale: f64) -> Result<(), String> {
        let fine = (a - b).abs() <= tolerance * scale.max(b.abs());
        fine.then_some(()).ok_or_else(|| format!("{}: {what}: {a} is not {b}", self.name))
    }

    fn check(&self) -> Result<(), String> {
        let device = Device::flex();
        let failed = |e: burn_sharpness::Error| format!("{}: {e}", self.name);
        let (u, v) = (wave(self.n, 1.1), wave(self.n, 2.3));
        let point = self.point(&v, 0.0, &device);
        let (value, gradient) = self.burn(&v, 0.0);
        let scale = max_abs(&gradient).max(1e-3);
        let near =
            |what: &str, a: f64, b: f64, tolerance: f64| self.near(what, a, b, tolerance, scale);
        let hessian = point.hessian(weights(&device), self.loss()).map_err(failed)?;
        // 1: sums in another order.
        near("value", hessian.loss(), value, self.rounding)?;
        // 2 and 3: the same formulas in another order.
        let ours = hessian.gradient().to_values().map_err(failed)?;
        for (a, b) in ours.iter().zip(&gradient) {
            near("gradient", *a, *b, self.rounding.max(self.burn))?;
        }
        let direction = hessian.space().from_values(&v).map_err(failed)?;
        let forward = jvp(&point, weights(&device), self.loss(), &direction);
        let (value_jvp, forward) = forward.map_err(failed)?;
        near("value of jvp", value_jvp, value, self.rounding)?;
        near("adjoint law", forward, dot(&ours, &v), self.rounding)?;
        // 4 and 5.
        let (h, tolerance) = self.difference;
        let (above, below) = (self.burn(&v, h), self.burn(&v, -h));
        near("difference of the loss", forward, (above.0 - below.0) / (2.0 * h), tolerance)?;
        let (above, below) = if self.difference_of_recorded {
            (self.recorded(&v, h).map_err(failed)?, self.recorded(&v, -h).map_err(failed)?)
        } else {
            (above.1, below.1)
        };
        let product = hessian.apply(&direction).map_err(failed)?;
        let hv = product.to_values().map_err(failed)?;
        for ((hv, above), below) in hv.iter().zip(&above).zip(&below) {
            let difference = (above - below) / (2.0 * h);
            near("difference of the gradient", *hv, difference, tolerance)?;
        }
        let other = hessian.space().from_values(&u).map_err(failed)?;
        let hu = hessian.apply(&other).and_then(|hu| hu.to_values()).map_err(failed)?;
        near("symmetry", dot(&u, &hv), dot(&v, &hu), 100.0 * self.rounding)
    }

    /// Programs for several copies against single runs. Returns what is looped over the copies.
    fn check_batching(&self) -> Result<BTreeSet<String>, String> {
        let device = Device::flex();
        let point = self.point(&vec![0.0; self.n], 0.0, &device);
        let failed = |e: burn_sharpness::Error| format!("{}: {e}", self.name);
        let state = ModelState::of(&point).map_err(failed)?;
        let checked = check_batching(&point, &state, &weights(&device), &self.loss());
        let checked = checked.map_err(failed)?;
        if checked.difference <= self.rounding {
            return Ok(checked.looped);
        }
        Err(format!("{}: {:e} at {}", self.name, checked.difference, checked.at))
    }

    /// The operations through which this row sends tangents, in the loss and in its gradient, and
    /// those of its loss that are expanded into others before.
    fn covers(&self) -> BTreeSet<String> {
        let device = Device::flex();
        let point = self.point(&vec![0.0; self.n], 0.0, &device);
        let state = ModelState::of(&point).unwrap();
        let forward = LossGraph::capture(&point, &state, &weights(&device), &self.loss()).unwrap();
        let mut ops = forward.differentiated_ops().unwrap();
        let pushed = forward.differentiate().unwrap().push_forward().unwrap();
        ops.extend(pushed.differentiated_ops().iter().cloned());
        let text = forward.to_string();
        let expanded = op_support().into_iter().filter(|op| op.rule == "expanded");
        let recorded = expanded.map(|op| op.full_name());
        ops.extend(recorded.filter(|name| text.contains(&format!(" = {name}("))));
        ops
    }
}

/// The Hessian of `loss` at `x` in f64, row by row.
fn hessian_at(x: &[f64], loss: impl Fn(Tensor<1>) -> Tensor<1>) -> Vec<f64> {
    let device = Device::flex();
    let point = Point { x: Param::from_tensor(float(x.to_vec(), [x.len()], DType::F64, &device)) };
    let loss = |model: &Point, _: Tensor<1>| loss(model.x.val());
    point.hessian(weights(&device), loss).unwrap().to_dense().unwrap().concat()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn weights(device: &Device) -> Tensor<1> {
    let weights = wave(MAX_OUTPUTS, 0.9).iter().map(|w| 1.0 + 0.5 * w).collect();
    float(weights, [MAX_OUTPUTS], DType::F64, &device.clone().without_autodiff())
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

/// Data of the loss: not parameters, between −1 and 1; different for each `phase`.
fn data<const D: usize>(shape: [usize; D], phase: f64, device: &Device) -> Tensor<D> {
    float(wave(shape.iter().product(), phase), shape, DType::F64, device)
}

/// Floats of a mask, to keep its values in the loss.
fn of_mask(x: &Tensor<1>, mask: Tensor<1, burn::tensor::Bool>) -> Tensor<1> {
    mask.float().cast(x.dtype())
}

/// Checks every row and reports all that fail, those that panic included.
fn check(rows: &[Row]) {
    check_each(rows, Row::check);
}

fn check_each(rows: &[Row], check: impl Fn(&Row) -> Result<(), String>) {
    let outcome = |row: &Row| {
        let checked = catch_unwind(AssertUnwindSafe(|| check(row)));
        checked.unwrap_or_else(|_| Err(format!("{}: panicked", row.name))).err()
    };
    let failures: Vec<_> = rows.iter().filter_map(outcome).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

/// The same operations on several copies, which sum folded products in another order.
#[test]
fn batched_programs_are_single_runs() {
    let rows = [base::rows(), numeric::rows(), float::rows(), activation::rows(), module::rows()];
    let looped = std::cell::RefCell::new(BTreeSet::new());
    check_each(&rows.into_iter().flatten().collect::<Vec<_>>(), |row| {
        looped.borrow_mut().extend(row.check_batching()?);
        Ok(())
    });
    eprintln!("looped: {:?}", looped.borrow());
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
    ("module.CtcLoss", "burn records gather, log1p, exp, ..., which rows of module/ctc.rs cover"),
];

#[test]
fn every_supported_operation_has_a_row() {
    let rows = [base::rows(), numeric::rows(), float::rows(), activation::rows(), module::rows()];
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
