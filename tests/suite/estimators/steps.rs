//! Batch sharpness along other steps than the gradient, and the two kinds of ratios.

use burn::tensor::{DType, Device};
use burn_sharpness::Error;
use burn_sharpness::estimator::{RatioOfMeans, draw_batches, student_t_95};
use burn_sharpness::prelude::*;

use super::regression::{Regression, dot, loss, mean, relative, subsets, sum};
use crate::common::{float, wave};

const N: usize = 12;
const D: usize = 7;

/// Inner products of a few dozen terms in f64, of conditioned sums: a few hundred ε.
const ROUNDING: f64 = 1e-13;

fn batches(b: usize, m: usize) -> Vec<Vec<usize>> {
    draw_batches(Sampling::WithoutReplacement, N, b, m, 5, 0).unwrap()
}

fn estimator(b: usize, m: usize) -> BatchSharpnessConfig {
    BatchSharpnessConfig::new(b).with_num_batches(m).with_seed(5)
}

#[test]
fn momentum_batch_sharpness_is_its_formula() {
    let problem = Regression::normal(N, &[1.0; D]);
    let (mu, v) = (0.7, wave(D, 2.2));
    let measured = estimator(4, 9)
        .init(loss)
        .measure_momentum(&problem.model(), &problem.data(), mu, &problem.vector(&v))
        .unwrap();
    let terms: Vec<(f64, f64)> = batches(4, 9)
        .iter()
        .map(|batch| {
            let g = problem.gradient(batch);
            let s = sum([(mu, &v[..]), (1.0, &g[..])].into_iter(), D);
            (dot(&s, &problem.product(batch, &s)), dot(&s, &g))
        })
        .collect();
    for (found, (curvature, decrease)) in measured.values.iter().zip(&terms) {
        assert!(relative(found.curvature, *curvature) < ROUNDING);
        assert!(relative(found.decrease, *decrease) < ROUNDING);
    }
    let ratios: Vec<f64> = terms.iter().map(|(y, x)| y / x).collect();
    assert!(relative(measured.mean_of_ratios.estimate.mean, mean(&ratios)) < ROUNDING);
    let (ys, xs): (Vec<f64>, Vec<f64>) = terms.iter().copied().unzip();
    assert!(relative(measured.ratio_of_means.value, mean(&ys) / mean(&xs)) < ROUNDING);
    assert_eq!(measured.n_uphill, xs.iter().filter(|x| **x < 0.0).count());
    assert_eq!((measured.n_hvps, measured.mean_of_ratios.n_undefined), (9, 0));
}

#[test]
fn without_momentum_it_is_batch_sharpness() {
    let problem = Regression::normal(N, &[1.0; D]);
    let (model, data) = (problem.model(), problem.data());
    let along = estimator(4, 9).init(loss).measure(&model, &data).unwrap();
    let buffer = problem.vector(&wave(D, 0.4));
    let momentum = estimator(4, 9).init(loss).measure_momentum(&model, &data, 0.0, &buffer);
    let momentum = momentum.unwrap();
    assert!(relative(momentum.mean_of_ratios.estimate.mean, along.estimate.mean) < ROUNDING);
    assert!(relative(momentum.ratio_of_means.value, along.ratio_of_means.value) < ROUNDING);
    // The two kinds of means are other numbers here.
    assert!(relative(along.estimate.mean, along.ratio_of_means.value) > 1e-3);
}

/// s = −ηg: sᵀHs/(−sᵀg) = η·gᵀHg/‖g‖².
#[test]
fn the_step_of_sgd_has_eta_times_batch_sharpness() {
    let (problem, eta) = (Regression::normal(N, &[1.0; D]), 0.03);
    let (model, data) = (problem.model(), problem.data());
    let along = estimator(4, 9).init(loss).measure(&model, &data).unwrap();
    let mut steps = estimator(4, 9).init(loss);
    let steps = steps.measure_steps(&model, &data, |g| Ok(g.scale(-eta))).unwrap();
    let (ours, theirs) = (steps.mean_of_ratios.estimate.mean, along.estimate.mean);
    assert!(relative(ours, eta * theirs) < ROUNDING);
    assert!(relative(steps.ratio_of_means.value, eta * along.ratio_of_means.value) < ROUNDING);
    // The live batch, whose own gradient step it is.
    let batch = problem.data();
    let gradient = problem.gradient(&problem.all());
    let step = problem.vector(&gradient).scale(-eta);
    let live = estimator(4, 9).init(loss).measure_step_live(&model, batch, &step).unwrap();
    let product = problem.product(&problem.all(), &gradient);
    let expected = eta * dot(&gradient, &product) / dot(&gradient, &gradient);
    assert!(relative(live.ratio().unwrap(), expected) < ROUNDING);
}

/// A step that does not depend on the batch: E sᵀH_Bs = sᵀHs and E sᵀg_B = sᵀg, so that over all batches
/// of an epoch the ratio of means is the full-batch one. With N = 12 and b = 4, three batches are an epoch.
#[test]
fn a_fixed_step_has_the_full_batch_ratio_of_means() {
    let problem = Regression::normal(N, &[1.0; D]);
    let s = wave(D, 0.9);
    let mut epoch = estimator(4, 3).with_sampling(Sampling::Epoch).init(loss);
    let step = problem.vector(&s);
    let measured = epoch.measure_step(&problem.model(), &problem.data(), &step).unwrap();
    let (all, gradient) = (problem.all(), problem.gradient(&problem.all()));
    let expected = dot(&s, &problem.product(&all, &s)) / -dot(&s, &gradient);
    assert!(relative(measured.ratio_of_means.value, expected) < ROUNDING);
}

/// Two samples with residuals of zero and six along e₁, with a step along e₂: neither vanishes silently.
#[test]
fn batches_without_a_ratio_are_counted() {
    let unit = |i: usize| (0..3).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>();
    let problem = Regression {
        x: vec![unit(0), unit(0), unit(1), unit(1)],
        y: vec![2.0, 3.0, 4.0, 1.0],
        w: vec![2.0, 1.0, 0.0],
    };
    let (model, data) = (problem.model(), problem.data());
    let mut estimator = BatchSharpnessConfig::new(1).with_num_batches(40).init(loss);
    let measured = estimator.measure_step(&model, &data, &problem.vector(&unit(1))).unwrap();
    let drawn = draw_batches(Sampling::WithoutReplacement, 4, 1, 40, 0, 0).unwrap();
    let count = |wanted: &[usize]| drawn.iter().filter(|b| wanted.contains(&b[0])).count();
    // Residuals 0, −1, −3, 0: samples 0 and 3 have no gradient, and sample 1 none along the step.
    assert_eq!(measured.n_zero_gradients, count(&[0, 3]));
    assert_eq!(measured.mean_of_ratios.n_undefined, count(&[0, 1, 3]));
    assert_eq!(measured.mean_of_ratios.estimate.count, count(&[2]));
    assert_eq!(measured.mean_of_ratios.estimate.mean, 1.0 / 3.0);
    assert_eq!(measured.ratio_of_means.count, 40);
    let along = BatchSharpnessConfig::new(1).with_num_batches(40).init(loss).measure(&model, &data);
    let along = along.unwrap();
    assert_eq!(along.n_zero_gradients, count(&[0, 3]));
    assert_eq!(along.ratio_of_means.count, 40);
    // No ratio at all is an error.
    let error = estimator.measure_step(&model, &data, &problem.vector(&unit(2))).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
}

#[test]
fn a_bad_step_is_an_error() {
    let problem = Regression::normal(N, &[1.0; D]);
    let (model, data) = (problem.model(), problem.data());
    let mut along = estimator(4, 3).init(loss);
    let device = Device::flex();
    let short = burn_sharpness::ParamSpace::flat(D - 1, DType::F64, &device).zeros();
    let error = along.measure_step(&model, &data, &short).unwrap_err();
    assert_eq!(error, Error::LengthMismatch { expected: D, found: D - 1 });
    let error = along.measure_momentum(&model, &data, 0.9, &short).unwrap_err();
    assert_eq!(error, Error::LengthMismatch { expected: D, found: D - 1 });
    let buffer = problem.vector(&wave(D, 0.1));
    let error = along.measure_momentum(&model, &data, f64::NAN, &buffer).unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "momentum", .. }), "{error}");
    let error = along.measure_step(&model, &data, &problem.vector(&[f64::NAN; D])).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    let x = float(vec![0.0; 6], [2, 3], DType::F64, &device);
    let error = along.measure_step_live(&model, (x.clone(), x), &buffer).unwrap_err();
    assert!(matches!(error, Error::LossPanicked { .. } | Error::Capture { .. }), "{error}");
}

#[test]
fn a_ratio_of_means_knows_when_it_knows_nothing() {
    let wide = RatioOfMeans::of(&[(1.0, 1.0), (2.0, -0.8), (1.5, 0.9)]).unwrap();
    assert_eq!(wide.interval, (f64::NEG_INFINITY, f64::INFINITY));
    let single = RatioOfMeans::of(&[(1.0, 2.0)]).unwrap();
    assert_eq!((single.value, single.interval), (0.5, (f64::NEG_INFINITY, f64::INFINITY)));
    assert!(matches!(RatioOfMeans::of(&[]), Err(Error::NonFinite { .. })));
    assert!(matches!(RatioOfMeans::of(&[(1.0, 0.0)]), Err(Error::NonFinite { .. })));
    // By hand: r = 5/4; without one pair 4/3, 7/6, 5/4; Σ(r₍ⱼ₎ − r̄)² = 2/144; times 2/3.
    let ratio = RatioOfMeans::of(&[(1.0, 1.0), (1.5, 1.0), (2.5, 2.0)]).unwrap();
    assert!(relative(ratio.value, 1.25) < 1e-15);
    assert!(relative(ratio.standard_error, (1.0_f64 / 108.0).sqrt()) < 1e-14);
    // The denominators' interval, 4/3 ± 4.30·0.333, contains zero: nothing is known.
    assert_eq!(ratio.interval.0, f64::NEG_INFINITY);
    let known = RatioOfMeans::of(&[(1.0, 10.0), (1.5, 10.0), (2.5, 11.0)]).unwrap();
    let half = student_t_95(2) * known.standard_error;
    assert!(relative(known.interval.1 - known.value, half) < 1e-12);
}

/// 400 seeds, 64 batches of 4 out of 12, the default number: the intervals hold the truth over all 495 batches in at least 93
/// of 100 cases; 95 are expected, with a deviation of 1.1 for 400.
#[test]
fn intervals_of_both_ratios_cover_the_truth() {
    let problem = Regression::normal(N, &[1.0; D]);
    let (model, data) = (problem.model(), problem.data());
    let pair = |batch: &Vec<usize>| {
        let g = problem.gradient(batch);
        (dot(&g, &problem.product(batch, &g)), dot(&g, &g))
    };
    let pairs: Vec<(f64, f64)> = subsets(N, 4).iter().map(pair).collect();
    let of_means = pairs.iter().map(|p| p.0).sum::<f64>() / pairs.iter().map(|p| p.1).sum::<f64>();
    let of_ratios = mean(&pairs.iter().map(|(y, x)| y / x).collect::<Vec<_>>());
    let (mut ratios, mut means) = (0, 0);
    for seed in 0..400 {
        let config = BatchSharpnessConfig::new(4).with_seed(seed);
        let measured = config.init(loss).measure(&model, &data).unwrap();
        let within = |(low, high): (f64, f64), truth| usize::from(low <= truth && truth <= high);
        ratios += within(measured.estimate.interval, of_ratios);
        means += within(measured.ratio_of_means.interval, of_means);
    }
    assert!(ratios >= 372 && means >= 372, "{ratios} and {means} of 400");
}
