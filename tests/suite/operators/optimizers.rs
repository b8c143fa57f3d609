//! The state of burn's optimizers, against the steps that they take.

use burn::grad_clipping::GradientClippingConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    AdaGradConfig, AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, RmsPropConfig,
    SgdConfig,
};
use burn_sharpness::Error;
use burn_sharpness::operator::{OperatorExt, OptimizerState, StepRule};
use burn_sharpness::prelude::*;

use super::curvature::cross_entropy;
use super::*;

const RATE: f64 = 0.02;

fn loss(model: &Mlp, (x, y): Labelled<2>) -> Tensor<1> {
    cross_entropy(model.forward(x), y, ())
}

fn flat(model: &Mlp) -> Vec<f64> {
    super::curvature::parameters(model).into_iter().map(f64::from_bits).collect()
}

/// The steps of a training run: θ before, θ after, the gradient, the state after; the last one of three.
fn train(mut optimizer: ModuleOptimizer) -> (Mlp, ModuleOptimizer, Vec<f64>, Vec<f64>) {
    let mut model = Mlp::new(4, 5, 3);
    let (mut before, mut gradient) = (Vec::new(), Vec::new());
    for step in 0..3 {
        let (x, y) = samples([6, 4], 3);
        let gradients = loss(&model, (x.add_scalar(0.3 * f64::from(step)), y)).backward();
        (before, gradient) = (flat(&model), flat_gradient(&model, &gradients));
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(RATE, model, gradients);
    }
    let taken = flat(&model).iter().zip(&before).map(|(after, before)| after - before).collect();
    (model, optimizer, taken, gradient)
}

/// burn's factors are f32: three of them are rounded on the way, and again here.
const FACTORS: f64 = 8.0 * f32::EPSILON as f64;

/// −η s.
fn predicted(s: &[f64]) -> Vec<f64> {
    s.iter().map(|s| -RATE * s).collect()
}

#[test]
fn adam_divides_by_it() {
    let (beta_1, beta_2, epsilon) = (0.8, 0.95, 3e-3);
    let adam = AdamConfig::new().with_beta_1(beta_1).with_beta_2(beta_2).with_epsilon(epsilon);
    let rule = StepRule::Adam { beta_1, beta_2, epsilon };
    for amsgrad in [false, true] {
        let (model, optimizer, taken, _) = train(adam.clone().with_amsgrad(amsgrad).init());
        let state = OptimizerState::read(&model, &optimizer, rule).unwrap();
        let s = state.direction.unwrap().to_values().unwrap();
        assert_close(&predicted(&s), &taken, FACTORS, "Adam");
    }
    // Weight decay within the gradient, and clipping, are in the moments.
    let decay = Some(WeightDecayConfig::new(0.3));
    let clipping = Some(GradientClippingConfig::Norm(0.1));
    let adam = adam.with_weight_decay(decay).with_grad_clipping(clipping);
    let (model, optimizer, taken, _) = train(adam.init());
    let state = OptimizerState::read(&model, &optimizer, rule).unwrap();
    let s = state.direction.unwrap().to_values().unwrap();
    assert_close(&predicted(&s), &taken, FACTORS, "Adam, decay");
}

/// Its decay is decoupled: θ' = (1 − ηλ)θ − η P⁻¹ m.
#[test]
fn adamw_divides_by_it() {
    let (beta_1, beta_2, epsilon, decay) = (0.8, 0.95, 3e-3, 0.2);
    let adamw = AdamWConfig::new().with_beta_1(beta_1).with_beta_2(beta_2).with_epsilon(epsilon);
    let adamw = adamw.with_weight_decay(decay).with_amsgrad(true);
    let (model, optimizer, taken, _) = train(adamw.init());
    let rule = StepRule::Adam { beta_1, beta_2, epsilon };
    let state = OptimizerState::read(&model, &optimizer, rule).unwrap();
    let s = state.direction.unwrap().to_values().unwrap();
    let after = flat(&model);
    let expected = predicted(&s);
    let decayed = after.iter().zip(&taken).zip(&expected).map(|((after, taken), step)| {
        let before = after - taken;
        step - RATE * f64::from(decay) * before
    });
    assert_close(&decayed.collect::<Vec<_>>(), &taken, FACTORS, "AdamW");
}

#[test]
fn rms_prop_and_ada_grad_divide_by_it() {
    let epsilon = 3e-3;
    for centered in [false, true] {
        let config = RmsPropConfig::new().with_epsilon(epsilon).with_centered(centered);
        let rule = StepRule::RmsProp { epsilon };
        let (model, optimizer, taken, g) = train(config.clone().with_momentum(0.0).init());
        let state = OptimizerState::read(&model, &optimizer, rule).unwrap();
        assert!(state.direction.is_none());
        let p = state.preconditioner.to_values().unwrap();
        let s: Vec<f64> = g.iter().zip(&p).map(|(g, p)| g / p).collect();
        assert_close(&predicted(&s), &taken, FACTORS, "RMSProp");
        let (model, optimizer, taken, _) = train(config.init());
        let state = OptimizerState::read(&model, &optimizer, rule).unwrap();
        let s = state.direction.unwrap().to_values().unwrap();
        assert_close(&predicted(&s), &taken, FACTORS, "RMSProp with momentum");
    }
    let config = AdaGradConfig::new().with_epsilon(epsilon).with_lr_decay(0.5);
    let (model, optimizer, taken, g) = train(config.init());
    let rule = StepRule::AdaGrad { epsilon };
    let state = OptimizerState::read(&model, &optimizer, rule).unwrap();
    let p = state.preconditioner.to_values().unwrap();
    // ηₜ = η/(1 + 2 · 0.5) at the third step.
    let s: Vec<f64> = g.iter().zip(&p).map(|(g, p)| g / p / 2.0).collect();
    assert_close(&predicted(&s), &taken, FACTORS, "AdaGrad");
}

#[test]
fn heavy_ball_steps_along_its_velocity() {
    let momentum = MomentumConfig::new().with_momentum(0.7).with_dampening(0.2);
    let (model, optimizer, taken, _) = train(SgdConfig::new().with_momentum(Some(momentum)).init());
    let state = OptimizerState::read(&model, &optimizer, StepRule::Sgd).unwrap();
    let s = state.direction.unwrap().to_values().unwrap();
    assert_close(&predicted(&s), &taken, FACTORS, "SGD");
    assert!(state.preconditioner.to_values().unwrap().iter().all(|p| *p == 1.0));
}

/// A minimum of ½hθ² under Adam with a frozen second moment: the preconditioned Hessian is P^(-½)HP^(-½).
#[test]
fn the_preconditioned_hessian_takes_it() {
    let (model, optimizer, ..) = train(AdamConfig::new().init());
    let rule = StepRule::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-5 };
    let state = OptimizerState::read(&model, &optimizer, rule).unwrap();
    let h = HessianOperator::new(&model, samples([6, 4], 3), loss).unwrap();
    let dense = h.to_dense().unwrap();
    let p = state.preconditioner.to_values().unwrap();
    let n = h.dim();
    let entry = |i: usize, j: usize| dense[i][j] / (p[i] * p[j]).sqrt();
    let expected: Matrix = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
    check_dense(&h.preconditioned(&state.preconditioner).unwrap(), &expected, "Adam");
}

#[test]
fn states_that_do_not_fit_are_errors() {
    let (model, optimizer, ..) = train(AdamConfig::new().init());
    let setting = |model: &Mlp, optimizer: &ModuleOptimizer, rule| match OptimizerState::read(
        model, optimizer, rule,
    ) {
        Err(Error::InvalidSetting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    let adam = StepRule::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-5 };
    for rule in
        [StepRule::Sgd, StepRule::RmsProp { epsilon: 1e-5 }, StepRule::AdaGrad { epsilon: 1e-5 }]
    {
        assert_eq!(setting(&model, &optimizer, rule), "optimizer");
    }
    assert_eq!(setting(&model, &AdamConfig::new().init(), adam), "optimizer", "no step yet");
    assert_eq!(setting(&Mlp::new(4, 5, 3), &optimizer, adam), "optimizer", "another model");
    for beta in [1.0, -0.1, f32::NAN] {
        let rule = StepRule::Adam { beta_1: 0.9, beta_2: beta, epsilon: 1e-5 };
        assert_eq!(setting(&model, &optimizer, rule), "beta");
    }
    for epsilon in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(setting(&model, &optimizer, StepRule::RmsProp { epsilon }), "epsilon");
    }
}
