//! Bad input, by its exact error.

use burn_sharpness::operator::{
    FisherOperator, GaussNewtonOperator, GradientCovariance, JacobianOperator, OperatorExt,
    ParamGroup, Predictive, WeightedSum,
};
use burn_sharpness::prelude::*;
use burn_sharpness::{Error, ParamBlock, ParamSpace};

use super::curvature::cross_entropy;
use super::*;

type Batch2 = Labelled<2>;

fn outputs(model: &Mlp, (x, _): Batch2) -> Tensor<2> {
    model.forward(x)
}

fn gauss_newton(
    outputs: impl Fn(&Mlp, Batch2) -> Tensor<2>,
    loss: impl Fn(Tensor<2>, Batch2) -> Tensor<1>,
) -> Error {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    GaussNewtonOperator::new(&model, batch, outputs, loss).unwrap_err()
}

#[test]
fn networks_and_losses() {
    let entropy = |f: Tensor<2>, (_, y): Batch2| cross_entropy(f, y, ());
    let error = gauss_newton(|_, (x, _)| x.narrow(1, 0, 3), entropy);
    assert!(matches!(error, Error::LossIndependentOfParameters), "{error}");
    let error = gauss_newton(outputs, |_, (x, _)| x.mean());
    assert!(matches!(error, Error::LossIndependentOfParameters), "{error}");
    let error = gauss_newton(|m, (x, _)| m.forward(x.clone()) + m.forward(x).detach(), entropy);
    assert!(matches!(error, Error::GradientMismatch { .. }), "{error}");
    let error = gauss_newton(outputs, |f, (_, y)| {
        cross_entropy(f.clone(), y.clone(), ()) + cross_entropy(f.detach(), y, ())
    });
    assert!(matches!(error, Error::GradientMismatch { .. }), "{error}");
    let error = gauss_newton(outputs, |f, _| f.sum_dim(1).reshape([6]));
    assert!(matches!(error, Error::NonScalarLoss { .. }), "{error}");
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let detached = |m: &Mlp, (x, _): Batch2| m.forward(x.clone()) + m.forward(x).detach();
    let error = JacobianOperator::new(&model, batch, detached, Mode::Train).unwrap_err();
    assert!(matches!(error, Error::GradientMismatch { .. }), "{error}");
}

#[test]
fn losses_that_are_no_mean_over_samples() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let sum = |f: Tensor<2>, _: Batch2| f.powi_scalar(2).sum();
    let coupled = |f: Tensor<2>, _: Batch2| f.mean().powi_scalar(2);
    let fisher = |loss: fn(Tensor<2>, Batch2) -> Tensor<1>| {
        FisherOperator::empirical(&model, batch.clone(), outputs, loss, Mode::Train).unwrap_err()
    };
    assert!(matches!(fisher(sum), Error::NotAMeanOverSamples { .. }));
    assert!(matches!(fisher(coupled), Error::NotAMeanOverSamples { .. }));
    let c = GradientCovariance::new(&model, batch.clone(), outputs, sum, Mode::Train);
    assert!(matches!(c.unwrap_err(), Error::NotAMeanOverSamples { .. }));
    let flat = |m: &Mlp, (x, _): Batch2| m.forward(x).reshape([18]);
    let mean = |f: Tensor<1>, _: Batch2| f.powi_scalar(2).mean();
    let error = FisherOperator::empirical(&model, batch.clone(), flat, mean, Mode::Train);
    let error = error.unwrap_err();
    assert_eq!(error, Error::SampleCountMismatch { expected: 6, found: 18 });
    let entropy = |f: Tensor<2>, (_, y): Batch2| cross_entropy(f, y, ());
    let c = GradientCovariance::new(&model, batch, outputs, entropy, Mode::Train).unwrap();
    let size = |b| c.of_batch_mean(b).map(drop).unwrap_err();
    assert_eq!(size(0), Error::BatchSize { batch_size: 0, n_samples: 6 });
    assert_eq!(size(7), Error::BatchSize { batch_size: 7, n_samples: 6 });
    assert!(c.of_batch_mean_with_replacement(0).is_err());
    assert!(c.of_batch_mean_with_replacement(7).is_ok());
}

fn setting(error: Error) -> &'static str {
    match error {
        Error::InvalidSetting { setting, .. } => setting,
        other => panic!("{other}"),
    }
}

#[test]
fn predictive_distributions() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let exact = |predictive| {
        let exact = FisherOperator::exact(&model, batch.clone(), outputs, predictive, Mode::Train);
        setting(exact.unwrap_err())
    };
    for variance in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(exact(Predictive::Gaussian { variance }), "variance");
    }
    let flat = |m: &Mlp, (x, _): Batch2| m.forward(x).reshape([18]);
    let categorical = Predictive::Categorical;
    let error = FisherOperator::exact(&model, batch.clone(), flat, categorical, Mode::Train);
    assert_eq!(setting(error.unwrap_err()), "outputs");
    let sampled = |how, scale: f64| {
        let outputs = |m: &Mlp, (x, _): Batch2| m.forward(x).mul_scalar(scale);
        FisherOperator::monte_carlo(&model, batch.clone(), outputs, how, Mode::Train).unwrap_err()
    };
    assert_eq!(setting(sampled((categorical, 0, 1), 1.0)), "n_draws");
    let infinite = sampled((categorical, 1, 1), f64::INFINITY);
    assert!(matches!(infinite, Error::NonFinite { .. }), "{infinite}");
}

#[test]
fn compositions() {
    let flat = ParamSpace::flat(3, DType::F64, &device());
    let identity = |n: usize| {
        let rows: Matrix =
            (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
        burn_sharpness::operator::DenseOperator::from_rows(&rows, DType::F64, &device()).unwrap()
    };
    let a = identity(3);
    let vector = |v: &[f64]| flat.from_values(v).unwrap();
    let length = |error: Error| {
        assert!(matches!(error, Error::LengthMismatch { expected: 3, found: 2 }), "{error}");
    };
    let empty: Vec<(f64, &dyn LinearOperator)> = Vec::new();
    assert_eq!(setting(WeightedSum::new(empty).map(drop).unwrap_err()), "terms");
    length((&a).plus(identity(2)).map(drop).unwrap_err());
    let nan = WeightedSum::new(vec![(f64::NAN, &a)]).map(drop).unwrap_err();
    assert!(matches!(nan, Error::NonFinite { .. }));
    let short = identity(2).space().zeros();
    length((&a).preconditioned(&short).map(drop).unwrap_err());
    for bad in [[1.0, 0.0, 1.0], [1.0, -2.0, 1.0]] {
        assert_eq!(setting((&a).preconditioned(&vector(&bad)).map(drop).unwrap_err()), "diagonal");
    }
    let nan = (&a).preconditioned(&vector(&[1.0, f64::NAN, 1.0])).map(drop).unwrap_err();
    assert!(matches!(nan, Error::NonFinite { .. }));
    let block = |vectors: &[&[f64]]| {
        ParamBlock::from_vectors(&vectors.iter().map(|v| vector(v)).collect::<Vec<_>>()).unwrap()
    };
    for dependent in [
        block(&[&[1.0, 2.0, 0.3], &[-2.0, -4.0, -0.6]]),
        block(&[&[0.0, 0.0, 0.0]]),
        block(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.1], &[0.3, 0.7, 0.07]]),
    ] {
        assert_eq!(setting((&a).projected_onto(&dependent).map(drop).unwrap_err()), "vectors");
    }
    assert_eq!(setting(ParamGroup::by_prefix(&flat, "weight").unwrap_err()), "group");
    assert_eq!(setting(ParamGroup::matching(&flat, |_| false).unwrap_err()), "group");
    let group = ParamGroup::by_prefix(identity(2).space(), "vector").unwrap();
    length((&a).restricted(group).map(drop).unwrap_err());
    length((&a).shifted(1.0).apply(&short).unwrap_err());
    length((&a).scaled(1.0).apply(&short).unwrap_err());
    let away = (&a).projected_away_from(&block(&[&[1.0, 0.0, 0.0]])).unwrap();
    length(away.apply(&short).unwrap_err());
}
