//! The same quantities where vectors of mini-batches are in row space, against dense products.

use burn::tensor::{DType, Device};
use burn_sharpness::ParamVector;
use burn_sharpness::estimator::{
    ContractionConfig, GradientNoiseConfig, SharpnessGapConfig, StepCurvature, draw_batches,
};
use burn_sharpness::operator::{FullBatchHessian, HessianLanes, Lanes};
use burn_sharpness::prelude::*;

use super::regression::{mean, relative};
use super::{Net, Pair, loss, rows};
use crate::common::{Dense, float, wave};

const SAMPLES: usize = 8;

/// Products of some hundred terms in f64, of two programs that sum in other orders: a thousand ε.
const ROUNDING: f64 = 2e-13;

fn wide() -> Net {
    Net { hidden: Dense::wavy(64, 32, 0.1), head: Dense::wavy(32, 3, 0.7) }
}

fn samples() -> Pair {
    let device = Device::flex();
    let x = wave(64 * SAMPLES, 0.3).iter().map(|x| 0.3 * x).collect();
    let x = float(x, [SAMPLES, 64], DType::F64, &device);
    (x, float(wave(3 * SAMPLES, 0.4), [SAMPLES, 3], DType::F64, &device))
}

fn hessian(batch: &[usize]) -> HessianOperator {
    wide().hessian(rows(&samples(), batch), loss).unwrap()
}

fn dot(a: &ParamVector, b: &ParamVector) -> f64 {
    a.dot(b).unwrap()
}

fn whole() -> FullBatchHessian<Pair> {
    FullBatchHessian::new(&wide(), &samples(), loss, SAMPLES / 2, ChunkMemory::Keep).unwrap()
}

#[test]
fn the_network_is_in_row_space() {
    for b in [1, 3] {
        let batch: Vec<usize> = (0..b).collect();
        let lanes = HessianLanes::new(&wide(), &[rows(&samples(), &batch)], loss).unwrap();
        assert!(!lanes.is_dense());
    }
}

#[test]
fn steps_are_those_of_dense_products() {
    let (model, data, space) = (wide(), samples(), whole().space().clone());
    let v = space.from_values(&wave(space.n_params(), 0.2)).unwrap();
    let batches = draw_batches(Sampling::WithoutReplacement, SAMPLES, 3, 5, 2, 0).unwrap();
    let check = |found: &[StepCurvature], sign: f64, step: &dyn Fn(&ParamVector) -> ParamVector| {
        assert_eq!(found.len(), 5);
        for (found, batch) in found.iter().zip(&batches) {
            let h = hessian(batch);
            let s = step(h.gradient());
            assert!(relative(found.curvature, dot(&s, &h.apply(&s).unwrap())) < ROUNDING);
            assert!(relative(found.decrease, sign * dot(&s, h.gradient())) < ROUNDING);
        }
    };
    let config = BatchSharpnessConfig::new(3).with_num_batches(5).with_seed(2);
    let config = config.with_draws(Draws::Fixed);
    let mut along = config.init(loss);
    let momentum = along.measure_momentum(&model, &data, 0.9, &v).unwrap().values;
    check(&momentum, 1.0, &|g| g.axpy(0.9, &v).unwrap());
    check(&along.measure_step(&model, &data, &v).unwrap().values, -1.0, &|_| v.clone());
    let step = |g: &ParamVector| v.axpy(-0.3, g);
    let steps = along.measure_steps(&model, &data, step).unwrap().values;
    check(&steps, -1.0, &|g| step(g).unwrap());
}

#[test]
fn gradient_noise_is_that_of_dense_products() {
    let config = GradientNoiseConfig::new(3).with_num_batches(5).with_seed(2);
    let found = config.init(loss).measure(&wide(), &samples()).unwrap();
    let batches = draw_batches(Sampling::WithoutReplacement, SAMPLES, 3, 5, 2, 0).unwrap();
    let whole = whole();
    let of_batch = |batch: &Vec<usize>| {
        let gradient = hessian(batch).gradient().clone();
        (dot(&gradient, &whole.apply(&gradient).unwrap()), dot(&gradient, &gradient))
    };
    let (curvatures, squares): (Vec<f64>, Vec<f64>) = batches.iter().map(of_batch).unzip();
    assert!(relative(found.curvature_plain.mean, mean(&curvatures)) < ROUNDING);
    assert!(relative(found.alignment.unwrap().denominator.mean, mean(&squares)) < ROUNDING);
}

/// The pairs of the same solve, and one dense product with each sample.
#[test]
fn second_order_is_that_of_dense_products() {
    let config = SharpnessGapConfig::new(vec![3]).with_num_batches(2).with_num_eigenvalues(3);
    let found = config.init(loss).measure(&wide(), &samples()).unwrap();
    let solver = LanczosConfig::new().with_rel_tol(1e-4).with_num_eigenvalues(3);
    let pairs = solver.init().solve(&whole(), None).unwrap().pairs;
    let v1 = &pairs[0].vector;
    let products: Vec<_> = (0..SAMPLES).map(|i| hessian(&[i]).apply(v1).unwrap()).collect();
    let variance = |values: Vec<f64>| {
        let center = mean(&values);
        mean(&values.iter().map(|v| (v - center).powi(2)).collect::<Vec<_>>())
    };
    let along = |v: &ParamVector| variance(products.iter().map(|p| dot(p, v)).collect());
    let leading: f64 =
        pairs[1..].iter().map(|p| along(&p.vector) / (pairs[0].value - p.value)).sum();
    let second = found.second_order.unwrap();
    // Differences of eigenvalues and variances lose a digit or two.
    assert!(relative(second.leading, leading) < 100.0 * ROUNDING);
    let squares: f64 = mean(&products.iter().map(|p| dot(p, p)).collect::<Vec<_>>());
    let product = whole().apply(v1).unwrap();
    let known: f64 = pairs.iter().map(|p| along(&p.vector)).sum();
    let tail = squares - dot(&product, &product) - known;
    assert!((second.tail_variance - tail).abs() < 100.0 * ROUNDING * squares);
    for ((top, along), batch) in found.gaps[0].values.iter().zip(
        draw_batches(Sampling::WithoutReplacement, SAMPLES, 3, 2, found.gaps[0].seed, 0).unwrap(),
    ) {
        let h = hessian(&batch);
        assert!(relative(*along, dot(v1, &h.apply(v1).unwrap())) < ROUNDING);
        // A residual of 1e-4 is a value good to its square.
        let single = wide().sharpness(rows(&samples(), &batch), loss).unwrap().value;
        assert!(relative(*top, single) < 1e-5);
    }
}

/// The vector and the value that were found have the residual that was reported, by dense products.
#[test]
fn contraction_is_that_of_dense_products() {
    let (eta, b) = (0.4, 3);
    let found = ContractionConfig::new(b, eta).init(loss).measure(&wide(), &samples()).unwrap();
    let v = &found.vector;
    let (n, size) = (SAMPLES as f64, b as f64);
    let factor = (n - size) / (size * (n - 1.0));
    let twice = |h: &dyn LinearOperator| h.apply(&h.apply(v).unwrap()).unwrap();
    let whole = whole();
    let mut product = whole.apply(v).unwrap().scale(-2.0 * eta);
    product = product.axpy(eta * eta * (1.0 - factor), &twice(&whole)).unwrap();
    for i in 0..SAMPLES {
        product = product.axpy(eta * eta * factor / n, &twice(&hessian(&[i]))).unwrap();
    }
    let scale = product.norm().unwrap();
    assert!((found.value - dot(v, &product)).abs() < ROUNDING * scale);
    let residual = product.axpy(-found.value, v).unwrap().norm().unwrap();
    assert!((residual - found.residual_norm).abs() < 100.0 * ROUNDING * scale);
}
