//! Against float64 values of an independent program (JAX; `tests/references/jax.json`, whose
//! `conventions` say how every tensor is built). m1, m2, m3 and m5: the models without
//! convolution, pooling, fused attention and batch normalization.

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{DType, Device, Int, Tensor, activation};
use burn_sharpness::prelude::*;
use serde::Deserialize;

use crate::common::{Dense, assert_close, float, vector};

#[derive(Deserialize)]
struct References {
    models: std::collections::HashMap<String, Reference>,
}

#[derive(Deserialize)]
#[allow(non_snake_case)]
struct Reference {
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
}

#[derive(Deserialize)]
struct ParamSpec {
    kind: String,
    shape: Vec<usize>,
}

fn reference(name: &str) -> Reference {
    let text = include_str!("../references/jax.json");
    let mut all: References = serde_json::from_str(text).unwrap();
    all.models.remove(name).unwrap()
}

/// Parameter tensor number `p` of a model, by the formula of the conventions.
fn param<const D: usize>(spec: &ParamSpec, p: usize, dtype: DType, device: &Device) -> Tensor<D> {
    let shape: [usize; D] = spec.shape.clone().try_into().unwrap();
    let n = shape.iter().product::<usize>();
    let pattern = |i: usize| (0.7 * i as f64 + 1.3 * p as f64 + 0.11).sin();
    let value = |i: usize| match spec.kind.as_str() {
        "weight" => pattern(i) / (shape[0] as f64).sqrt(),
        "bias" | "beta" => 0.1 * pattern(i),
        "gamma" => 1.0 + 0.1 * pattern(i),
        kind => panic!("unknown kind {kind}"),
    };
    float((0..n).map(value).collect(), shape, dtype, device)
}

#[derive(Clone, Copy, Debug)]
enum Activation {
    Tanh,
    Relu,
    Gelu,
    NormSilu,
}

#[derive(Module, Debug)]
struct Net {
    layers: Vec<Dense>,
    norm: Option<Norm>,
    #[module(skip)]
    activation: Kind,
}

#[derive(Clone, Copy, Debug)]
struct Kind(Activation);

/// Layer normalization in elementwise operations, biased variance.
#[derive(Module, Debug)]
struct Norm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

impl Norm {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let centered = x.clone() - x.mean_dim(1);
        let variance = centered.clone().powi_scalar(2).mean_dim(1);
        let normal = centered / (variance + 1e-5).sqrt();
        normal * self.gamma.val().unsqueeze() + self.beta.val().unsqueeze()
    }
}

impl Net {
    fn new(name: &str, reference: &Reference, dtype: DType, device: &Device) -> Self {
        let specs = &reference.params;
        let dense = |p: usize| Dense {
            weight: Param::from_tensor(param(&specs[p], p, dtype, device)),
            bias: Param::from_tensor(param(&specs[p + 1], p + 1, dtype, device)),
        };
        let (activation, starts) = match name {
            "m1" => (Activation::Tanh, vec![0, 2]),
            "m2" => (Activation::Relu, vec![0, 2]),
            "m3" => (Activation::Gelu, vec![0, 2, 4]),
            "m5" => (Activation::NormSilu, vec![0, 4]),
            _ => panic!("no such model"),
        };
        let norm = matches!(activation, Activation::NormSilu).then(|| Norm {
            gamma: Param::from_tensor(param(&specs[2], 2, dtype, device)),
            beta: Param::from_tensor(param(&specs[3], 3, dtype, device)),
        });
        let layers = starts.into_iter().map(dense).collect();
        Self { layers, norm, activation: Kind(activation) }
    }

    fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        for layer in &self.layers[..last] {
            x = layer.forward(x);
            x = match (self.activation.0, &self.norm) {
                (Activation::Tanh, _) => x.tanh(),
                (Activation::Relu, _) => activation::relu(x),
                (Activation::Gelu, _) => activation::gelu(x),
                (Activation::NormSilu, Some(norm)) => activation::silu(norm.forward(x)),
                (Activation::NormSilu, None) => unreachable!(),
            };
        }
        self.layers[last].forward(x)
    }
}

type Batch = (Tensor<2>, Tensor<1, Int>);

fn cross_entropy(model: &Net, (x, y): Batch) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&x.device()).forward(model.forward(x), y)
}

fn mean_squared_error(model: &Net, (x, y): Batch) -> Tensor<1> {
    let out = model.forward(x);
    // `one_hot` checks its input on the host, which a recorded loss cannot do.
    let classes = Tensor::<1, Int>::arange(0..out.dims()[1] as i64, &out.device());
    let hits = y.unsqueeze_dim::<2>(1).equal(classes.unsqueeze());
    let target = hits.float().cast(out.dtype());
    (out - target).powi_scalar(2).mean()
}

/// The operator, and the positions of JAX's parameter order in ours (m5's norm is declared last
/// here, third there).
fn hessian(name: &str, dtype: DType, device: &Device) -> (Reference, HessianOperator, Vec<usize>) {
    let reference = reference(name);
    let model = Net::new(name, &reference, dtype, device);
    let shape: [usize; 2] = reference.input_shape.clone().try_into().unwrap();
    let n = shape[0] * shape[1];
    let x = float((0..n).map(|i| (0.37 * i as f64 + 0.2).cos()).collect(), shape, dtype, device);
    let y = Tensor::<1, Int>::from_ints(reference.labels.as_slice(), device);
    assert!(reference.labels.iter().all(|&l| l < reference.classes as i64));
    let loss = if name == "m2" { mean_squared_error } else { cross_entropy };
    let operator = model.hessian((x, y), loss).unwrap();
    assert_eq!(operator.dim(), reference.n_params);
    let order = if name == "m5" {
        let sizes: Vec<usize> = reference.params.iter().map(|p| p.shape.iter().product()).collect();
        let starts: Vec<usize> = sizes
            .iter()
            .scan(0, |sum, n| {
                let start = *sum;
                *sum += n;
                Some(start)
            })
            .collect();
        [0, 1, 4, 5, 2, 3].iter().flat_map(|&p| starts[p]..starts[p] + sizes[p]).collect()
    } else {
        (0..reference.n_params).collect()
    };
    (reference, operator, order)
}

fn check(name: &str, dtype: DType, device: &Device, tolerance: f64) {
    let (reference, operator, order) = hessian(name, dtype, device);
    let n = reference.n_params;
    let ours = |theirs: &[f64]| order.iter().map(|&i| theirs[i]).collect::<Vec<_>>();
    let v: Vec<f64> = (0..n).map(|i| (1.1 * i as f64 + 0.5).sin()).collect();
    let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let v = ours(&v.iter().map(|v| v / norm).collect::<Vec<_>>());

    assert_close(&[operator.loss()], &[reference.loss], tolerance, "loss");
    let gradient = operator.gradient().to_values().unwrap();
    assert_close(&gradient, &ours(&reference.grad), tolerance, "gradient");
    let direction = vector(&operator, &v);
    let product = operator.apply(&direction).unwrap();
    let hv = product.to_values().unwrap();
    assert_close(&hv, &ours(&reference.Hv), tolerance, "Hv");
    let scale = reference.Hv.iter().map(|h| h * h).sum::<f64>().sqrt();
    let curvature = direction.dot(&product).unwrap();
    assert!((curvature - reference.vHv).abs() <= tolerance * scale, "vHv");
    let ratio = operator.directional_sharpness().unwrap().unwrap();
    assert_close(&[ratio], &[reference.gHg_over_gg], tolerance, "gHg/gg");

    let dense = operator.to_dense().unwrap();
    let trace: f64 = (0..n).map(|i| dense[i][i]).sum();
    let eigenvalues = &reference.hessian_eigenvalues;
    let spread = eigenvalues.iter().map(|e| e.abs()).sum::<f64>();
    assert!((trace - reference.trace).abs() <= tolerance * spread, "trace");
    let frobenius = dense.concat().iter().map(|h| h * h).sum::<f64>().sqrt();
    assert_close(&[frobenius], &[reference.frobenius], tolerance, "frobenius");

    let ends = [(Which::LargestAlgebraic, n - 1), (Which::SmallestAlgebraic, 0)];
    for (which, position) in ends {
        // The error of a Rayleigh quotient is quadratic in the residual.
        let rel_tol = (0.1 * tolerance).sqrt().min(1e-6).max(40.0 * operator.space().epsilon());
        let solver = LanczosConfig::new().with_which(which).with_rel_tol(rel_tol);
        let found = solver.with_max_applies(4 * n).init().solve(&operator, None).unwrap();
        let norm = eigenvalues[n - 1].abs().max(eigenvalues[0].abs());
        let error = (found.first().value - eigenvalues[position]).abs();
        assert!(error <= tolerance * norm, "{which:?}: {error:.1e}");
    }
}

/// 1e-10: rounding of f64 through a few hundred operations, with room for cancellation.
const F64: f64 = 1e-10;

/// f32: ε = 1.2e-7; each of about 60 operations in sequence rounds once, and sums of up to 8 terms
/// cancel to about a tenth: 60 · 1.2e-7 · 10 = 7e-5.
const F32: f64 = 7e-5;

#[test]
fn m1_tanh_cross_entropy_f64() {
    check("m1", DType::F64, &Device::flex(), F64);
}

#[test]
fn m2_relu_squared_error_f64() {
    check("m2", DType::F64, &Device::flex(), F64);
}

#[test]
fn m3_gelu_cross_entropy_f64() {
    check("m3", DType::F64, &Device::flex(), F64);
}

#[test]
fn m5_layer_norm_silu_cross_entropy_f64() {
    check("m5", DType::F64, &Device::flex(), F64);
}

#[test]
fn f32_agrees_to_its_rounding() {
    for name in ["m1", "m2", "m3", "m5"] {
        check(name, DType::F32, &Device::flex(), F32);
    }
}

#[test]
fn plain_and_autodiff_devices_give_the_same_bits() {
    for name in ["m1", "m2", "m3", "m5"] {
        let values = |device: &Device| {
            let (_, operator, _) = hessian(name, DType::F64, device);
            let v = operator.gradient().clone();
            let mut all = operator.apply(&v).unwrap().to_values().unwrap();
            all.extend(v.to_values().unwrap());
            all.push(operator.loss());
            all
        };
        assert_eq!(values(&Device::flex()), values(&Device::flex().autodiff()), "{name}");
    }
}
