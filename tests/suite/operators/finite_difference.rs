//! Differences of gradients are the Hessian to their own accuracy, and see losses that no recording does.

use burn_sharpness::Error;
use burn_sharpness::graph::ModelState;
use burn_sharpness::operator::FiniteDifferenceHessian;
use burn_sharpness::prelude::*;

use super::*;

fn loss(model: &Mlp, (x, y): Labelled<2>) -> Tensor<1> {
    super::curvature::cross_entropy(model.forward(x), y, ())
}

/// The same loss, scaled by a number that is read from the device.
fn reading(model: &Mlp, (x, y): Labelled<2>) -> Tensor<1> {
    let scale = x.clone().abs().max().into_scalar::<f64>();
    loss(model, (x, y)) * scale
}

/// Truncation is h²/6·D³g along v, rounding ε‖g‖/h; at h = ε^⅓(1 + ‖θ‖) both are ε^⅔ times numbers of order
/// one: (1 + ‖θ‖)² is below 10 here.
fn tolerance(hessian: &HessianOperator) -> f64 {
    100.0 * hessian.space().epsilon().powf(2.0 / 3.0)
}

#[test]
fn products_are_those_of_the_hessian() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let exact = HessianOperator::new(&model, batch.clone(), loss).unwrap();
    let differences = FiniteDifferenceHessian::new(&model, batch, loss, Mode::Train).unwrap();
    let bound = tolerance(&exact);
    for phase in [0.3, 1.7] {
        let v = exact.space().from_values(&wave(exact.dim(), phase)).unwrap();
        let ours = differences.apply(&v).unwrap().to_values().unwrap();
        let theirs = exact.apply(&v).unwrap().to_values().unwrap();
        assert_close(&ours, &theirs, bound, "H·v");
    }
    let (ours, theirs) = (differences.gradient(), exact.gradient());
    assert_close(&ours.to_values().unwrap(), &theirs.to_values().unwrap(), F64, "∇L");
    assert_eq!(differences.n_applies(), 2);
    let zero = differences.apply(&exact.space().zeros()).unwrap();
    assert_eq!(max_abs(&zero.to_values().unwrap()), 0.0);
}

#[test]
fn a_loss_that_reads_values_has_eigenvalues() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let scale = batch.0.clone().abs().max().into_scalar::<f64>();
    let exact = HessianOperator::new(&model, batch.clone(), loss).unwrap();
    let error = HessianOperator::new(&model, batch.clone(), reading).unwrap_err();
    assert!(matches!(error, Error::LossReadsData { .. }), "{error}");
    let differences = FiniteDifferenceHessian::new(&model, batch, reading, Mode::Train).unwrap();
    let solver = LanczosConfig::new().with_rel_tol(1e-6).init();
    let top = |operator: &dyn LinearOperator| solver.solve(operator, None).unwrap().first().value;
    let (ours, theirs) = (top(&differences), scale * top(&exact));
    // A Ritz value is off by the square of its residual, and by the error of the products.
    assert!((ours - theirs).abs() <= 10.0 * tolerance(&exact) * theirs, "{ours} {theirs}");
}

#[test]
fn noise_is_refused_and_the_model_stays_as_it_is() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let before = ModelState::of(&model).unwrap().params().to_values().unwrap();
    let noisy = Mode::TrainWithNoise { seed: 0 };
    let error = FiniteDifferenceHessian::new(&model, batch.clone(), loss, noisy).unwrap_err();
    assert!(matches!(error, Error::InvalidSetting { setting: "mode", .. }), "{error}");
    let hessian = FiniteDifferenceHessian::new(&model, batch, loss, Mode::Eval).unwrap();
    hessian.apply(hessian.gradient()).unwrap();
    assert_eq!(ModelState::of(&model).unwrap().params().to_values().unwrap(), before);
}
