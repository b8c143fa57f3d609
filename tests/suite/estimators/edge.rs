//! Second-moment contraction, the noise-kernel norm, and both ends of mini-batch spectra.

use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::Error;
use burn_sharpness::estimator::{
    ContractionConfig, Fraction, MiniBatchExtremesConfig, NoiseKernelConfig, Sampling, draw_batches,
};
use burn_sharpness::operator::DenseOperator;
use burn_sharpness::prelude::*;
use burn_sharpness::stability;

use super::regression::{Regression, Weights, eigen, loss, mean, relative, subsets};
use crate::common::{float, wave};

const SCALES: [f64; 4] = [1.5, 1.0, 0.7, 0.5];

fn squared(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = rows.len();
    let entry = |i: usize, j: usize| (0..n).map(|k| rows[i][k] * rows[k][j]).sum();
    (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
}

/// λ_max(−2ηH + η²·mean of H_B²) over the batches, which are all there are.
fn contraction_of(problem: &Regression, eta: f64, batches: &[Vec<usize>]) -> f64 {
    let h = problem.hessian(&problem.all());
    let squares: Vec<_> = batches.iter().map(|b| squared(&problem.hessian(b))).collect();
    let entry = |i: usize, j: usize| {
        let second = mean(&squares.iter().map(|s| s[i][j]).collect::<Vec<_>>());
        -2.0 * eta * h[i][j] + eta * eta * second
    };
    let d = problem.d();
    let rows: Vec<Vec<f64>> = (0..d).map(|i| (0..d).map(|j| entry(i, j)).collect()).collect();
    eigen(&rows).0[0]
}

/// The expectation over batches is exact, with and without replacement. In four dimensions Lanczos ends with
/// the whole spectrum, to rounding: some ε of operators of norm ten.
#[test]
fn contraction_is_that_of_all_batches() {
    let problem = Regression::normal(6, &SCALES);
    let pairs: Vec<Vec<usize>> = (0..36).map(|i| vec![i / 6, i % 6]).collect();
    for (sampling, b, batches) in [
        (Sampling::WithoutReplacement, 2, subsets(6, 2)),
        (Sampling::Epoch, 3, subsets(6, 3)),
        (Sampling::WithReplacement, 2, pairs),
        (Sampling::WithoutReplacement, 6, subsets(6, 6)),
    ] {
        for eta in [0.05, 1.7] {
            let config = ContractionConfig::new(b, eta).with_sampling(sampling);
            let config = config.with_rel_tol(1e-9).with_memory_mib(0);
            let found = config.init(loss).measure(&problem.model(), &problem.data()).unwrap();
            let expected = contraction_of(&problem, eta, &batches);
            assert!((found.value - expected).abs() < 1e-12, "{sampling:?} {b}: {expected}");
            assert_eq!((found.standard_error, found.count), (0.0, 6));
            assert_eq!(found.is_unstable(), expected > 0.0);
        }
    }
}

/// Orthogonal samples: every eigenvalue is −2ηh/n + η²h²/(bn), which is zero at η = 2b/h.
#[test]
fn orthogonal_samples_contract_up_to_two_over_their_sharpness() {
    let (n, h) = (12, 3.0);
    let problem = Regression::orthogonal(n, h);
    for b in [1, 3, 12] {
        for (share, unstable) in [(0.98, false), (1.02, true)] {
            let eta = share * 2.0 * b as f64 / h;
            let found = ContractionConfig::new(b, eta).init(loss);
            let found = found.measure(&problem.model(), &problem.data()).unwrap();
            let n = n as f64;
            let expected = -2.0 * eta * h / n + eta * eta * h * h / (b as f64 * n);
            assert!((found.value - expected).abs() < 1e-12, "{b}: {} {expected}", found.value);
            assert_eq!(found.is_unstable(), unstable);
        }
    }
}

#[test]
fn sampled_contraction_has_an_error() {
    let problem = Regression::normal(300, &SCALES);
    let (model, data) = (problem.model(), problem.data());
    let config = ContractionConfig::new(4, 0.6).with_rel_tol(1e-8);
    let exact = config.init(loss).measure(&model, &data).unwrap();
    for seed in 0..6 {
        let sampled = config.clone().with_num_samples(Some(100)).with_seed(seed).init(loss);
        let sampled = sampled.measure(&model, &data).unwrap();
        let error = (sampled.value - exact.value).abs();
        assert!(
            sampled.count == 100 && error < 4.0 * sampled.standard_error,
            "{error} {sampled:?}"
        );
        assert!(error > 0.0);
    }
}

/// K of all eigenvalues one by one, and with two of four and a trace.
#[test]
fn the_noise_kernel_is_a_sum_over_eigenvalues() {
    let problem = Regression::normal(9, &SCALES);
    let (b, eta) = (3, 0.3);
    let values = eigen(&problem.hessian(&problem.all())).0;
    let factor = (9.0 - 3.0) / (3.0 * 8.0);
    let term_at = |p: f64, v: f64| p * eta * v / (2.0 - (1.0 - p) * eta * v);
    let term = |v: &f64| term_at(factor, *v);
    let whole: f64 = values.iter().map(term).sum();
    let config = NoiseKernelConfig::new(b, eta).with_rel_tol(1e-9);
    let found = config.init(loss).measure(&problem.model(), &problem.data()).unwrap();
    assert!(relative(found.norm.mean, whole) < 1e-10, "{found:?}");
    let trace: f64 = values.iter().sum();
    assert!(relative(found.trace.mean, trace) < 1e-12);
    assert!(relative(found.first_order, 0.5 * factor * eta * trace) < 1e-12);
    // Two of four: the mean over many probes, and bounds that hold the whole.
    let config = config.with_num_eigenvalues(2).with_num_probes(400);
    let found = config.init(loss).measure(&problem.model(), &problem.data()).unwrap();
    let rest: f64 = values[2..].iter().sum();
    let of_top: f64 = values[..2].iter().map(term).sum();
    let expected = of_top + 0.5 * factor * eta * rest;
    assert!((found.norm.mean - expected).abs() < 4.0 * found.norm.standard_error + 1e-12);
    let slack = 4.0 * found.norm.standard_error;
    assert!(found.norm.mean - slack <= whole);
    assert!(whole <= found.norm.mean + found.rest_can_add + slack);
    assert_eq!(found.norm.count, 400);
    assert!(found.n_hvps > 400);
    // With replacement p is 1/b.
    let config = NoiseKernelConfig::new(b, eta).with_sampling(Sampling::WithReplacement);
    let found = config.init(loss).measure(&problem.model(), &problem.data()).unwrap();
    let whole: f64 = values.iter().map(|&v| term_at(1.0 / 3.0, v)).sum();
    assert!(relative(found.norm.mean, whole) < 1e-4);
}

fn diagonal(values: [f64; 3]) -> burn_sharpness::Result<DenseOperator> {
    let rows: Vec<Vec<f64>> =
        (0..3).map(|i| (0..3).map(|j| if i == j { values[i] } else { 0.0 }).collect()).collect();
    DenseOperator::from_rows(&rows, DType::F64, &Device::flex())
}

#[test]
fn the_noise_kernel_of_an_operator_of_ones_own() {
    let kernel = NoiseKernelConfig::new(2, 1.0).init(());
    let found = kernel.measure_operator(&diagonal([1.0, 0.5, 0.25]).unwrap(), 4).unwrap();
    let p: f64 = (4.0 - 2.0) / (2.0 * 3.0);
    let term = |v: f64| p * v / (2.0 - (1.0 - p) * v);
    assert!(relative(found.norm.mean, term(1.0) + term(0.5) + term(0.25)) < 1e-12);
    // The formula by itself gives the same.
    let formula = stability::noise_kernel(1.0, 2, 4, &[1.0, 0.5, 0.25], 1.75).unwrap();
    assert!(relative(found.norm.mean, formula.low) < 1e-12 && formula.low == formula.high);
    // At 2/η, where gradient descent is at its edge, one eigenvalue alone makes K = 1.
    let found = kernel.measure_operator(&diagonal([2.0, 0.0, 0.0]).unwrap(), 4).unwrap();
    assert!(relative(found.norm.mean, 1.0) < 1e-12);
    let found = kernel.measure_operator(&diagonal([3.5, 0.5, 0.25]).unwrap(), 4).unwrap();
    assert_eq!(found.norm.mean, f64::INFINITY);
}

/// Batches of everything have no noise, but beyond 2/η no stable state either: 0 or infinity, and never 0·∞.
#[test]
fn the_noise_kernel_without_noise_is_zero_or_infinite() {
    for (k, rest) in [(1, f64::INFINITY), (3, 0.0)] {
        let kernel = NoiseKernelConfig::new(4, 1.0).with_num_eigenvalues(k).init(());
        let found = kernel.measure_operator(&diagonal([3.5, 0.5, 0.25]).unwrap(), 4).unwrap();
        assert_eq!(found.norm.mean, f64::INFINITY, "{found:?}");
        // With one eigenvalue known the others could be as large; with all known there are no others.
        assert_eq!(found.rest_can_add, rest, "{found:?}");
        let found = kernel.measure_operator(&diagonal([1.0, 0.5, 0.25]).unwrap(), 4).unwrap();
        assert_eq!((found.norm.mean, found.rest_can_add), (0.0, 0.0), "{found:?}");
    }
}

/// L = ½ mean over samples of Σⱼ aᵢⱼwⱼ²: H_B is diagonal, and indefinite.
fn diagonal_loss(model: &Weights, a: Tensor<2>) -> Tensor<1> {
    a.matmul(model.w.val().powi_scalar(2)).mean() * 0.5
}

#[test]
fn both_ends_of_diagonal_hessians() {
    let (n, d, b) = (30, 6, 2);
    let a: Vec<f64> = wave(n * d, 0.9);
    let device = Device::flex();
    let model = Regression::normal(d, &[1.0; 6]).model();
    let data = float(a.clone(), [n, d], DType::F64, &device);
    let config = MiniBatchExtremesConfig::new(b).with_num_batches(40).with_rel_tol(1e-8);
    let found = config.init(diagonal_loss).measure(&model, &data).unwrap();
    let batches = draw_batches(Sampling::WithoutReplacement, n, b, 40, 0, found.draw).unwrap();
    let (mut dominant, mut ends) = (0, Vec::new());
    for (extremes, batch) in found.values.iter().zip(&batches) {
        let entry = |j: usize| batch.iter().map(|i| a[i * d + j]).sum::<f64>() / b as f64;
        let entries: Vec<f64> = (0..d).map(entry).collect();
        let max = entries.iter().copied().fold(f64::MIN, f64::max);
        let min = entries.iter().copied().fold(f64::MAX, f64::min);
        assert!((extremes.max - max).abs() < 1e-10 && (extremes.min - min).abs() < 1e-10);
        dominant += usize::from(max > min.abs());
        ends.push((max, min));
    }
    assert!(0 < dominant && dominant < 40, "the test needs both kinds");
    assert_eq!((found.n_undecided, found.max_dominant.count), (0, dominant));
    assert_eq!(found.max_dominant.total, 40);
    let (max, min): (Vec<f64>, Vec<f64>) = ends.into_iter().unzip();
    assert!((found.max.mean - mean(&max)).abs() < 1e-10);
    assert!((found.min.mean - mean(&min)).abs() < 1e-10);
}

/// H_B of fewer samples than parameters is singular and positive: λ_min is zero, and λ_max above it.
#[test]
fn a_smallest_eigenvalue_of_zero_is_decided() {
    let problem = Regression::normal(20, &[1.0; 6]);
    let config = MiniBatchExtremesConfig::new(3).with_num_batches(10);
    let found = config.init(loss).measure(&problem.model(), &problem.data()).unwrap();
    assert_eq!((found.max_dominant.count, found.n_undecided), (10, 0));
    assert!(found.values.iter().all(|v| v.min.abs() < 1e-10 * v.max));
    assert!(found.max_dominant.interval.0 < 0.75 && found.max_dominant.interval.1 == 1.0);
}

/// Wilson's interval of none in n ends at z²/(n + z²).
#[test]
fn fractions_have_wilson_intervals() {
    let z = 1.959_963_984_540_054_f64;
    let none = Fraction::of(0, 10);
    assert!(relative(none.interval.1, z * z / (10.0 + z * z)) < 1e-14);
    let half = Fraction::of(5, 10);
    assert!((half.interval.0 + half.interval.1 - 1.0).abs() < 1e-15);
    let nothing = Fraction::of(0, 0);
    assert!(nothing.value.is_nan() && nothing.interval == (0.0, 1.0));
}

#[test]
fn bad_settings_are_errors() {
    let problem = Regression::normal(9, &SCALES);
    let (model, data) = (problem.model(), problem.data());
    let is = |error: Error, name| matches!(error, Error::InvalidSetting { setting, .. } if setting == name);
    let contraction =
        |config: ContractionConfig| config.init(loss).measure(&model, &data).unwrap_err();
    assert!(is(contraction(ContractionConfig::new(3, 0.0)), "learning_rate"));
    assert!(is(contraction(ContractionConfig::new(3, 0.1).with_rel_tol(0.0)), "rel_tol"));
    let size = |batch_size| Error::BatchSize { batch_size, n_samples: 9 };
    assert_eq!(contraction(ContractionConfig::new(10, 0.1)), size(10));
    assert_eq!(contraction(ContractionConfig::new(3, 0.1).with_num_samples(Some(0))), size(0));
    let noise =
        contraction(ContractionConfig::new(3, 0.1).with_mode(Mode::TrainWithNoise { seed: 0 }));
    assert!(matches!(noise, Error::BatchesAreNoParts { .. }), "{noise}");
    let kernel = |config: NoiseKernelConfig| config.init(loss).measure(&model, &data).unwrap_err();
    assert!(is(kernel(NoiseKernelConfig::new(3, -0.1)), "learning_rate"));
    assert!(is(kernel(NoiseKernelConfig::new(3, 0.1).with_num_probes(0)), "num_probes"));
    assert!(is(kernel(NoiseKernelConfig::new(3, 0.1).with_num_eigenvalues(0)), "num_eigenvalues"));
    assert_eq!(kernel(NoiseKernelConfig::new(0, 0.1)), size(0));
    let extremes = MiniBatchExtremesConfig::new(10).init(loss).measure(&model, &data).unwrap_err();
    assert_eq!(extremes, size(10));
}
