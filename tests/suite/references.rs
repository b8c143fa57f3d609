//! Against float64 values of an independent program (JAX; `tests/references/jax.json`, whose
//! `conventions` say how every tensor is built): every model of that file, made of burn's own
//! modules.

mod curvature;
mod networks;

use burn::module::Module;
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::tensor::{DType, Device, Int, Tensor};
use burn_sharpness::Batch;
use burn_sharpness::prelude::*;
use serde::Deserialize;

use crate::common::{assert_close, float, relative_error, vector};
use crate::device;
use networks::{Mlp, Normalized, SelfAttention, TwoConvolutions, with_parameters};

#[derive(Deserialize)]
struct References {
    models: std::collections::BTreeMap<String, Reference>,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct Reference {
    loss_kind: String,
    input_shape: Vec<usize>,
    classes: usize,
    labels: Vec<i64>,
    params: Vec<ParamSpec>,
    n_params: usize,
    loss: f64,
    grad: Vec<f64>,
    Hv: Vec<f64>,
    vHv: f64,
    trace: f64,
    frobenius: f64,
    hessian_eigenvalues: Vec<f64>,
    gHg_over_gg: f64,
    outputs: Vec<f64>,
    ggn_top: f64,
    ggn_top5: Vec<f64>,
    ggn_trace: f64,
    vGv: f64,
    Gv_first8: Vec<f64>,
    ef_top: f64,
    ef_trace: f64,
    ntk_top: f64,
    ntk_trace: f64,
}

#[derive(Deserialize)]
struct ParamSpec {
    kind: String,
    shape: Vec<usize>,
}

fn references() -> References {
    serde_json::from_str(include_str!("../references/jax.json")).unwrap()
}

fn reference(name: &str) -> Reference {
    references().models.remove(name).unwrap()
}

impl Reference {
    /// Of `model`, whose forward pass is `forward`, on the reference's batch.
    fn hessian<M: Module, const D: usize>(
        &self,
        model: M,
        forward: fn(&M, Tensor<D>) -> Tensor<2>,
        dtype: DType,
        device: &Device,
    ) -> HessianOperator {
        let model = with_parameters(model, &self.params, dtype, device);
        let shape: [usize; D] = self.input_shape.clone().try_into().unwrap();
        let n = shape.iter().product::<usize>();
        let x = (0..n).map(|i| (0.37 * i as f64 + 0.2).cos()).collect();
        let y = Tensor::<1, Int>::from_ints(self.labels.as_slice(), device);
        assert!(self.labels.iter().all(|&l| l < self.classes as i64));
        let of_outputs = |out: Tensor<2>, y: Tensor<1, Int>| match self.loss_kind.as_str() {
            "ce" => CrossEntropyLossConfig::new().init(&out.device()).forward(out, y),
            "mse" => MseLoss::new().forward(out.clone(), one_hot(y, out), Reduction::Mean),
            kind => panic!("unknown loss {kind}"),
        };
        let loss =
            |model: &M, (x, y): (Tensor<D>, Tensor<1, Int>)| of_outputs(forward(model, x), y);
        let batch = (float(x, shape, dtype, device), y);
        if dtype == DType::F64 {
            self.check_curvature(&model, &batch, forward, of_outputs, F64);
        }
        self.check_minibatch_sharpness(&model, &batch, loss);
        let operator = model.hessian(batch, loss).unwrap();
        assert_eq!(operator.dim(), self.n_params);
        operator
    }

    /// Mini-batches of all samples, in any order, have the λ_max of the reference.
    fn check_minibatch_sharpness<M, B, F>(&self, model: &M, data: &B, loss: F)
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let eigenvalues = &self.hessian_eigenvalues;
        let (rel_tol, top) = (1e-3, eigenvalues[self.n_params - 1]);
        let config = MiniBatchSharpnessConfig::new(self.labels.len()).with_num_batches(2);
        let config = config.with_rel_tol(rel_tol).with_max_applies(4 * self.n_params);
        let measured = config.init(loss).measure(model, data).unwrap();
        assert_eq!(measured.n_unconverged, 0);
        for value in measured.values {
            // An eigenvalue lies within the residual; rounding of f32 besides.
            assert!((value - top).abs() <= 2.0 * rel_tol * top.abs(), "{value} {top}");
        }
    }
}

/// Ones at the labels, in shape and dtype of `out`: `one_hot` checks its input on the host, which a
/// recorded loss cannot do.
fn one_hot(labels: Tensor<1, Int>, out: Tensor<2>) -> Tensor<2> {
    let classes = Tensor::<1, Int>::arange(0..out.dims()[1] as i64, &out.device());
    let hits = labels.unsqueeze_dim::<2>(1).equal(classes.unsqueeze());
    hits.float().cast(out.dtype())
}

fn hessian(name: &str, dtype: DType, device: &Device) -> (Reference, HessianOperator) {
    let reference = reference(name);
    let operator = match name {
        "m1" => reference.hessian(Mlp::new(&[6, 5, 3], device), Mlp::tanh, dtype, device),
        "m2" => reference.hessian(Mlp::new(&[6, 5, 3], device), Mlp::relu, dtype, device),
        "m3" => reference.hessian(Mlp::new(&[8, 7, 7, 4], device), Mlp::gelu, dtype, device),
        "m4" => {
            let model = TwoConvolutions::new(device);
            reference.hessian(model, TwoConvolutions::forward, dtype, device)
        }
        "m5" => reference.hessian(Normalized::layer(device), Normalized::silu, dtype, device),
        "m6" => {
            reference.hessian(SelfAttention::new(device), SelfAttention::forward, dtype, device)
        }
        "m6r" => {
            reference.hessian(SelfAttention::new(device), SelfAttention::residual, dtype, device)
        }
        "m7" => reference.hessian(Normalized::batch(device), Normalized::sigmoid, dtype, device),
        name => panic!("no model for the reference {name}"),
    };
    (reference, operator)
}

/// Returns the relative error of the product.
fn check(name: &str, dtype: DType, device: &Device, tolerance: f64) -> f64 {
    let (reference, operator) = hessian(name, dtype, device);
    let n = reference.n_params;
    let v: Vec<f64> = (0..n).map(|i| (1.1 * i as f64 + 0.5).sin()).collect();
    let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let v: Vec<f64> = v.iter().map(|v| v / norm).collect();
    let what = |quantity: &str| format!("{name}, {dtype:?}: {quantity}");

    assert_close(&[operator.loss()], &[reference.loss], tolerance, &what("loss"));
    let gradient = operator.gradient().to_values().unwrap();
    assert_close(&gradient, &reference.grad, tolerance, &what("gradient"));
    let direction = vector(&operator, &v);
    let product = operator.apply(&direction).unwrap();
    let hv = product.to_values().unwrap();
    assert_close(&hv, &reference.Hv, tolerance, &what("Hv"));
    let scale = reference.Hv.iter().map(|h| h * h).sum::<f64>().sqrt();
    let curvature = direction.dot(&product).unwrap();
    assert!((curvature - reference.vHv).abs() <= tolerance * scale, "{}", what("vHv"));
    let ratio = operator.directional_sharpness().unwrap().unwrap();
    assert_close(&[ratio], &[reference.gHg_over_gg], tolerance, &what("gHg/gg"));

    let dense = operator.to_dense().unwrap();
    let trace: f64 = (0..n).map(|i| dense[i][i]).sum();
    let spread = reference.hessian_eigenvalues.iter().map(|e| e.abs()).sum::<f64>();
    assert!((trace - reference.trace).abs() <= tolerance * spread, "{}", what("trace"));
    let frobenius = dense.concat().iter().map(|h| h * h).sum::<f64>().sqrt();
    assert_close(&[frobenius], &[reference.frobenius], tolerance, &what("frobenius"));
    check_ends(&reference, &operator, tolerance, &what("eigenvalue"));
    relative_error(&hv, &reference.Hv)
}

/// Both ends of the spectrum.
fn check_ends(reference: &Reference, operator: &HessianOperator, tolerance: f64, what: &str) {
    let (n, eigenvalues) = (reference.n_params, &reference.hessian_eigenvalues);
    let ends = [(Which::LargestAlgebraic, n - 1), (Which::SmallestAlgebraic, 0)];
    for (which, position) in ends {
        // The error of a Rayleigh quotient is quadratic in the residual.
        let rel_tol = (0.1 * tolerance).sqrt().min(1e-6).max(40.0 * operator.space().epsilon());
        let solver = LanczosConfig::new().with_which(which).with_rel_tol(rel_tol);
        let found = solver.with_max_applies(4 * n).init().solve(operator, None).unwrap();
        let norm = eigenvalues[n - 1].abs().max(eigenvalues[0].abs());
        let error = (found.first().value - eigenvalues[position]).abs();
        assert!(error <= tolerance * norm, "{what} {which:?}: {error:.1e}");
    }
}

/// 1e-10: rounding of f64 through a few hundred operations, with room for cancellation.
const F64: f64 = 1e-10;

/// f32: ε = 1.2e-7; each of about 60 operations in sequence rounds once, and sums of up to 30 terms
/// cancel to about a tenth: 60 · 1.2e-7 · 10 = 7e-5.
const F32: f64 = 7e-5;

#[test]
fn m1_tanh_cross_entropy() {
    check("m1", DType::F64, &Device::flex(), F64);
}

#[test]
fn m2_relu_squared_error() {
    check("m2", DType::F64, &Device::flex(), F64);
}

#[test]
fn m3_gelu_cross_entropy() {
    check("m3", DType::F64, &Device::flex(), F64);
}

#[test]
fn m4_convolutions_and_pools() {
    check("m4", DType::F64, &Device::flex(), F64);
}

#[test]
fn m5_layer_norm_silu() {
    check("m5", DType::F64, &Device::flex(), F64);
}

#[test]
fn m6_attention() {
    check("m6", DType::F64, &Device::flex(), F64);
}

#[test]
fn m6r_attention_with_a_residual() {
    check("m6r", DType::F64, &Device::flex(), F64);
}

#[test]
fn m7_batch_norm_sigmoid() {
    check("m7", DType::F64, &Device::flex(), F64);
}

#[test]
fn f32_on_the_device_agrees_to_its_rounding() {
    for name in references().models.keys() {
        let error = check(name, DType::F32, &device::under_test(), F32);
        eprintln!("accuracy | {} | {name} | {error:.1e}", device::name());
    }
}

#[test]
fn plain_and_autodiff_devices_give_the_same_bits() {
    for name in references().models.keys() {
        let values = |device: &Device| {
            let (_, operator) = hessian(name, DType::F64, device);
            let v = operator.gradient().clone();
            let mut all = operator.apply(&v).unwrap().to_values().unwrap();
            all.extend(v.to_values().unwrap());
            all.push(operator.loss());
            all
        };
        assert_eq!(values(&Device::flex()), values(&Device::flex().autodiff()), "{name}");
    }
}
