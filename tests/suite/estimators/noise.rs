//! Gradient noise: interaction, alignment, and the change of the loss by one step.

use burn_sharpness::Error;
use burn_sharpness::estimator::{GradientNoiseConfig, Sampling, draw_batches};
use burn_sharpness::prelude::Mode;

use super::regression::{Pair, Regression, Weights, dot, loss, mean, relative, subsets, sum};

const N: usize = 12;
const B: usize = 4;
const ETA: f64 = 0.07;

/// Sums of a few hundred products in f64 without cancellation: a few hundred ε.
const ROUNDING: f64 = 1e-12;

fn problem() -> Regression {
    Regression::normal(N, &[1.5, 1.0, 0.7, 0.5, 1.2])
}

fn config() -> GradientNoiseConfig {
    GradientNoiseConfig::new(B).with_seed(3)
}

/// E[g_BᵀHg_B], E[‖g_B‖²] over all subsets.
fn over_all_batches(problem: &Regression) -> (f64, f64) {
    let all = problem.all();
    let of_batch = |batch: &Vec<usize>| {
        let g = problem.gradient(batch);
        (dot(&g, &problem.product(&all, &g)), dot(&g, &g))
    };
    let (curvatures, squares): (Vec<f64>, Vec<f64>) = subsets(N, B).iter().map(of_batch).unzip();
    (mean(&curvatures), mean(&squares))
}

/// tr(HC_b) = ∇LᵀH∇L + f·mean (g_i − ∇L)ᵀH(g_i − ∇L) with f = (n − b)/(b(n − 1)): no enumeration.
#[test]
fn the_closed_form_is_that_of_all_batches() {
    let problem = problem();
    let (all, gradient) = (problem.all(), problem.gradient(&problem.all()));
    let spread = |i: &usize| {
        let g = problem.gradient(&[*i]);
        let g = sum([(1.0, &g[..]), (-1.0, &gradient[..])].into_iter(), problem.d());
        dot(&g, &problem.product(&all, &g))
    };
    let factor = (N - B) as f64 / (B * (N - 1)) as f64;
    let noise = factor * mean(&all.iter().map(spread).collect::<Vec<_>>());
    let expected = dot(&gradient, &problem.product(&all, &gradient)) + noise;
    assert!(relative(over_all_batches(&problem).0, expected) < ROUNDING);
}

#[test]
fn every_mean_is_that_of_its_batches() {
    let problem = problem();
    let (all, gradient) = (problem.all(), problem.gradient(&problem.all()));
    let config = config().with_num_batches(7).with_learning_rate(Some(ETA)).with_chunk_size(5);
    let measured = config.init(loss).measure(&problem.model(), &problem.data()).unwrap();
    let batches = draw_batches(Sampling::WithoutReplacement, N, B, 7, 3, measured.draw).unwrap();
    let over = |of: &dyn Fn(&Vec<usize>, &[f64]) -> f64| {
        mean(&batches.iter().map(|batch| of(batch, &problem.gradient(batch))).collect::<Vec<_>>())
    };
    let product = problem.product(&all, &gradient);
    let (square, full_curvature) = (dot(&gradient, &gradient), dot(&gradient, &product));
    assert!(relative(measured.full_squared_norm, square) < ROUNDING);
    assert!(relative(measured.full_curvature, full_curvature) < ROUNDING);
    let curvature = over(&|_, g| dot(g, &problem.product(&all, g)));
    assert!(relative(measured.curvature_plain.mean, curvature) < ROUNDING);
    let cross = over(&|_, g| 2.0 * (dot(g, &product) - full_curvature));
    assert!(relative(measured.curvature.mean, curvature - cross) < ROUNDING);
    let interaction = measured.interaction.clone().unwrap();
    assert!(relative(interaction.mean, (curvature - cross) / square) < ROUNDING);
    let norms = over(&|_, g| dot(g, g));
    assert!(relative(measured.alignment.as_ref().unwrap().value, curvature / norms) < ROUNDING);
    let slopes = over(&|_, g| 2.0 * (dot(g, &gradient) - square));
    assert!(relative(measured.squared_norm.mean, norms - slopes) < ROUNDING);
    let step = measured.one_step.clone().unwrap();
    let after = |g: &[f64]| sum([(1.0, &problem.w[..]), (-ETA, g)].into_iter(), problem.d());
    let change = |batch: &[usize], g: &[f64]| {
        problem.loss(&after(g), batch) - problem.loss(&problem.w, batch)
    };
    // Differences of losses of order ten, in units of changes of order a tenth: a hundred times coarser.
    let close = |a, b| relative(a, b) < 100.0 * ROUNDING;
    assert!(close(step.measured_plain.mean, over(&|_, g| change(&all, g))));
    assert!(close(step.measured_on_batch.mean, over(&|batch, g| change(batch, g))));
    assert!(relative(step.loss, problem.loss(&problem.w, &all)) < ROUNDING);
    let predicted = -ETA * square + 0.5 * ETA * ETA * (curvature - cross);
    assert!(close(step.predicted.mean, predicted));
    assert!(close(measured.predicted_change(ETA).mean, predicted));
    let counts = (measured.n_hvps, measured.n_batch_hvps, measured.n_forwards);
    assert_eq!((counts, measured.n_zero_gradients), ((8, 7, 8), 0));
}

/// On a quadratic the second order is all there is, batch by batch: the paired difference has no error.
#[test]
fn one_step_is_predicted_exactly_on_a_quadratic() {
    let problem = problem();
    let mut estimator = config().with_learning_rate(Some(ETA)).init(loss);
    let step = estimator.measure(&problem.model(), &problem.data()).unwrap().one_step.unwrap();
    assert!(step.remainder.mean.abs() < 1e-13 * step.loss);
    assert!(step.remainder.standard_error < 1e-13 * step.loss);
    assert!(relative(step.measured.mean, step.predicted.mean) < 1e-10);
    assert!(relative(step.measured_on_batch.mean, step.predicted_on_batch.mean) < 1e-10);
    assert!(step.measured.standard_error < 0.5 * step.measured_plain.standard_error);
    // Not so on a quartic.
    let quartic = |m: &Weights, (x, y): Pair| (x.matmul(m.w.val()) - y).powi_scalar(4).mean();
    let mut estimator = config().with_learning_rate(Some(1e-3)).init(quartic);
    let step = estimator.measure(&problem.model(), &problem.data()).unwrap().one_step.unwrap();
    assert!(step.remainder.mean.abs() > 1e-6 * step.loss);
}

/// 400 seeds, 64 batches each: at least 93 of 100 intervals hold the means over all 495 batches.
#[test]
fn intervals_cover_the_means_over_all_batches() {
    let problem = problem();
    let (model, data) = (problem.model(), problem.data());
    let gradient = problem.gradient(&problem.all());
    let (square, (curvature, norms)) = (dot(&gradient, &gradient), over_all_batches(&problem));
    let change = -ETA * square + 0.5 * ETA * ETA * curvature;
    let mut counts = [0; 5];
    for seed in 0..400 {
        let config = config().with_seed(seed).with_learning_rate(Some(ETA));
        let measured = config.init(loss).measure(&model, &data).unwrap();
        let step = measured.one_step.unwrap();
        let intervals = [
            (measured.interaction.unwrap().interval, curvature / square),
            (measured.alignment.unwrap().interval, curvature / norms),
            (measured.squared_norm.interval, norms),
            (step.measured.interval, change),
            (step.measured_plain.interval, change),
        ];
        for (count, ((low, high), truth)) in counts.iter_mut().zip(intervals) {
            *count += usize::from(low <= truth && truth <= high);
        }
    }
    assert!(counts.iter().all(|count| *count >= 372), "{counts:?} of 400");
}

/// Targets that the weights fit: no gradient anywhere, nothing to divide by, and nothing dropped.
#[test]
fn zero_gradients_are_counted() {
    let mut problem = Regression::orthogonal(4, 1.0);
    (problem.y, problem.w) = (vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 2.0, 3.0, 4.0]);
    let measured = GradientNoiseConfig::new(2).with_num_batches(5).init(loss);
    let measured = { measured }.measure(&problem.model(), &problem.data()).unwrap();
    assert_eq!((measured.n_zero_gradients, measured.curvature.count), (5, 5));
    assert_eq!((measured.interaction, measured.alignment), (None, None));
    assert_eq!((measured.curvature.mean, measured.squared_norm.mean), (0.0, 0.0));
}

#[test]
fn bad_settings_are_errors() {
    let problem = problem();
    let error = |config: GradientNoiseConfig| {
        config.init(loss).measure(&problem.model(), &problem.data()).unwrap_err()
    };
    for eta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = error(config().with_learning_rate(Some(eta)));
        assert!(matches!(error, Error::InvalidSetting { setting: "learning_rate", .. }), "{error}");
    }
    let too_large = error(GradientNoiseConfig::new(N + 1));
    assert_eq!(too_large, Error::BatchSize { batch_size: N + 1, n_samples: N });
    let none = error(config().with_num_batches(0));
    assert!(matches!(none, Error::InvalidSetting { setting: "num_batches", .. }), "{none}");
    let noise = error(config().with_mode(Mode::TrainWithNoise { seed: 1 }));
    assert!(matches!(noise, Error::BatchesAreNoParts { .. }), "{noise}");
    // θ − ηg is out of range of f64.
    let far = error(config().with_learning_rate(Some(1e200)));
    assert!(matches!(far, Error::NonFinite { quantity: "the loss after a step", .. }), "{far}");
}
