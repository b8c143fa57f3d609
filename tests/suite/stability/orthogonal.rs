//! The orthogonal model: its edge against the exact recursion of second moments, and against runs.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{Optimizer, SgdConfig};
use burn::tensor::{DType, Device};
use burn_sharpness::estimator::{Sampling, draw_batches};
use burn_sharpness::stability::*;

use super::matrices::{Step, log_spectral_radius};
use super::rules::sgd_rules;
use crate::common::float;

#[test]
fn edges_are_where_second_moments_stop_to_contract() {
    for (batch_size, n_samples) in [(7, 7), (7, 14), (2, 20), (1, 1000)] {
        let q = n_samples as f64 / batch_size as f64;
        for (config, step) in sgd_rules(0.03) {
            let batching = Batching::Of { batch_size, n_samples };
            let edge = config.with_batching(batching).init().unwrap().threshold();
            let radius = |c: f64| log_spectral_radius(&step.second_moments(c, q));
            // At a relative distance δ the radius is off by about δ/q: a direction is seen every q-th step.
            // Rounding is about 1e-15 times the condition 1/(1−β)² ≤ 1e4 of the moments.
            let delta = 1e-5;
            assert!(radius(edge * (1.0 - delta)) < 0.0, "below: {step:?} q = {q}");
            assert!(radius(edge * (1.0 + delta)) > 0.0, "above: {step:?} q = {q}");
            for i in 1..100 {
                let c = edge * f64::from(i) / 100.0;
                assert!(radius(c) < 1e-10, "{step:?} q = {q}: {c} of {edge}");
            }
        }
    }
}

#[test]
fn edges_have_the_closed_form_and_both_limits() {
    for beta in [0.0, 0.5, 0.9, 0.99] {
        for (batch_size, n_samples) in [(9, 9), (3, 6), (1, 10), (1, 1000)] {
            let rule = SgdStabilityConfig::new(0.2).with_momentum(beta).with_dampening(0.25);
            let edge = |b| rule.clone().with_batching(b).init().unwrap().threshold();
            let q = n_samples as f64 / batch_size as f64;
            let closed = 2.0 * (1.0 - beta * beta) / ((1.0 + beta) - 2.0 * beta / q) / (0.75 * 0.2);
            let exact = edge(Batching::Of { batch_size, n_samples });
            // The margin's terms carry factors up to 1/(1−β²)² that cancel: 1e4·ε at β = 0.99.
            assert!(
                (exact - closed).abs() < 1e-11 * closed,
                "β = {beta}, q = {q}: {exact} {closed}"
            );
            assert!(exact <= edge(Batching::Large) * (1.0 + 1e-15));
            assert!(exact >= edge(Batching::Small) * (1.0 - 1e-11));
        }
        for nesterov in [false, true] {
            let rule = SgdStabilityConfig::new(0.2).with_momentum(beta).with_dampening(0.25);
            let rule = rule.with_nesterov(nesterov);
            let edge = |b| rule.clone().with_batching(b).init().unwrap().threshold();
            // The distance to the limit is of the order of 1/(q(1−β)²).
            let far = edge(Batching::Of { batch_size: 1, n_samples: 1_000_000_000 });
            let small = edge(Batching::Small);
            assert!((far - small).abs() < 1e-4 * small, "{beta} {nesterov}: {far} {small}");
        }
    }
}

/// E x² after each of `n_steps` steps from x = 1, v = 0 (the velocity of a first step has no dampening).
fn exact(step: &Step, curvature: f64, q: f64, n_steps: usize) -> Vec<f64> {
    let moments = step.second_moments(curvature, q);
    let mut state = vec![1.0, 0.0, 0.0, 0.0];
    let mut result = Vec::new();
    for _ in 0..n_steps {
        state =
            moments.iter().map(|row| row.iter().zip(&state).map(|(m, s)| m * s).sum()).collect();
        result.push(state[0]);
    }
    result
}

#[test]
fn burns_sgd_has_the_second_moments_of_the_model() {
    // 20 000 orthogonal samples, one parameter each: the mean of x² over the parameters estimates E x².
    let (n, rate, n_steps) = (20_000usize, 0.05, 40usize);
    let device = Device::flex();
    for (q, beta, nesterov) in [(2usize, 0.0, false), (2, 0.9, false), (10, 0.5, true)] {
        let batching = Batching::Of { batch_size: n / q, n_samples: n };
        let config = SgdStabilityConfig::new(rate).with_momentum(beta).with_nesterov(nesterov);
        let edge = config.with_batching(batching).init().unwrap();
        for factor in [0.8, 1.2] {
            let curvature = factor * edge.threshold();
            let momentum = MomentumConfig::new()
                .with_momentum(beta)
                .with_dampening(0.0)
                .with_nesterov(nesterov);
            let sgd = SgdConfig::new().with_momentum(Some(momentum)).build();
            let batches =
                draw_batches(Sampling::WithoutReplacement, n, n / q, n_steps, 11, 0).unwrap();
            let mut x = float(vec![1.0; n], [n], DType::F64, &device);
            let mut state = None;
            for batch in batches {
                let mut curvatures = vec![0.0; n];
                batch.into_iter().for_each(|i| curvatures[i] = curvature);
                let gradient = x.clone() * float(curvatures, [n], DType::F64, &device);
                (x, state) = sgd.step(rate, x, gradient, state);
            }
            let squares: Vec<f64> =
                x.into_data().try_to_vec::<f64>().unwrap().iter().map(|x| x * x).collect();
            let mean = squares.iter().sum::<f64>() / n as f64;
            let variance = squares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n as f64;
            let (l2, decoupled) = (0.0, 0.0);
            let step = Step { rate, momentum: beta, dampening: 0.0, nesterov, l2, decoupled };
            let moments = exact(&step, curvature, q as f64, n_steps);
            let (middle, last) = (moments[n_steps / 2 - 1], moments[n_steps - 1]);
            // Five standard errors of the sample mean; its tail is heavy, so the error itself must be small.
            let error = (variance / n as f64).sqrt();
            assert!(error < 0.15 * last, "{q} {beta} {factor}: {error:.2e} of {last:.2e}");
            assert!(
                (mean - last).abs() < 5.0 * error,
                "{q} {beta} {factor}: {mean:.3e} {last:.3e}"
            );
            assert_eq!(last > middle, factor > 1.0, "{q} {beta} {factor}: {middle:.2e} {last:.2e}");
        }
    }
}
