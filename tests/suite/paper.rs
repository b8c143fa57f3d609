//! Where the text of "Edge of Stochastic Stability" (arXiv 2412.20553) and mathematics part ways: one test for each
//! entry of docs/notes-on-the-paper.md that has a closed form.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::estimator::{Draws, GradientNoiseConfig, Sampling};
use burn_sharpness::prelude::*;

use crate::common::{float, wave};

const F64: DType = DType::F64;

/// Linear regression with ½·MSE: the Hessian of a batch is the mean of its xxᵀ.
#[derive(Module, Debug)]
struct Linear {
    w: Param<Tensor<2>>,
}

type Batch = (Tensor<2>, Tensor<2>);

fn loss(m: &Linear, (x, y): Batch) -> Tensor<1> {
    (x.matmul(m.w.val()) - y).powi_scalar(2).sum_dim(1).mean() * 0.5
}

fn regression(x: Vec<f64>, inputs: usize) -> (Linear, Batch) {
    let (n, device) = (x.len() / inputs, Device::flex());
    let w = Param::from_tensor(float(wave(inputs, 0.4), [inputs, 1], F64, &device));
    let y = float(wave(n, 2.0), [n, 1], F64, &device);
    (Linear { w }, (float(x, [n, inputs], F64, &device), y))
}

/// All sets of `size` numbers below `n`.
fn subsets(n: usize, size: usize) -> Vec<Vec<usize>> {
    let bits = |set: u32| (0..n).filter(move |i| set >> i & 1 == 1);
    let all = (0..1u32 << n).filter(|set| set.count_ones() as usize == size);
    all.map(|set| bits(set).collect()).collect()
}

/// E[λ_max(H_B)] over every batch of this size.
fn minibatch_sharpness(model: &Linear, data: &Batch, size: usize) -> f64 {
    let sets = subsets(data.n_samples().unwrap(), size);
    let each =
        sets.iter().map(|set| model.sharpness(data.select(set).unwrap(), loss).unwrap().value);
    each.sum::<f64>() / sets.len() as f64
}

/// Equation 2 is printed with <: smaller batches are sharper, since λ_max is convex (Jensen).
#[test]
fn equation_2_smaller_batches_are_sharper() {
    let (model, data) = regression(wave(18, 0.3), 3);
    let each: Vec<f64> = (1..=6).map(|b| minibatch_sharpness(&model, &data, b)).collect();
    assert!(each.windows(2).all(|w| w[0] > w[1] * (1.0 + 1e-6)), "{each:?}");
    let full = model.sharpness(data, loss).unwrap().value;
    assert!((each[5] - full).abs() < 1e-10 * full);
}

/// Lemma 4.1 says that the sharpness of a mean equals the mean of sharpnesses only for identical Hessians: a common
/// top eigenvector is enough.
#[test]
fn lemma_4_1_equality_needs_a_common_top_eigenvector_only() {
    // x = c·e₁ with different c: different Hessians c²·e₁e₁ᵀ.
    let (model, data) = regression(vec![1.0, 0.0, 2.0, 0.0, 3.0, 0.0], 2);
    let single = minibatch_sharpness(&model, &data, 1);
    let full = model.sharpness(data, loss).unwrap().value;
    assert!((single - 14.0 / 3.0).abs() < 1e-12 && (full - single).abs() < 1e-12);
}

/// Equation 7 has wrong signs and lacks a square: E[L(θ − ηg_B)] − L = −η‖∇L‖² + ½η²·E[g_BᵀHg_B], which is zero at
/// η = 2‖∇L‖²/E[g_BᵀHg_B].
#[test]
fn equation_7_is_minus_eta_gradient_squared_plus_half_eta_squared_curvature() {
    let (model, data) = regression(wave(12, 0.9), 2);
    let values = |t: Tensor<2>| -> Vec<f64> { t.into_data().iter().collect() };
    let (x, y, w) = (values(data.0.clone()), values(data.1.clone()), values(model.w.val()));
    let full_loss = |w: &[f64]| -> f64 {
        let residual = |i: usize| x[2 * i] * w[0] + x[2 * i + 1] * w[1] - y[i];
        (0..6).map(|i| 0.5 * residual(i).powi(2)).sum::<f64>() / 6.0
    };
    let config = GradientNoiseConfig::new(1).with_num_batches(6).with_chunk_size(3);
    let config = config.with_sampling(Sampling::Epoch).with_draws(Draws::Fixed);
    let noise = config.init(loss).measure(&model, &data).unwrap();
    // By hand, over all six single samples.
    let after = |eta: f64| -> f64 {
        let step = |i: usize| {
            let residual = x[2 * i] * w[0] + x[2 * i + 1] * w[1] - y[i];
            full_loss(&[w[0] - eta * residual * x[2 * i], w[1] - eta * residual * x[2 * i + 1]])
        };
        (0..6).map(step).sum::<f64>() / 6.0
    };
    let (squared, curvature) = (noise.full_squared_norm, noise.curvature.mean);
    for eta in [0.1, 1.0, 3.0] {
        let change = after(eta) - full_loss(&w);
        let formula = -eta * squared + 0.5 * eta * eta * curvature;
        assert!((change - formula).abs() < 1e-10 * change.abs().max(squared), "{change} {formula}");
    }
    let interaction = noise.interaction.unwrap().mean;
    let at_edge = after(2.0 / interaction) - full_loss(&w);
    assert!(at_edge.abs() < 1e-9 * full_loss(&w), "{at_edge}");
}

/// f(x) = aᵀBx with a free 2×2 matrix, as Appendix F prints it.
#[derive(Module, Debug)]
struct Free {
    a: Param<Tensor<2>>,
    b: Param<Tensor<2>>,
}

/// Appendix F holds for four diagonal parameters. With the six of a free B, the curvature of the first sample is
/// ‖a‖² + b₁² instead of a₁² + b₁², and B does not stay diagonal.
#[test]
fn appendix_f_needs_diagonal_parameters() {
    let device = Device::flex().autodiff();
    let (a, b) = (vec![2.0, 1.0], vec![0.5, 0.0, 0.0, -1.0]);
    let param = |values, shape| Param::from_tensor(float(values, shape, F64, &device));
    let model = Free { a: param(a, [1, 2]), b: param(b.clone(), [2, 2]) };
    let loss = |m: &Free, (x, y): Batch| {
        let f = x.matmul(m.b.val().transpose()).matmul(m.a.val().transpose());
        (f - y).powi_scalar(2).mean() * 0.5
    };
    let first =
        (float(vec![1.0, 0.0], [1, 2], F64, &device), float(vec![1.0], [1, 1], F64, &device));
    // At a minimum of this sample: a₁b₁ = 1.
    let found = model.sharpness(first.clone(), loss).unwrap().value;
    assert!((found - (4.0 + 1.0 + 0.25)).abs() < 1e-9, "{found} is not ‖a‖² + b₁²");
    // Off the minimum by 1/10: the gradient of B₂₁ is the residual times a₂.
    let off = (first.0, first.1 + 0.1);
    let gradients = loss(&model, off).backward();
    let b_gradient: Vec<f64> = model.b.grad(&gradients).unwrap().into_data().iter().collect();
    assert!((b_gradient[2] + 0.1).abs() < 1e-12, "{b_gradient:?}");
    assert_eq!(b[2], 0.0);
}

/// The paper's formulas have ½ of the squared error, its code the whole: sharpness differs by the factor.
#[test]
fn twice_the_loss_is_twice_the_sharpness() {
    let (model, data) = regression(wave(18, 0.3), 3);
    let half = model.sharpness(data.clone(), loss).unwrap().value;
    let whole = |m: &Linear, batch: Batch| loss(m, batch) * 2.0;
    let whole = model.sharpness(data, whole).unwrap().value;
    assert!((whole - 2.0 * half).abs() < 1e-10 * whole, "{whole} {half}");
}

/// ‖Hv‖, which the paper's first code takes for the sharpness, is the largest eigenvalue in magnitude where the
/// iteration has converged: −5 of the eigenvalues 3 and −5 becomes 5. Until then it is above the Rayleigh quotient.
#[test]
fn the_norm_of_a_product_is_not_the_largest_eigenvalue() {
    // ½(3w₁² − 5w₂²).
    let (model, data) = regression(vec![1.0, 0.0, 0.0, 1.0], 2);
    let saddle = |m: &Linear, (x, _): Batch| {
        let signs = float(vec![3.0, -5.0], [2, 1], F64, &x.device());
        (x.matmul(m.w.val()).powi_scalar(2) * signs).sum() * 0.5
    };
    let operator = HessianOperator::new(&model, data.clone(), saddle).unwrap();
    let vector = |values: &[f64]| operator.gradient().space().from_values(values).unwrap();
    let mut v = vector(&[0.8, 0.6]);
    let product = operator.apply(&v).unwrap();
    let (norm, rayleigh) = (product.norm().unwrap(), product.dot(&v).unwrap());
    assert!(norm > rayleigh.abs() && norm > 3.0, "{norm} {rayleigh}");
    for _ in 0..60 {
        let product = operator.apply(&v).unwrap();
        v = product.scale(1.0 / product.norm().unwrap());
    }
    assert!((operator.apply(&v).unwrap().norm().unwrap() - 5.0).abs() < 1e-9);
    let found = model.sharpness(data, saddle).unwrap().value;
    assert!((found - 3.0).abs() < 1e-9, "{found}");
}

/// The gap is a power of 1/b − 1/n, not of 1/b: against b its slope is −n/(n − b), steeper than −1.1 from b = n/8 on
/// (claim 6).
#[test]
fn the_slope_against_b_steepens_by_the_finite_population() {
    // Orthogonal samples: λ_max(H_B) = 1/b for each batch.
    let n = 24;
    let mut x = vec![0.0; n * n];
    (0..n).for_each(|i| x[i * n + i] = 1.0);
    let (model, data) = regression(x, n);
    let full = model.sharpness(data.clone(), loss).unwrap().value;
    let gap = |b: usize| model.sharpness(data.range(0..b).unwrap(), loss).unwrap().value - full;
    for b in [2, 6, 12] {
        // Over b ± 1 the slope of ln(1/b − 1/n) is −n/(n − b) up to second order in 1/b.
        let slope = (gap(b + 1) / gap(b - 1)).ln() / ((b + 1) as f64 / (b - 1) as f64).ln();
        let between = |b: f64| (1.0 / b - 1.0 / n as f64).ln();
        let (low, high) = ((b - 1) as f64, (b + 1) as f64);
        let exact = (between(high) - between(low)) / (high / low).ln();
        assert!((slope - exact).abs() < 1e-9, "{slope} {exact}");
        let local = -(n as f64) / (n - b) as f64;
        assert!((slope / local - 1.0).abs() < 0.25 / (b - 1) as f64 + 0.02, "{slope} {local}");
    }
}
