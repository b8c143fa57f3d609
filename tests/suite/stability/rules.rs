//! Closed forms against the spectral radius of a step, laws, and settings that are refused.

use burn_sharpness::Error;
use burn_sharpness::estimator::Estimate;
use burn_sharpness::stability::*;

use super::matrices::{Step, log_spectral_radius};

/// Rules with every combination of momentum, dampening, Nesterov and decay, and their steps.
pub fn sgd_rules(rate: f64) -> Vec<(SgdStabilityConfig, Step)> {
    let mut rules = Vec::new();
    for momentum in [0.0, 0.5, 0.9, 0.99] {
        for dampening in [0.0, 0.1, 0.6, momentum] {
            for nesterov in [false, true] {
                for (decay, w) in
                    [(Decay::L2, 0.0), (Decay::L2, 0.7 / rate), (Decay::Decoupled, 0.7 / rate)]
                {
                    let config = SgdStabilityConfig::new(rate)
                        .with_momentum(momentum)
                        .with_dampening(dampening)
                        .with_nesterov(nesterov)
                        .with_weight_decay(w)
                        .with_decay(decay);
                    let (l2, decoupled) = if decay == Decay::L2 { (w, 0.0) } else { (0.0, w) };
                    let step = Step { rate, momentum, dampening, nesterov, l2, decoupled };
                    rules.push((config, step));
                }
            }
        }
    }
    rules
}

#[test]
fn thresholds_are_where_the_spectral_radius_of_a_step_passes_one() {
    for (config, step) in sgd_rules(0.03) {
        let edge = config.init().unwrap().threshold();
        let radius = |c: f64| log_spectral_radius(&step.matrix(c));
        // At a relative distance of 1e-6 the radius differs from 1 by at least 1e-6 times some tenths; rounding
        // is 1e-15 times the condition of the double root at the end of oscillation, far from here.
        assert!(radius(edge * (1.0 - 1e-6)) < 0.0, "{step:?}");
        assert!(radius(edge * (1.0 + 1e-6)) > 0.0, "{step:?}");
        // It is the first passage: all curvatures below are stable.
        for i in 1..200 {
            let c = edge * f64::from(i) / 200.0;
            assert!(radius(c) < 1e-12, "{step:?} at {c} of {edge}");
        }
    }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-14 * b.abs(), "{a} is not {b}");
}

#[test]
fn thresholds_are_the_published_formulas() {
    let (eta, beta) = (0.05, 0.9);
    let sgd = SgdStabilityConfig::new(eta);
    let heavy = sgd.clone().with_momentum(beta);
    let of = |config: &SgdStabilityConfig| config.init().unwrap().threshold();
    close(of(&sgd), 2.0 / eta);
    close(of(&sgd.clone().with_weight_decay(3.0)), 2.0 / eta - 3.0);
    close(of(&sgd.clone().with_weight_decay(3.0).with_decay(Decay::Decoupled)), 2.0 / eta - 3.0);
    close(of(&heavy), 2.0 * (1.0 + beta) / eta);
    let nesterov = heavy.clone().with_nesterov(true);
    close(of(&nesterov), (2.0 + 2.0 * beta) / ((1.0 + 2.0 * beta) * eta));
    let average = heavy.clone().with_dampening(beta);
    close(of(&average), 2.0 * (1.0 + beta) / ((1.0 - beta) * eta));
    close(of(&heavy.clone().with_batching(Batching::Small)), 2.0 * (1.0 - beta) / eta);
    close(of(&heavy.clone().with_batching(Batching::Large)), 2.0 * (1.0 + beta) / eta);
    close(of(&nesterov.with_batching(Batching::Small)), 2.0 * (1.0 - beta) / eta);
    close(of(&average.with_batching(Batching::Small)), 2.0 / eta);

    let adam = AdamStabilityConfig::new(eta);
    close(adam.init().unwrap().threshold(), 38.0 / eta);
    let adamw = adam.with_weight_decay(0.5).with_decay(Decay::Decoupled);
    close(adamw.init().unwrap().threshold(), 19.0 * (2.0 / eta - 0.5));
    let first = adamw.with_n_steps(Some(1)); // η/(1−β₁) of an average: a plain step, 1.9·(2/η − w)
    close(first.init().unwrap().threshold(), 1.9 * (2.0 / eta - 0.5));
    close(RmsPropStabilityConfig::new(eta, 0.0).init().unwrap().threshold(), 2.0 / eta);
    close(RmsPropStabilityConfig::new(eta, 0.9).init().unwrap().threshold(), 3.8 / eta);
    let grad = AdaGradStabilityConfig::new(eta).with_lr_decay(0.5).with_step(5);
    close(grad.init().unwrap().threshold(), 2.0 * 3.0 / eta);
}

#[test]
fn quantities_say_what_to_measure() {
    let of = Batching::Of { batch_size: 4, n_samples: 64 };
    let sgd = SgdStabilityConfig::new(0.1);
    let quantity = |batching| sgd.clone().with_batching(batching).init().unwrap().quantity();
    assert_eq!(quantity(Batching::Full), Quantity::FullBatchSharpness);
    for batching in [Batching::Small, Batching::Large, of] {
        assert_eq!(quantity(batching), Quantity::BatchSharpness);
    }
    let adam = AdamStabilityConfig::new(0.1).with_weight_decay(0.25);
    let shown = adam.init().unwrap().quantity();
    assert_eq!(shown, Quantity::PreconditionedSharpness { l2_decay: 0.25 });
    assert_eq!(shown.to_string(), "λ_max(P⁻¹ (H + 0.25))");
    let decoupled = adam.with_decay(Decay::Decoupled).with_batching(of).init().unwrap();
    assert_eq!(decoupled.quantity(), Quantity::PreconditionedBatchSharpness { l2_decay: 0.0 });
}

/// Settings of all kinds at one learning rate, in which only η and w carry units.
fn some_of_each(rate: f64, w: f64) -> Vec<Stability> {
    let of = Batching::Of { batch_size: 3, n_samples: 60 };
    let mut all = Vec::new();
    for batching in [Batching::Full, Batching::Large, of] {
        for (config, _) in sgd_rules(rate) {
            let config = config.with_weight_decay(w).with_batching(batching);
            all.push(config.init().unwrap());
        }
        let adam = AdamStabilityConfig::new(rate).with_weight_decay(w);
        let adam = adam.with_decay(Decay::Decoupled).with_batching(batching).with_n_steps(Some(7));
        all.push(adam.init().unwrap());
    }
    all
}

#[test]
fn ratios_do_not_depend_on_the_units_of_the_loss() {
    // A loss times s at the rate η/s is the same training: curvature and decay scale with s.
    let s = 64.0; // a power of two, so that equality is exact up to the bisection's last bits
    for (a, b) in some_of_each(0.1, 0.02).iter().zip(&some_of_each(0.1 / s, 0.02 * s)) {
        let (a, b) = (a.ratio(5.0).unwrap(), b.ratio(5.0 * s).unwrap());
        assert!((a - b).abs() <= 1e-13 * a, "{a} {b}");
    }
}

#[test]
fn thresholds_fall_with_the_learning_rate_and_have_it_as_their_inverse() {
    let rates: Vec<f64> = (0..60).map(|i| 0.02 * 1.1f64.powi(i)).collect();
    for edge in some_of_each(0.02, 0.05) {
        let thresholds: Vec<f64> =
            rates.iter().map(|&rate| edge.at(rate).unwrap().threshold()).collect();
        assert!(thresholds.windows(2).all(|w| w[1] < w[0]), "{edge:?}: {thresholds:?}");
        for (rate, threshold) in rates.iter().zip(&thresholds) {
            let largest = edge.largest_learning_rate(*threshold).unwrap();
            // Conditioned like d log η / d log threshold ≤ 2: between 1/η and 1/√η.
            assert!((largest - rate).abs() < 1e-11 * rate, "{edge:?}: {largest} for {rate}");
        }
    }
    let plain = SgdStabilityConfig::new(0.1).init().unwrap();
    assert_eq!(plain.largest_learning_rate(-1.0), Ok(f64::INFINITY));
    assert_eq!(plain.largest_learning_rate(0.0), Ok(f64::INFINITY));
    let decayed = SgdStabilityConfig::new(0.1).with_weight_decay(0.5).init().unwrap();
    let largest = decayed.largest_learning_rate(0.0).unwrap();
    assert!((largest - 4.0).abs() < 1e-12, "2/w, not {largest}");
}

#[test]
fn ratios_of_estimates_keep_their_errors() {
    let estimate = Estimate::of(&[3.0, 5.0, 4.5, 9.0]).unwrap();
    let edge = SgdStabilityConfig::new(0.4).init().unwrap(); // threshold 5
    let ratio = edge.ratio_of(&estimate).unwrap();
    let direct = Estimate::of(&[0.6, 1.0, 0.9, 1.8]).unwrap();
    let pairs = [
        (ratio.mean, direct.mean),
        (ratio.standard_error, direct.standard_error),
        (ratio.interval.0, direct.interval.0),
        (ratio.interval.1, direct.interval.1),
        (ratio.max, direct.max),
    ];
    // The interval's quantile is one number; what is left are a few roundings of numbers below 3.
    assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-14), "{ratio:?} {direct:?}");
    assert_eq!(ratio.count, 4);

    let single = edge.ratio_of(&Estimate::of(&[2.5]).unwrap()).unwrap();
    assert!(single.mean == 0.5 && single.standard_error.is_nan());
    assert_eq!(single.interval, (f64::NEG_INFINITY, f64::INFINITY));
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(matches!(edge.ratio(bad), Err(Error::NonFinite { .. })));
        assert!(matches!(edge.largest_learning_rate(bad), Err(Error::NonFinite { .. })));
        let estimate = Estimate::of(&[1.0, bad]).unwrap();
        assert!(matches!(edge.ratio_of(&estimate), Err(Error::NonFinite { .. })));
    }
    assert_eq!(edge.ratio(-2.5), Ok(-0.5));
}

/// The name of the refused setting.
fn refused(result: burn_sharpness::Result<Stability>) -> &'static str {
    match result {
        Err(Error::InvalidSetting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_outside_their_range_are_refused() {
    let sgd = || SgdStabilityConfig::new(0.1);
    for rate in [0.0, -0.1, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE / 4.0] {
        assert_eq!(refused(SgdStabilityConfig::new(rate).init()), "learning_rate");
        assert_eq!(refused(sgd().init().unwrap().at(rate)), "learning_rate");
    }
    for bad in [-0.1, 1.0, f64::NAN] {
        assert_eq!(refused(sgd().with_momentum(bad).init()), "momentum");
        assert_eq!(refused(sgd().with_dampening(bad).init()), "dampening");
        assert_eq!(refused(AdamStabilityConfig::new(0.1).with_beta_1(bad).init()), "beta_1");
        assert_eq!(refused(RmsPropStabilityConfig::new(0.1, bad).init()), "momentum");
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(sgd().with_weight_decay(bad).init()), "weight_decay");
        let adam = AdamStabilityConfig::new(0.1).with_weight_decay(bad);
        assert_eq!(refused(adam.init()), "weight_decay");
        assert_eq!(refused(adam.with_decay(Decay::Decoupled).init()), "weight_decay");
        let sam = |rho, gradient_norm| sgd().with_sam(Some(Sam { rho, gradient_norm })).init();
        assert_eq!(refused(sam(bad, 1.0)), "rho");
        assert_eq!(refused(sam(0.1, bad)), "gradient_norm");
    }
    assert_eq!(
        refused(sgd().with_sam(Some(Sam { rho: 0.1, gradient_norm: 0.0 })).init()),
        "gradient_norm"
    );
    // 2/η = 20: the decay alone is at the edge.
    assert_eq!(refused(sgd().with_weight_decay(20.0).init()), "learning_rate");
    let decoupled = sgd().with_decay(Decay::Decoupled).with_momentum(0.9);
    assert_eq!(refused(decoupled.with_weight_decay(20.0).init()), "learning_rate");
    let small = sgd().with_weight_decay(0.1).with_batching(Batching::Small);
    assert_eq!(refused(small.init()), "weight_decay");
    assert_eq!(refused(AdamStabilityConfig::new(0.1).with_n_steps(Some(0)).init()), "n_steps");
    assert_eq!(refused(AdaGradStabilityConfig::new(0.1).with_step(0).init()), "step");
    assert_eq!(refused(AdaGradStabilityConfig::new(0.1).with_lr_decay(-1.0).init()), "lr_decay");
    for (batch_size, n_samples) in [(0, 5), (6, 5), (0, 0)] {
        let batching = Batching::Of { batch_size, n_samples };
        let error = Err(Error::BatchSize { batch_size, n_samples });
        assert_eq!(sgd().with_batching(batching).init(), error);
        let adam = AdamStabilityConfig::new(0.1).with_batching(batching);
        assert_eq!(adam.init(), error);
        let l2 =
            adam.with_weight_decay(0.1).with_batching(Batching::Of { batch_size: 1, n_samples: 2 });
        assert_eq!(refused(l2.init()), "weight_decay");
    }
}

#[test]
fn sam_settles_where_its_ratio_is_one() {
    // Gradient descent with SAM on ½ Σ h x² ends in a two-cycle along the largest curvature, whose gradient
    // is as large as SAM's edge needs (Bartlett, Long and Bousquet 2023): the ratio there is 1.
    for (rate, rho) in [(0.1, 0.05), (0.4, 0.5), (0.9, 0.01)] {
        for momentum in [0.0, 0.3] {
            let h = [2.0, 1.0, 0.3];
            let (mut x, mut v) = ([0.7, -1.0, 0.4], [0.0; 3]);
            let norm =
                |x: &[f64; 3]| x.iter().zip(h).map(|(x, h)| (h * x).powi(2)).sum::<f64>().sqrt();
            for _ in 0..20_000 {
                let scale = rho / norm(&x);
                for i in 0..3 {
                    let g = h[i] * (x[i] + scale * h[i] * x[i]);
                    v[i] = momentum * v[i] + g;
                    x[i] -= rate * v[i];
                }
            }
            let sam = Sam { rho, gradient_norm: norm(&x) };
            let config = SgdStabilityConfig::new(rate).with_momentum(momentum).with_sam(Some(sam));
            let edge = config.init().unwrap();
            let ratio = edge.ratio(2.0).unwrap();
            assert!((ratio - 1.0).abs() < 1e-9, "{ratio} at {rate}, {rho}, {momentum}");
            if momentum == 0.0 {
                let g = sam.gradient_norm;
                let published = g / (2.0 * rho) * ((1.0 + 8.0 * rho / (rate * g)).sqrt() - 1.0);
                assert!((edge.threshold() - published).abs() < 1e-12 * published);
            }
        }
    }
}

#[test]
fn sam_without_radius_is_gradient_descent() {
    let with = |rho| {
        let sam = Sam { rho, gradient_norm: 1.0 };
        SgdStabilityConfig::new(0.1).with_sam(Some(sam)).init().unwrap().threshold()
    };
    assert_eq!(with(0.0), 20.0);
    // 20/(1 + 20ρ + ..): no cancellation at tiny radii.
    assert!((with(1e-13) - 20.0 * (1.0 - 20.0 * 1e-13)).abs() < 1e-13);
}
