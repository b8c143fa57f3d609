//! Hessians that are known in closed form.

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{DType, Device, Int, Tensor};
use burn_sharpness::estimator::{Draws, Sampling};
use burn_sharpness::prelude::*;

use crate::common::{assert_close, float, wave};

const F64: DType = DType::F64;

#[derive(Module, Debug)]
struct Weights<const D: usize> {
    w: Param<Tensor<D>>,
}

impl<const D: usize> Weights<D> {
    fn new(values: Vec<f64>, shape: [usize; D]) -> Self {
        let device = Device::flex();
        Self { w: Param::from_tensor(float(values, shape, F64, &device)) }
    }
}

fn dense(operator: &HessianOperator) -> Vec<f64> {
    operator.to_dense().unwrap().concat()
}

/// L = 1/N Σ (xᵢᵀw − yᵢ)²: H = (2/N) XᵀX, whatever w and y.
#[test]
fn linear_regression() {
    let (n, d) = (7, 4);
    let x = wave(n * d, 0.2);
    let model = Weights::new(wave(d, 1.0), [d, 1]);
    let batch = (
        float(x.clone(), [n, d], F64, &Device::flex()),
        float(wave(n, 2.0), [n, 1], F64, &Device::flex()),
    );
    let loss = |m: &Weights<2>, (x, y): (Tensor<2>, Tensor<2>)| {
        (x.matmul(m.w.val()) - y).powi_scalar(2).mean()
    };
    let hessian = model.hessian(batch, loss).unwrap();
    let entry = |i: usize, j: usize| {
        (0..n).map(|s| x[s * d + i] * x[s * d + j]).sum::<f64>() * 2.0 / n as f64
    };
    let expected: Vec<f64> =
        (0..d).flat_map(|i| (0..d).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect();
    assert_close(&dense(&hessian), &expected, 1e-14, "(2/N) XᵀX");
}

/// Softmax regression, W [d, k]: H = 1/N Σ (x xᵀ) ⊗ (diag p − p pᵀ).
#[test]
fn softmax_regression() {
    let (n, d, k) = (5, 3, 4);
    let (x, w) = (wave(n * d, 0.2), wave(d * k, 1.0));
    let labels: Vec<i64> = (0..n as i64).map(|i| (3 * i + 1) % k as i64).collect();
    let batch = (
        float(x.clone(), [n, d], F64, &Device::flex()),
        Tensor::<1, Int>::from_ints(labels.as_slice(), &Device::flex()),
    );
    let loss = |m: &Weights<2>, (x, y): (Tensor<2>, Tensor<1, Int>)| {
        CrossEntropyLossConfig::new().init(&x.device()).forward(x.matmul(m.w.val()), y)
    };
    let hessian = Weights::new(w.clone(), [d, k]).hessian(batch, loss).unwrap();
    let mut expected = vec![0.0; (d * k) * (d * k)];
    for s in 0..n {
        let logits: Vec<f64> = (0..k)
            .map(|c| (0..d).map(|i| x[s * d + i] * w[i * k + c]).sum::<f64>().exp())
            .collect();
        let p: Vec<f64> = logits.iter().map(|e| e / logits.iter().sum::<f64>()).collect();
        for row in 0..d * k {
            for column in 0..d * k {
                let (i, a, j, b) = (row / k, row % k, column / k, column % k);
                let curvature = if a == b { p[a] } else { 0.0 } - p[a] * p[b];
                expected[row * d * k + column] +=
                    x[s * d + i] * x[s * d + j] * curvature / n as f64;
            }
        }
    }
    assert_close(&dense(&hessian), &expected, 1e-12, "softmax Kronecker form");
}

/// The exactly solvable model: n orthogonal samples, each with one Hessian eigenvalue h (linear
/// regression with 1/2-MSE and inputs √h eᵢ). For every batch of size b λ_max(H_B) = h/b, for the
/// whole set h/n: the gap is h (1/b − 1/n).
fn orthogonal(n: usize, h: f64) -> (Weights<2>, (Tensor<2>, Tensor<2>)) {
    let mut x = vec![0.0; n * n];
    (0..n).for_each(|i| x[i * n + i] = h.sqrt());
    let device = Device::flex();
    let data = (float(x, [n, n], F64, &device), float(wave(n, 0.7), [n, 1], F64, &device));
    (Weights::new(wave(n, 0.1), [n, 1]), data)
}

fn half_squared_error(m: &Weights<2>, (x, y): (Tensor<2>, Tensor<2>)) -> Tensor<1> {
    (x.matmul(m.w.val()) - y).powi_scalar(2).mean() * 0.5
}

#[test]
fn orthogonal_model_has_gap_h_times_one_over_b_minus_one_over_n() {
    let (n, h) = (24, 3.0);
    let (model, data) = orthogonal(n, h);
    let full = FullBatchSharpnessConfig::new().with_chunk_size(7).init(half_squared_error);
    let full = full.clone().measure(&model, &data).unwrap();
    assert!((full.value - h / n as f64).abs() < 1e-12);
    for b in [1, 2, 5, 24] {
        for sampling in [Sampling::WithoutReplacement, Sampling::Epoch] {
            let config =
                MiniBatchSharpnessConfig::new(b).with_sampling(sampling).with_num_batches(6);
            let measured = config.init(half_squared_error).measure(&model, &data).unwrap();
            for value in &measured.values {
                assert!((value - h / b as f64).abs() < 1e-12, "b = {b}: {value}");
            }
            let gap = measured.estimate.mean - full.value;
            assert!((gap - h * (1.0 / b as f64 - 1.0 / n as f64)).abs() < 1e-12);
            // Every gradient lies in the span of the batch's samples, on which H_B is h/b.
            let config = BatchSharpnessConfig::new(b).with_sampling(sampling).with_num_batches(6);
            let along = config.init(half_squared_error).measure(&model, &data).unwrap();
            assert!((along.estimate.mean - h / b as f64).abs() < 1e-12);
        }
    }
}

#[test]
fn sampling_with_replacement_repeats_samples() {
    // A batch of two draws of one sample has λ_max = h instead of h/2.
    let (n, h) = (6, 3.0);
    let (model, data) = orthogonal(n, h);
    let config = MiniBatchSharpnessConfig::new(2)
        .with_sampling(Sampling::WithReplacement)
        .with_num_batches(64);
    let values = config.init(half_squared_error).measure(&model, &data).unwrap().values;
    let doubled = values.iter().filter(|v| (**v - h).abs() < 1e-12).count();
    let single = values.iter().filter(|v| (**v - h / 2.0).abs() < 1e-12).count();
    assert_eq!(doubled + single, 64, "{values:?}");
    assert!(doubled > 0 && single > 0);
}

/// Appendix F of arXiv 2412.20553 with diagonal parameters: f(x) = Σ aᵢ bᵢ xᵢ on the two samples
/// (e₁, 1) and (e₂, −1), 1/2-MSE, at a minimum. Per-sample eigenvalues λᵢ = aᵢ² + bᵢ² with
/// orthogonal eigenvectors: full batch max(λ₁, λ₂)/2, batches of one (λ₁ + λ₂)/2 on average.
#[test]
fn toy_model_of_the_paper() {
    let device = Device::flex();
    // a = (2, 1), b = (1/2, −1): λ = (4.25, 2).
    let model = Weights::new(vec![2.0, 1.0, 0.5, -1.0], [2, 2]);
    let data = (
        float(vec![1.0, 0.0, 0.0, 1.0], [2, 2], F64, &device),
        float(vec![1.0, -1.0], [2], F64, &device),
    );
    let loss = |m: &Weights<2>, (x, y): (Tensor<2>, Tensor<1>)| {
        let (a, b) = (m.w.val().slice([0..1, 0..2]), m.w.val().slice([1..2, 0..2]));
        let f = (x * a * b).sum_dim(1).squeeze_dim::<1>(1);
        (f - y).powi_scalar(2).mean() * 0.5
    };
    let full = FullBatchSharpnessConfig::new().init(loss).measure(&model, &data).unwrap();
    assert!((full.value - 2.125).abs() < 1e-12);
    let config =
        MiniBatchSharpnessConfig::new(1).with_sampling(Sampling::Epoch).with_num_batches(2);
    let config = config.with_rel_tol(1e-9).with_draws(Draws::Fixed);
    let single = config.init(loss).measure(&model, &data).unwrap();
    assert!((single.estimate.mean - 3.125).abs() < 1e-12);
    assert!((single.estimate.max - 4.25).abs() < 1e-12);
}
