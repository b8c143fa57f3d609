//! Whole networks: one row each (`models/table.rs`), measured in f64 against burn's own gradients,
//! then in f32 on a device against f64.
//!
//! Each test prints a line `accuracy | device | model | error` for each row:
//! `cargo test --test suite models -- --nocapture`.

mod by_formula;
mod recurrent_by_hand;
mod side_by_side;
mod table;

use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::kind::Autodiff;
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::Batch;
use burn_sharpness::graph::ModelState;
use burn_sharpness::prelude::*;
use burn_sharpness::{Error, Mode, TensorMapper, check_batching};

use crate::common::{max_abs, relative_error, vector, wave};
use crate::device;
use by_formula::{Shift, by_formula, gradients_of, in_mode};

/// A network, a batch and a loss that exist in any dtype and on any device.
pub struct Case<M, B> {
    name: &'static str,
    model: fn(&Device) -> M,
    batch: fn(DType, &Device) -> B,
    loss: fn(&M, B) -> Tensor<1>,
    /// The same function, where burn's module cannot run in f64 on a device that defaults to f32.
    loss_f64: fn(&M, B) -> Tensor<1>,
    mode: Mode,
    /// The only device on which burn has the gradient of every operation.
    only_on: Option<&'static str>,
    /// Phase of the formula of the parameters.
    phase: f64,
    /// Step of the central difference and its relative error.
    difference: (f64, f64),
    /// Relative difference between formulas that are equal but for rounding.
    rounding: f64,
}

/// Steps along a unit vector, h = 1e-5: h² = 1e-10 of truncation and ε/h = 2e-11 of rounding, times
/// derivatives and cancellations of up to a hundred.
const DIFFERENCE: (f64, f64) = (1e-5, 1e-8);

/// f64: ε = 2.2e-16. Some hundred operations in sequence, on sums that may cancel to a hundredth.
const ROUNDING: f64 = 2e-12;

/// f32: ε = 1.2e-7. Forward, backward and tangent part are up to 200 operations in sequence, which
/// round independently (√200 = 14), on sums that may cancel to a hundredth, or by functions that a
/// GPU computes to ten ε: 14 · 1.2e-7 · 100.
const F32: f64 = 1.7e-4;

/// Relative residual to which eigenvalues are solved, so that they are off by at most this.
const SOLVED: f64 = 1e-3;

/// What a device computes for a case.
struct Values {
    loss: f64,
    gradient: Vec<f64>,
    product: Vec<f64>,
}

/// A case whose types do not matter.
pub trait Row {
    fn name(&self) -> &'static str;

    /// Whether burn lacks the gradient of an operation on this device, which an error must say.
    fn lacks_a_gradient_on(&self, device: &str) -> bool;

    /// In f64 on flex: gradient and products against burn's own gradients. Returns the relative
    /// difference of the product.
    fn check_f64(&self) -> Result<f64, String>;

    /// In f64 on flex: programs for several copies against single runs. Returns the relative
    /// difference and what is looped over the copies.
    fn check_batching(&self) -> Result<(f64, BTreeSet<String>), String>;

    /// In f32 on `device`: against f64 on flex. Returns the relative error of the product.
    fn check_f32(&self, device: &Device) -> Result<f64, String>;

    /// In f64 on flex: blocks of vectors, and mini-batches side by side in row space. Returns the
    /// parameters in row space.
    fn check_side_by_side(&self) -> Result<Vec<String>, String>;
}

impl<M: Module, B: Batch> Case<M, B> {
    fn new(
        name: &'static str,
        model: fn(&Device) -> M,
        batch: fn(DType, &Device) -> B,
        loss: fn(&M, B) -> Tensor<1>,
    ) -> Self {
        let (mode, only_on, phase) = (Mode::Train, None, 0.0);
        let (difference, rounding) = (DIFFERENCE, ROUNDING);
        let loss_f64 = loss;
        Self { name, model, batch, loss, loss_f64, mode, only_on, phase, difference, rounding }
    }

    fn at(self, phase: f64) -> Self {
        Self { phase, ..self }
    }

    fn boxed(self) -> Box<dyn Row>
    where
        M: 'static,
        B: 'static,
    {
        Box::new(self)
    }

    fn model(&self, dtype: DType, device: &Device, shift: Option<Shift<'_>>) -> M {
        by_formula((self.model)(device), self.phase, dtype, device, shift)
    }

    fn hessian(
        &self,
        dtype: DType,
        device: &Device,
        loss: fn(&M, B) -> Tensor<1>,
    ) -> Result<HessianOperator, Error> {
        let (model, batch) = (self.model(dtype, device, None), (self.batch)(dtype, device));
        HessianOperator::in_mode(&model, batch, loss, self.mode)
    }

    /// The gradient by burn's autodiff at θ + h·v, of the network of this mode.
    fn burn_gradient(&self, v: &[f64], h: f64) -> Vec<f64> {
        let (dtype, device) = (DType::F64, Device::flex());
        let model = in_mode(self.model(dtype, &device, Some(Shift { v, h })).train(), self.mode);
        let batch = (self.batch)(dtype, &device).map_tensors(&mut OnAutodiff);
        gradients_of(&model, &(self.loss_f64)(&model, batch).backward())
    }

    fn values(hessian: &HessianOperator) -> Result<Values, Error> {
        let v = vector(hessian, &unit(hessian.dim(), 2.3));
        Ok(Values {
            loss: hessian.loss(),
            gradient: hessian.gradient().to_values()?,
            product: hessian.apply(&v)?.to_values()?,
        })
    }
}

impl<M: Module, B: Batch> Row for Case<M, B> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn lacks_a_gradient_on(&self, device: &str) -> bool {
        self.only_on.is_some_and(|only| only != device)
    }

    fn check_f64(&self) -> Result<f64, String> {
        let fails = |e: Error| format!("{}: {e}", self.name);
        let hessian = self.hessian(DType::F64, &Device::flex(), self.loss_f64).map_err(fails)?;
        let Values { gradient, product: hv, .. } = Self::values(&hessian).map_err(fails)?;
        let n = hessian.dim();
        let (u, v) = (unit(n, 1.1), unit(n, 2.3));

        self.near("gradient", &gradient, &self.burn_gradient(&v, 0.0), self.rounding)?;
        let (h, tolerance) = self.difference;
        let (above, below) = (self.burn_gradient(&v, h), self.burn_gradient(&v, -h));
        let slope = |(above, below): (&f64, &f64)| (above - below) / (2.0 * h);
        let difference: Vec<f64> = above.iter().zip(&below).map(slope).collect();
        self.near("difference of burn's gradients", &hv, &difference, tolerance)?;

        let hu = hessian.apply(&vector(&hessian, &u)).map_err(fails)?.to_values().map_err(fails)?;
        let (u_hv, v_hu) = (dot(&u, &hv), dot(&v, &hu));
        // ‖u‖ = ‖v‖ = 1: the scale of both is that of the products.
        let bound = self.rounding * (dot(&hv, &hv).sqrt() + dot(&hu, &hu).sqrt());
        let symmetric = (u_hv - v_hu).abs() <= bound;
        symmetric.then_some(()).ok_or_else(|| format!("{}: {u_hv} is not {v_hu}", self.name))?;
        Ok(relative_error(&hv, &difference))
    }

    fn check_batching(&self) -> Result<(f64, BTreeSet<String>), String> {
        let fails = |e: Error| format!("{}: {e}", self.name);
        let (dtype, device) = (DType::F64, Device::flex());
        let (model, batch) = (self.model(dtype, &device, None), (self.batch)(dtype, &device));
        let state = ModelState::in_mode(&model, self.mode).map_err(fails)?;
        let checked = check_batching(&model, &state, &batch, &self.loss_f64).map_err(fails)?;
        if checked.difference <= self.rounding {
            return Ok((checked.difference, checked.looped));
        }
        Err(format!("{}: {:e} at {}", self.name, checked.difference, checked.at))
    }

    fn check_f32(&self, device: &Device) -> Result<f64, String> {
        let fails = |e: Error| format!("{}: {e}", self.name);
        let exact = self.hessian(DType::F64, &Device::flex(), self.loss_f64).map_err(fails)?;
        let exact = Self::values(&exact).map_err(fails)?;
        let here = self.hessian(DType::F32, device, self.loss).map_err(fails)?;
        let here = Self::values(&here).map_err(fails)?;
        self.near("loss", &[here.loss], &[exact.loss], F32)?;
        self.near("gradient", &here.gradient, &exact.gradient, F32)?;
        self.near("product", &here.product, &exact.product, F32)?;

        let error = relative_error(&here.product, &exact.product);
        let sharpness = |dtype, device: &Device, loss| {
            let config = MiniBatchSharpnessConfig::new(2).with_num_batches(2).with_mode(self.mode);
            let (model, data) = (self.model(dtype, device, None), (self.batch)(dtype, device));
            let config = config.with_rel_tol(SOLVED);
            config.init(loss).measure(&model, &data).map(|m| m.values)
        };
        let here = sharpness(DType::F32, device, self.loss).map_err(fails)?;
        let exact = sharpness(DType::F64, &Device::flex(), self.loss_f64).map_err(fails)?;
        self.near("mini-batch sharpness", &here, &exact, 2.0 * SOLVED + F32)?;
        Ok(error)
    }

    fn check_side_by_side(&self) -> Result<Vec<String>, String> {
        self.check_block()?;
        self.check_lanes()
    }
}

impl<M, B> Case<M, B> {
    fn near(&self, what: &str, a: &[f64], b: &[f64], tolerance: f64) -> Result<(), String> {
        if a.len() != b.len() {
            return Err(format!("{}: {what}: {} values are not {}", self.name, a.len(), b.len()));
        }
        let (error, largest) = (relative_error(a, b), max_abs(b));
        // Not `error > tolerance`: NaN must fail.
        if error <= tolerance && largest > 0.0 {
            return Ok(());
        }
        Err(format!("{}: {what}: relative error {error:.1e} > {tolerance:.1e}", self.name))
    }
}

/// A vector of norm 1.
fn unit(n: usize, phase: f64) -> Vec<f64> {
    let v = wave(n, phase);
    let norm = dot(&v, &v).sqrt();
    v.iter().map(|v| v / norm).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Puts a batch on the autodiff device, as data.
struct OnAutodiff;

impl TensorMapper for OnAutodiff {
    fn map<const D: usize, K: Autodiff>(&mut self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        tensor.autodiff()
    }
}

#[test]
fn products_are_differences_of_burns_gradients() {
    let mut failures = Vec::new();
    for row in table::rows() {
        match row.check_f64() {
            Ok(error) => eprintln!("accuracy | flex f64 | {} | {error:.1e}", row.name()),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn many_at_once_are_as_one_at_a_time() {
    let mut failures = Vec::new();
    for row in table::rows() {
        match row.check_side_by_side() {
            Ok(params) => eprintln!("row space | {} | {}", row.name(), params.join(", ")),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn f32_on_the_device_agrees_with_f64() {
    let (name, device) = (device::name(), device::under_test());
    let mut failures = Vec::new();
    for row in table::rows() {
        match (row.check_f32(&device), row.lacks_a_gradient_on(&name)) {
            (Ok(error), false) => eprintln!("accuracy | {name} | {} | {error:.1e}", row.name()),
            (Err(failure), true) if failure.contains("not supported") => {
                eprintln!("accuracy | {name} | {} | burn has no gradient", row.name());
            }
            (Ok(_), true) => failures.push(format!("{} has a gradient now", row.name())),
            (Err(failure), _) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn batched_programs_are_single_runs() {
    let mut failures = Vec::new();
    for row in table::rows() {
        match row.check_batching() {
            Ok((error, looped)) => {
                eprintln!("batched | {} | {error:.1e} | looped: {looped:?}", row.name());
            }
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
