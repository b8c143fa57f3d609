//! burn's own optimizers on quadratics, one percent below and above each threshold.
//!
//! The preconditioners are frozen exactly, with real steps: the parameters start at 1e-120, so that squared
//! gradients vanish beside the second moments, which are set before each step (burn's states are public).

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::*;
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::stability::*;

use crate::common::{float, max_abs};

const RATE: f64 = 0.05;
const STEPS: usize = 400;
/// Second moments; the preconditioner is their root plus ε = 1e-8.
const MOMENTS: [f64; 2] = [4.0, 0.25];

fn tensor(values: [f64; 2]) -> Tensor<1> {
    float(values.to_vec(), [2], DType::F64, &Device::flex())
}

/// log of the growth of the largest |x| over the second half of a run with curvatures `h`.
fn growth<O: Optimizer>(
    optimizer: &O,
    h: [f64; 2],
    mut freeze: impl FnMut(Option<O::State<1>>) -> Option<O::State<1>>,
) -> f64 {
    let (mut x, mut state, mut sizes) = (tensor([1e-120, -7e-121]), None, Vec::new());
    for _ in 0..STEPS {
        let gradient = x.clone() * tensor(h);
        (x, state) = optimizer.step(RATE, x, gradient, freeze(state));
        sizes.push(max_abs(&x.clone().into_data().try_to_vec::<f64>().unwrap()));
    }
    // The largest of twenty steps: oscillations have slower envelopes than steps.
    let largest = |end: usize| max_abs(&sizes[end - 20..end]);
    (largest(STEPS) / largest(STEPS / 2)).ln()
}

/// Shrinks one percent below the threshold and grows one percent above it.
fn check(what: &str, edge: &Stability, run: impl Fn(f64) -> f64) {
    let (below, above) = (run(0.99 * edge.threshold()), run(1.01 * edge.threshold()));
    // GD is the slowest: its factor is 1 ± 0.02 per step, or e^±4 in half a run. AdamW's decay and β = 0.99
    // contract by β^½ per step below, e^-1.
    assert!(below < -0.5 && above > 0.5, "{what}: {below:.2} below, {above:.2} above");
}

fn penalty(w: f64) -> Option<WeightDecayConfig> {
    (w > 0.0).then(|| WeightDecayConfig::new(w as f32))
}

#[test]
fn sgd_with_every_setting() {
    for momentum in [None, Some(0.0), Some(0.5), Some(0.9), Some(0.99)] {
        for dampening in [0.0, 0.1, 0.9] {
            for nesterov in [false, true] {
                for w in [0.0, 4.0] {
                    let settings = momentum.map(|beta| {
                        MomentumConfig::new()
                            .with_momentum(beta)
                            .with_dampening(dampening)
                            .with_nesterov(nesterov)
                    });
                    let config =
                        SgdConfig::new().with_momentum(settings).with_weight_decay(penalty(w));
                    let mut rule = SgdStabilityConfig::new(RATE).with_weight_decay(w);
                    if let Some(beta) = momentum {
                        rule = rule
                            .with_momentum(beta)
                            .with_dampening(dampening)
                            .with_nesterov(nesterov);
                    }
                    let sgd = config.build();
                    let run = |c: f64| growth(&sgd, [c, 0.4 * c], |state| state);
                    check(&format!("{config}"), &rule.init().unwrap(), run);
                }
            }
        }
    }
}

/// Curvatures whose preconditioned maximum, with L2 decay w, is `value`.
fn behind(value: f64, w: f64) -> [f64; 2] {
    let [p, r] = MOMENTS.map(|m| m.sqrt() + 1e-8);
    [value * p - w, 0.4 * value * r - w]
}

#[test]
fn adam_with_l2_decay() {
    // Step numbers at which the first average is corrected by 1 − 0.9ᵗ = 0.41, and not at all. The second
    // one's correction 1 − 0.999ᵗ belongs to P; the moments are set so that P is the same.
    for (steps, n_steps) in [(5, Some(5)), (1_000_000, None)] {
        for beta in [0.0f32, 0.5, 0.9] {
            for w in [0.0, 0.8] {
                let adam = AdamConfig::new()
                    .with_beta_1(beta)
                    .with_epsilon(1e-8)
                    .with_weight_decay(penalty(w))
                    .build();
                let rule = AdamStabilityConfig::new(RATE)
                    .with_beta_1(f64::from(beta))
                    .with_weight_decay(w)
                    .with_n_steps(n_steps);
                let correction = f64::from(1.0 - 0.999f32.powi(steps));
                let freeze = |state: Option<AdamState<1>>| {
                    let m = state.map_or(tensor([0.0; 2]), |s| s.momentum.moment_1);
                    let v = tensor(MOMENTS.map(|v| v * correction));
                    Some(AdamState::new(AdaptiveMomentumState::new(steps as usize - 1, m, v)))
                };
                let run = |c: f64| growth(&adam, behind(c, w), freeze);
                check(&format!("β {beta}, w {w}, {steps}"), &rule.init().unwrap(), run);
            }
        }
    }
}

#[test]
fn adamw_with_decoupled_decay() {
    // At w = 8 the decay moves the edge by 20%, and a factor of 19 left out would not pass.
    for beta in [0.5f32, 0.9] {
        for w in [0.0, 1.0, 8.0] {
            let adam = AdamWConfig::new()
                .with_beta_1(beta)
                .with_epsilon(1e-8)
                .with_weight_decay(w as f32)
                .build();
            let rule = AdamStabilityConfig::new(RATE)
                .with_beta_1(f64::from(beta))
                .with_weight_decay(w)
                .with_decay(Decay::Decoupled);
            let freeze = |state: Option<AdamWState<1>>| {
                let m = state.map_or(tensor([0.0; 2]), |s| s.momentum.moment_1);
                let momentum = AdaptiveMomentumState::new(1_000_000, m, tensor(MOMENTS));
                Some(AdamWState::new(momentum))
            };
            let run = |c: f64| growth(&adam, behind(c, 0.0), freeze);
            check(&format!("β {beta}, w {w}"), &rule.init().unwrap(), run);
        }
    }
}

#[test]
fn rmsprop_with_momentum() {
    for momentum in [0.0f32, 0.9] {
        for w in [0.0, 0.8] {
            let rms = RmsPropConfig::new()
                .with_momentum(momentum)
                .with_epsilon(1e-8)
                .with_weight_decay(penalty(w))
                .build();
            let rule = RmsPropStabilityConfig::new(RATE, f64::from(momentum)).with_weight_decay(w);
            // burn's buffer is private but moves along; the average before a step is made 1/α as large.
            let freeze = |state: Option<RmsPropState<1>>| {
                let before = MOMENTS.map(|v| v / f64::from(0.99f32));
                let square = SquareAvgState::new(tensor(before));
                let centered = CenteredState::new(None, tensor(before));
                Some(RmsPropState::new(square, centered, state.and_then(|s| s.momentum)))
            };
            let run = |c: f64| growth(&rms, behind(c, w), freeze);
            check(&format!("β {momentum}, w {w}"), &rule.init().unwrap(), run);
        }
    }
}

#[test]
fn adagrad_with_a_decaying_rate() {
    for (lr_decay, step) in [(0.0, 1), (0.5, 7)] {
        for w in [0.0, 0.8] {
            let grad = AdaGradConfig::new()
                .with_lr_decay(lr_decay)
                .with_epsilon(1e-8)
                .with_weight_decay(penalty(w))
                .build();
            let rule = AdaGradStabilityConfig::new(RATE)
                .with_lr_decay(lr_decay)
                .with_step(step)
                .with_weight_decay(w);
            let freeze = |_| Some(AdaGradState::new(LrDecayState::new(step - 1, tensor(MOMENTS))));
            let run = |c: f64| growth(&grad, behind(c, w), freeze);
            check(&format!("{lr_decay} {step} {w}"), &rule.init().unwrap(), run);
        }
    }
}
