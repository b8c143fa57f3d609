//! The gap between mini-batch and full-batch sharpness: control variate, power law, second order.

use burn::tensor::{Device, Tensor};
use burn_sharpness::Error;
use burn_sharpness::estimator::{
    Draws, PowerLaw, PowerLawPoint, Sampling, SharpnessGapConfig, draw_batches,
};
use burn_sharpness::prelude::Mode;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

use super::regression::{Pair, Regression, Weights, dot, eigen, loss, mean, relative, subsets};

fn config(sizes: &[usize]) -> SharpnessGapConfig {
    SharpnessGapConfig::new(sizes.to_vec()).with_rel_tol(1e-7)
}

/// n orthogonal samples: λ_max(H_B) = h/b for every batch and λ_max(H) = h/n. In f64 eigenvalues of order one
/// round at some ε = 2e-16 each, and the smallest gap is a sixteenth of the largest: 1e-12.
#[test]
fn orthogonal_samples_have_the_gap_of_inverse_sizes() {
    let (n, h) = (16, 3.0);
    let problem = Regression::orthogonal(n, h);
    let sizes = [1, 2, 4, 8, n];
    let measured = config(&sizes).init(loss).measure(&problem.model(), &problem.data()).unwrap();
    assert!(relative(measured.full_batch.value, h / n as f64) < 1e-12);
    for (gap, b) in measured.gaps.iter().zip(sizes) {
        let expected = h * (1.0 / b as f64 - 1.0 / n as f64);
        assert!((gap.plain.mean - expected).abs() < 1e-12 * h / n as f64, "{b}: {:?}", gap.plain);
        assert!((gap.best().mean - expected).abs() < 1e-12, "{b}");
        assert!((gap.minibatch_sharpness - h / b as f64).abs() < 1e-12);
        // All eigenvalues of H are equal: there is no second order, and no v₁ to follow.
        assert_eq!(gap.predicted, None);
    }
    let law = measured.against_inverse_size.unwrap();
    assert!((law.exponent - 1.0).abs() < 1e-11 && relative(law.prefactor, h) < 1e-11, "{law:?}");
    assert!(law.interval.0 <= 1.0 && 1.0 <= law.interval.1);
    // b = n has no gap, and no logarithm.
    assert_eq!((law.n_points, law.n_left_out, law.crossover), (4, 1, None));
    // Against 1/b the local exponent is n/(n − b), from 16/15 to 2.
    let steeper = measured.against_inverse_batch.unwrap().exponent;
    assert!(steeper > 16.0 / 15.0 && steeper < 2.0, "{steeper}");
}

/// So that a measurement can go on with the sizes that are left.
#[test]
fn batches_of_a_size_do_not_depend_on_the_other_sizes() {
    let problem = Regression::normal(16, &[3.0, 1.0, 0.5]);
    let gap = |sizes: &[usize]| {
        let mut estimator = config(sizes).with_num_batches(3).init(loss);
        let measured = estimator.measure(&problem.model(), &problem.data()).unwrap();
        let of_4 = measured.gaps.into_iter().find(|gap| gap.batch_size == 4).unwrap();
        (of_4.values, of_4.seed)
    };
    assert_eq!(gap(&[8, 2, 4]), gap(&[4]));
}

/// What is seen on the way is what is there at the end.
#[test]
fn each_gap_is_seen_as_soon_as_it_is_known() {
    let problem = Regression::normal(16, &[3.0, 1.0, 0.5]);
    let (model, data) = (problem.model(), problem.data());
    let mut seen = Vec::new();
    let mut estimator = config(&[8, 2, 4]).with_num_batches(3).init(loss);
    let measured = estimator
        .measure_each(&model, &data, |gap| seen.push((gap.batch_size, gap.gap.clone())))
        .unwrap();
    let all: Vec<_> = measured.gaps.iter().map(|gap| (gap.batch_size, gap.gap.clone())).collect();
    assert_eq!(all.iter().map(|gap| gap.0).collect::<Vec<_>>(), [8, 2, 4]);
    assert_eq!(seen, all);
    let again = config(&[8, 2, 4]).with_num_batches(3).init(loss).measure(&model, &data).unwrap();
    assert_eq!(
        again.gaps.iter().map(|gap| (gap.batch_size, gap.gap.clone())).collect::<Vec<_>>(),
        all
    );
}

fn anisotropic() -> Regression {
    Regression::normal(256, &[3.0, 1.0, 0.5])
}

/// The second-order sum and the variance of v₁ᵀH_iv₁ by dense algebra.
fn dense_second_order(problem: &Regression) -> (f64, f64) {
    let (values, vectors) = eigen(&problem.hessian(&problem.all()));
    let variance = |k: usize| {
        let terms: Vec<f64> =
            problem.x.iter().map(|x| dot(x, &vectors[0]) * dot(x, &vectors[k])).collect();
        let center = mean(&terms);
        mean(&terms.iter().map(|t| (t - center).powi(2)).collect::<Vec<_>>())
    };
    let sum = (1..values.len()).map(|k| variance(k) / (values[0] - values[k])).sum();
    (sum, variance(0))
}

/// Eigenvectors with residuals of 1e-7 give sums to about their size, and values to its square.
#[test]
fn values_and_second_order_are_those_of_dense_algebra() {
    let problem = anisotropic();
    let (n, b) = (problem.n(), 8);
    let mut estimator = config(&[b]).with_num_batches(6).with_num_eigenvalues(3).init(loss);
    let measured = estimator.measure(&problem.model(), &problem.data()).unwrap();
    let gap = &measured.gaps[0];
    let (values, vectors) = eigen(&problem.hessian(&problem.all()));
    assert!(relative(measured.full_batch.value, values[0]) < 1e-12);
    let batches =
        draw_batches(Sampling::WithoutReplacement, n, b, 6, gap.seed, measured.draw).unwrap();
    for ((top, along), batch) in gap.values.iter().zip(&batches) {
        assert!(relative(*top, eigen(&problem.hessian(batch)).0[0]) < 1e-11);
        let expected = dot(&vectors[0], &problem.product(batch, &vectors[0]));
        assert!(relative(*along, expected) < 1e-5);
    }
    let (sum, _) = dense_second_order(&problem);
    let second = measured.second_order.unwrap();
    assert!(relative(second.leading, sum) < 1e-5);
    assert_eq!((second.standard_error, second.is_exact, second.n_samples), (0.0, true, n));
    // All three pairs are known: what is left is rounding of sums of order λ₁² = 80.
    assert!(second.tail_variance < 1e-5);
    let factor = (n - b) as f64 / (b * (n - 1)) as f64;
    let predicted = gap.predicted.unwrap();
    assert!(relative(predicted.leading, factor * sum) < 1e-5);
    // Batches with replacement have no finite-population factor.
    let config = config(&[b]).with_num_batches(2).with_sampling(Sampling::WithReplacement);
    let with = config.init(loss).measure(&problem.model(), &problem.data()).unwrap();
    assert!(relative(with.gaps[0].predicted.unwrap().leading, sum / b as f64) < 1e-5);
}

/// With two of three pairs the rest is bounded from both sides.
#[test]
fn the_tail_brackets_what_is_not_computed() {
    let problem = anisotropic();
    let mut estimator = config(&[8]).with_num_batches(2).with_num_eigenvalues(2).init(loss);
    let measured = estimator.measure(&problem.model(), &problem.data()).unwrap();
    let factor = (256 - 8) as f64 / (8 * 255) as f64;
    let (whole, predicted) =
        (factor * dense_second_order(&problem).0, measured.gaps[0].predicted.unwrap());
    assert!(predicted.leading < whole && whole < predicted.upper, "{predicted:?} {whole}");
    // λ₃ is a fiftieth of λ₁, and the tail a small part: zero is a good guess for it.
    assert!(relative(predicted.with_tail, whole) < 0.01);
}

#[test]
fn sampled_variances_are_near_the_exact_ones() {
    let problem = anisotropic();
    let exact = dense_second_order(&problem).0;
    for seed in 0..5 {
        let config = config(&[8]).with_num_batches(2).with_num_eigenvalues(3).with_seed(seed);
        let mut estimator = config.with_prediction_samples(Some(100)).init(loss);
        let found = estimator.measure(&problem.model(), &problem.data()).unwrap();
        let found = found.second_order.unwrap();
        assert!(!found.is_exact && found.n_sample_products == 100);
        let error = (found.leading - exact).abs();
        assert!(error < 4.0 * found.standard_error, "{error} {found:?}");
    }
}

/// To second order the gap sample is Q = Σ(v₁ᵀEv_k)²/(λ₁ − λ_k) with E Q = f·S, whose deviation is about √2·f·S
/// (exactly so for normal noise along one k; less where several k share it), and the plain one adds v₁ᵀEv₁
/// with the variance f·Var(v₁ᵀH_iv₁). The gain is then √(1 + Var/(2fS²)); batches of 4 are not normal, and of 400
/// of them a deviation is known to some ten percent with their heavy tails, so a factor of two is allowed.
#[test]
fn the_control_variate_gains_what_theory_says() {
    let problem = anisotropic();
    let (sum, variance) = dense_second_order(&problem);
    let sizes = [4, 16, 64];
    let mut estimator = config(&sizes).with_num_batches(400).with_num_eigenvalues(3).init(loss);
    let measured = estimator.measure(&problem.model(), &problem.data()).unwrap();
    let mut gains = Vec::new();
    for (gap, b) in measured.gaps.iter().zip(sizes) {
        let factor = (256 - b) as f64 / (b * 255) as f64;
        let expected = (1.0 + variance / (2.0 * factor * sum * sum)).sqrt();
        let ratio = gap.gain / expected;
        assert!((0.5..2.0).contains(&ratio), "{b}: gain {} for {expected}", gap.gain);
        // Third order is smaller by the noise over the distance, √(f·Var)/(λ₁ − λ₂), on both sides.
        let third = (factor * variance).sqrt() / 8.0;
        let error = (gap.gap.mean - factor * sum).abs();
        let allowed = 4.0 * gap.gap.standard_error + third * factor * sum;
        assert!(error < allowed, "{b}: {error} > {allowed}");
        let both = gap.gap.standard_error.hypot(gap.plain.standard_error);
        assert!((gap.gap.mean - gap.plain.mean).abs() < 4.0 * both);
        assert!(gap.values.iter().all(|(top, along)| top - along > -1e-12));
        gains.push(gap.gain);
    }
    assert!(gains[0] >= 4.0 && gains[1] >= 8.0 && gains[2] > gains[1], "{gains:?}");
    // Exponent one against 1/b − 1/n, but for third order at b = 4.
    let law = measured.against_inverse_size.unwrap();
    assert!((law.exponent - 1.0).abs() < 0.1, "{law:?}");
}

/// The mean over all 120 batches of 3 out of 10 is known: the intervals of 400 seeds hold it in at least 93 of
/// 100 cases.
#[test]
fn intervals_cover_the_gap_over_all_batches() {
    let problem = Regression::normal(10, &[2.0, 1.0, 0.5]);
    let (model, data) = (problem.model(), problem.data());
    let tops: Vec<f64> =
        subsets(10, 3).iter().map(|batch| eigen(&problem.hessian(batch)).0[0]).collect();
    let truth = mean(&tops) - eigen(&problem.hessian(&problem.all())).0[0];
    let (mut gaps, mut plains) = (0, 0);
    for seed in 0..400 {
        let config = config(&[3]).with_num_batches(64).with_seed(seed).with_num_eigenvalues(1);
        let measured = config.init(loss).measure(&model, &data).unwrap();
        let within = |(low, high): (f64, f64)| usize::from(low <= truth && truth <= high);
        gaps += within(measured.gaps[0].gap.interval);
        plains += within(measured.gaps[0].plain.interval);
    }
    assert!(gaps >= 372 && plains >= 372, "{gaps} and {plains} of 400");
}

#[test]
fn same_seed_same_bits() {
    let problem = anisotropic();
    let (model, data) = (problem.model(), problem.data());
    let config = config(&[4, 8]).with_num_batches(5);
    let measure = |draws| {
        let mut estimator = config.clone().with_draws(draws).init(loss);
        [0, 1].map(|_| estimator.measure(&model, &data).unwrap().gaps)
    };
    let (fresh, again) = (measure(Draws::Fresh), measure(Draws::Fresh));
    let values = |gaps: &[burn_sharpness::estimator::GapAtBatchSize]| {
        gaps.iter().map(|gap| gap.values.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fresh.clone().map(|g| values(&g)), again.map(|g| values(&g)));
    assert_ne!(values(&fresh[0]), values(&fresh[1]));
    let fixed = measure(Draws::Fixed);
    assert_eq!(values(&fixed[0]), values(&fixed[1]));
    assert_eq!(values(&fixed[0]), values(&fresh[0]));
}

#[test]
fn bad_settings_are_errors() {
    let problem = anisotropic();
    let error = |config: SharpnessGapConfig| {
        config.init(loss).measure(&problem.model(), &problem.data()).unwrap_err()
    };
    let is_setting = |error: Error, name| matches!(error, Error::InvalidSetting { setting, .. } if setting == name);
    assert!(is_setting(error(config(&[])), "batch_sizes"));
    assert!(is_setting(error(config(&[4]).with_num_batches(0)), "num_batches"));
    assert!(is_setting(error(config(&[4]).with_chunk_size(0)), "chunk_size"));
    for size in [0, 257] {
        let expected = Error::BatchSize { batch_size: size, n_samples: 256 };
        assert_eq!(error(config(&[4, size])), expected);
        assert_eq!(error(config(&[4]).with_prediction_samples(Some(size))), expected);
    }
    let noise = error(config(&[4]).with_mode(Mode::TrainWithNoise { seed: 1 }));
    assert!(matches!(noise, Error::BatchesAreNoParts { .. }), "{noise}");
    let summed = |model: &Weights, (x, y): Pair| (x.matmul(model.w.val()) - y).powi_scalar(2).sum();
    let error = config(&[4]).init(summed).measure(&problem.model(), &problem.data()).unwrap_err();
    assert!(matches!(error, Error::NotAMeanOverSamples { .. }), "{error}");
}

/// One sample deviates from its mean by nothing, two by the same: no scatter, and no error to state.
#[test]
fn fewer_than_three_samples_are_no_prediction() {
    let measure = |problem: &Regression, n_samples| {
        let config = config(&[1]).with_num_batches(2).with_prediction_samples(Some(n_samples));
        config.init(loss).measure(&problem.model(), &problem.data())
    };
    for n_samples in [1, 2] {
        let error = measure(&anisotropic(), n_samples).unwrap_err();
        let is = matches!(error, Error::InvalidSetting { setting: "prediction_samples", .. });
        assert!(is, "{error}");
    }
    let found = measure(&anisotropic(), 3).unwrap().second_order.unwrap();
    assert!(!found.is_exact && found.standard_error > 0.0, "{found:?}");
    // Where two are all there is nothing to estimate.
    let found = measure(&Regression::normal(2, &[3.0, 1.0, 0.5]), 2).unwrap();
    let found = found.second_order.unwrap();
    assert_eq!((found.is_exact, found.standard_error), (true, 0.0));
}

#[test]
fn batch_statistics_are_an_error() {
    let device = Device::flex();
    let norm = burn::nn::BatchNormConfig::new(3).init(&device);
    let loss = |m: &burn::nn::BatchNorm, x: Tensor<2>| m.forward(x).powi_scalar(4).mean();
    let x = Tensor::<2>::random([8, 3], burn::tensor::Distribution::Default, &device);
    let mut train = SharpnessGapConfig::new(vec![4]).with_chunk_size(99).init(loss);
    let error = train.measure(&norm, &x).unwrap_err();
    assert!(matches!(error, Error::BatchesAreNoParts { .. }), "{error}");
    let eval = SharpnessGapConfig::new(vec![4]).with_mode(Mode::Eval);
    assert!(eval.init(loss).measure(&norm, &x).is_ok());
}

fn points(law: impl Fn(f64) -> f64, noise: &[f64], relative: f64) -> Vec<PowerLawPoint> {
    let point = |(i, noise): (usize, &f64)| {
        let x = 0.5_f64.powi(i as i32);
        let y = law(x);
        PowerLawPoint { x, y: y * (1.0 + relative * noise), standard_error: relative * y }
    };
    noise.iter().enumerate().map(point).collect()
}

/// 1000 laws with normal errors of 2%: the intervals hold the exponent in 93 to 98 of 100 cases (95, or a
/// little more because scatter only widens them), and a crossover is seen by chance in at most 3 of 100: the
/// break is looked for at several points, each of which has a chance of 1 in 100.
#[test]
fn power_laws_are_found_with_their_errors() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let (mut covered, mut crossed) = (0, 0);
    for _ in 0..1000 {
        let noise: Vec<f64> = (0..8).map(|_| StandardNormal.sample(&mut rng)).collect();
        let law = PowerLaw::fit(&points(|x| 2.0 * x.powf(0.8), &noise, 0.02)).unwrap();
        covered += usize::from(law.interval.0 <= 0.8 && 0.8 <= law.interval.1);
        crossed += usize::from(law.crossover.is_some());
    }
    assert!((930..=980).contains(&covered), "{covered} of 1000");
    assert!(crossed <= 30, "{crossed} of 1000");
}

/// Three points that are on no line leave one degree of freedom: the scale of their errors is hardly known.
#[test]
fn errors_that_are_scaled_have_the_interval_of_student() {
    let point = |x, y: f64| PowerLawPoint { x, y, standard_error: 0.01 * y };
    let law = PowerLaw::fit(&[point(1.0, 1.0), point(2.0, 3.0), point(4.0, 4.0)]).unwrap();
    assert!(law.reduced_chi_squared > 10.0, "{law:?}");
    assert!(relative((law.interval.1 - law.exponent) / law.standard_error, 12.7062) < 1e-5);
    let on_a_line = [1.0_f64, 2.0, 4.0].map(|x| point(x, x));
    let law = PowerLaw::fit(&on_a_line).unwrap();
    assert!(relative((law.interval.1 - law.exponent) / law.standard_error, 1.95996) < 1e-5);
}

#[test]
fn a_crossover_is_found_where_it_is() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(6);
    let broken = |x: f64| if x > 0.0625 { x.powf(0.7) } else { 0.0625_f64.powf(-0.3) * x };
    let noise: Vec<f64> = (0..9).map(|_| StandardNormal.sample(&mut rng)).collect();
    let law = PowerLaw::fit(&points(broken, &noise, 0.01)).unwrap();
    let crossover = law.crossover.unwrap();
    // Five points on each side, over factors of 16: exponents are known to about 0.01/ln 16·√2 = 0.005.
    assert!((crossover.exponent_above - 0.7).abs() < 0.03, "{crossover:?}");
    assert!((crossover.exponent_below - 1.0).abs() < 0.03, "{crossover:?}");
    assert!((crossover.x / 0.0625).log2().abs() <= 1.0);
}

#[test]
fn points_without_a_logarithm_are_left_out() {
    let point = |x, y, standard_error| PowerLawPoint { x, y, standard_error };
    let law = PowerLaw::fit(&[
        point(1.0, 2.0, 0.1),
        point(2.0, 4.0, 0.1),
        point(3.0, -1.0, 0.1),
        point(4.0, 0.1, 0.1),
        point(0.0, 0.5, 0.1),
        point(5.0, f64::NAN, 0.1),
        point(5.0, 1.0, f64::NAN),
    ]);
    let law = law.unwrap();
    assert_eq!((law.n_points, law.n_left_out), (2, 5));
    assert!((law.exponent - 1.0).abs() < 1e-12);
    // Two points: variance of the slope (σ₁²/y₁² + σ₂²/y₂²)/ln²2.
    let error = (0.05_f64.powi(2) + 0.025_f64.powi(2)).sqrt() / 2.0_f64.ln();
    assert!(relative(law.standard_error, error) < 1e-12);
    assert_eq!(PowerLaw::fit(&[point(1.0, 2.0, 0.1)]), None);
    assert_eq!(PowerLaw::fit(&[point(1.0, 2.0, 0.1), point(1.0, 3.0, 0.1)]), None);
    assert_eq!(PowerLaw::fit(&[]), None);
}
