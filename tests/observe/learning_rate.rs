//! Closed forms: linear regression on two orthogonal samples of the same length.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_sharpness::Error;
use burn_sharpness::graph::ModelState;
use burn_sharpness::observe::{LargestLearningRate, LearningRateFinderConfig};
use burn_sharpness::prelude::*;
use burn_sharpness::stability::RmsPropStabilityConfig;

#[derive(Module, Debug)]
struct Regression {
    w: Param<Tensor<2>>,
}

fn tensor(values: &[f64], shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (&Device::flex(), DType::F64))
}

fn model() -> Regression {
    Regression { w: Param::from_tensor(tensor(&[0.5, -2.0], [2, 1])) }
}

/// Samples (3, 0) and (0, 3): H of both is 9·1, H_B of one is 18 along it.
fn data() -> Tensor<2> {
    tensor(&[3.0, 0.0, 0.0, 3.0], [2, 2])
}

fn loss(model: &Regression, x: Tensor<2>) -> Tensor<1> {
    x.matmul(model.w.val()).powi_scalar(2).mean()
}

/// f64 rounds at 2e-16; a few dozen operations in sequence.
fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-13 * expected
}

/// The rate that is found is `expected`, and so are the ends of its interval.
fn is(found: &LargestLearningRate, expected: f64) -> bool {
    close(found.learning_rate, expected)
        && close(found.interval.0, expected)
        && close(found.interval.1, expected)
}

#[test]
fn rates_of_full_batches_are_the_thresholds_turned_around() {
    let finder = LearningRateFinderConfig::new(1).init(loss);
    let find = |beta| {
        let edge = SgdStabilityConfig::new(0.1).with_momentum(beta).init().unwrap();
        finder.find(&model(), &data(), &edge).unwrap()
    };
    // The eigenvector is exact after one product: no residual but rounding.
    assert!(is(&find(0.0), 2.0 / 9.0), "{:?}", find(0.0));
    assert!(is(&find(0.5), 3.0 / 9.0), "{:?}", find(0.5));
}

#[test]
fn rates_of_mini_batches_are_those_of_batch_sharpness() {
    let finder = LearningRateFinderConfig::new(1).init(loss);
    let edge = SgdStabilityConfig::new(0.1).with_batching(Batching::Small).init().unwrap();
    let found = finder.find(&model(), &data(), &edge).unwrap();
    assert!(is(&found, 2.0 / 18.0), "{found:?}");
    assert_eq!(found.n_hvps, 128);
}

#[test]
fn preconditioned_rates_follow_the_preconditioner() {
    let finder = LearningRateFinderConfig::new(1).init(loss);
    let space = ModelState::of(&model()).unwrap().space().clone();
    let p = space.from_values(&[2.0, 4.0]).unwrap();
    let find = |batching| {
        let edge = RmsPropStabilityConfig::new(0.1, 0.0).with_batching(batching).init().unwrap();
        finder.find_preconditioned(&model(), &data(), &edge, &p).unwrap()
    };
    // λ_max(P⁻¹H) = 9/2; uᵀH_Bu/gᵀu is 18/2 for one sample and 18/4 for the other.
    let full = find(Batching::Full);
    assert!((full.learning_rate - 4.0 / 9.0).abs() < 1e-6, "{full:?}"); // to the square of the residual
    let small = find(Batching::Small);
    let mean = small.value.mean;
    assert!(mean > 4.5 && mean < 9.0 && close(small.value.max, 9.0), "{small:?}");
    assert!(close(small.learning_rate, 2.0 / mean));
    let (low, high) = small.interval;
    assert!(low < small.learning_rate && small.learning_rate < high);
    // E is 6.75: the mean over 128 draws of two values 4.5 apart is within five standard errors, 0.2 each.
    assert!((mean - 6.75).abs() < 1.0, "{mean}");
}

#[test]
fn curvature_that_is_not_positive_limits_no_rate() {
    let concave = |model: &Regression, x: Tensor<2>| loss(model, x).neg();
    let finder = LearningRateFinderConfig::new(1).init(concave);
    let edge = SgdStabilityConfig::new(0.1).init().unwrap();
    let found = finder.find(&model(), &data(), &edge).unwrap();
    assert_eq!(found.learning_rate, f64::INFINITY);
}

#[test]
fn an_edge_for_another_quantity_is_an_error() {
    let finder = LearningRateFinderConfig::new(1).init(loss);
    let space = ModelState::of(&model()).unwrap().space().clone();
    let p = space.from_values(&[2.0, 4.0]).unwrap();
    let plain = SgdStabilityConfig::new(0.1).init().unwrap();
    let rms =
        |decay| RmsPropStabilityConfig::new(0.1, 0.0).with_weight_decay(decay).init().unwrap();
    let results = [
        finder.find(&model(), &data(), &rms(0.0)),
        finder.find_preconditioned(&model(), &data(), &plain, &p),
        finder.find_preconditioned(&model(), &data(), &rms(0.1), &p),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::InvalidSetting { setting: "edge", .. })), "{result:?}");
    }
}
