//! Fisher matrices and the covariance of gradients.

use burn::tensor::Tensor;
use burn_sharpness::operator::{
    FisherOperator, GaussNewtonOperator, GradientCovariance, Predictive,
};
use burn_sharpness::prelude::*;

use super::curvature::cross_entropy;
use super::*;

fn outputs(model: &Mlp, (x, _): Labelled<2>) -> Tensor<2> {
    model.forward(x)
}

fn entropy(f: Tensor<2>, (_, y): Labelled<2>) -> Tensor<1> {
    cross_entropy(f, y, ())
}

/// The gradient of each sample's own loss, by burn.
fn sample_gradients<M: Module, const D: usize>(
    model: &M,
    (x, y): &Labelled<D>,
    forward: fn(&M, Tensor<D>) -> Tensor<2>,
) -> Matrix {
    let one = |i| {
        let (x, y) = (x.clone().narrow(0, i, 1), y.clone().narrow(0, i, 1));
        flat_gradient(model, &cross_entropy(forward(model, x), y, ()).backward())
    };
    (0..x.dims()[0]).map(one).collect()
}

fn mean_row(rows: &Matrix) -> Vec<f64> {
    let n = rows.len() as f64;
    (0..rows[0].len()).map(|j| rows.iter().map(|row| row[j]).sum::<f64>() / n).collect()
}

/// The covariance of rows that are equally likely.
fn covariance(rows: &Matrix) -> Matrix {
    let mean = vec![mean_row(rows)];
    combine(1.0, &second_moment(rows), -1.0, &second_moment(&mean))
}

#[test]
fn the_exact_one_is_the_gauss_newton_matrix_of_the_likelihood() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let j = jacobian(&model, &batch.0, Mlp::forward);
    let f = values(&model.forward(batch.0.clone()));
    let exact = |predictive| {
        FisherOperator::exact(&model, batch.clone(), outputs, predictive, Mode::Train).unwrap()
    };
    let fisher = exact(Predictive::Categorical);
    check_dense(&fisher, &sandwich(&j, &softmax_curvature(&f, 3)), "categorical");
    let g = GaussNewtonOperator::new(&model, batch.clone(), outputs, entropy).unwrap();
    check_dense(&fisher, &g.to_dense().unwrap(), "Gauss-Newton of the cross entropy");

    let diagonal = |variance: &dyn Fn(f64) -> f64| {
        let mut m = zeros(f.len(), f.len());
        f.iter().enumerate().for_each(|(k, f)| m[k][k] = variance(*f) / 6.0);
        m
    };
    let sigmoid = |f: f64| 1.0 / (1.0 + (-f).exp());
    let bernoulli = diagonal(&|f| sigmoid(f) * (1.0 - sigmoid(f)));
    check_dense(&exact(Predictive::Bernoulli), &sandwich(&j, &bernoulli), "Bernoulli");
    let gaussian = exact(Predictive::Gaussian { variance: 0.25 });
    check_dense(&gaussian, &sandwich(&j, &diagonal(&|_| 4.0)), "Gaussian");
}

/// Three predictions per sample add up: the categorical matrix of `[2, 3, classes]` is three times that
/// of `[6, classes]`.
#[test]
fn predictions_of_a_sample_add_up() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let flat = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let deep = |model: &Mlp, (x, _): Labelled<2>| model.forward(x).reshape([2, 3, 3]);
    let predictive = Predictive::Categorical;
    let flat = FisherOperator::exact(&model, batch.clone(), flat, predictive, Mode::Train).unwrap();
    let flat = flat.to_dense().unwrap();
    let deep = FisherOperator::exact(&model, batch, deep, predictive, Mode::Train).unwrap();
    check_dense(&deep, &combine(3.0, &flat, 0.0, &flat), "sequences");
}

/// The mean of estimates is within four standard errors, four times in ten thousand outside by chance;
/// seeds are fixed.
#[test]
fn the_monte_carlo_one_has_the_exact_one_as_its_mean() {
    const SEEDS: u64 = 150;
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let gaussian = Predictive::Gaussian { variance: 0.25 };
    for predictive in [Predictive::Categorical, Predictive::Bernoulli, gaussian] {
        let exact = FisherOperator::exact(&model, batch.clone(), outputs, predictive, Mode::Train);
        let exact = exact.unwrap();
        let v = exact.space().from_values(&wave(exact.dim(), 0.3)).unwrap();
        let wanted = v.dot(&exact.apply(&v).unwrap()).unwrap();
        let spread = |n_draws: usize| {
            let estimate = |seed| {
                let how = (predictive, n_draws, seed);
                let batch = batch.clone();
                let mode = Mode::Train;
                let f = FisherOperator::monte_carlo(&model, batch, outputs, how, mode).unwrap();
                v.dot(&f.apply(&v).unwrap()).unwrap()
            };
            assert_eq!(estimate(3).to_bits(), estimate(3).to_bits());
            let found: Vec<f64> = (0..SEEDS).map(estimate).collect();
            let mean = found.iter().sum::<f64>() / SEEDS as f64;
            let square = found.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            let deviation = (square / (SEEDS - 1) as f64).sqrt();
            let error = deviation / (SEEDS as f64).sqrt();
            assert!(
                (mean - wanted).abs() <= 4.0 * error,
                "{predictive:?}: {mean} {wanted} {error}"
            );
            assert!(error < 0.2 * wanted, "{predictive:?}: {error} {wanted}");
            deviation
        };
        // Nine draws instead of one: a third of the deviation. 150 estimates have it to 1/√300 = 6%, more
        // where tails are long.
        let ratio = spread(1) / spread(9);
        assert!((2.2..4.2).contains(&ratio), "{predictive:?}: {ratio}");
    }
}

#[test]
fn the_empirical_one_is_the_second_moment_of_sample_gradients() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let gradients = sample_gradients(&model, &batch, Mlp::forward);
    let fisher =
        FisherOperator::empirical(&model, batch.clone(), outputs, entropy, Mode::Train).unwrap();
    check_dense(&fisher, &second_moment(&gradients), "MLP");
    let c = GradientCovariance::new(&model, batch, outputs, entropy, Mode::Train).unwrap();
    check_dense(&c, &covariance(&gradients), "covariance, MLP");
    assert_close(&c.gradient().to_values().unwrap(), &mean_row(&gradients), F64, "mean");

    let (model, batch) = (Cnn::new(), samples([3, 2, 4, 4], 3));
    let gradients = sample_gradients(&model, &batch, Cnn::forward);
    let outputs = |model: &Cnn, (x, _): Labelled<4>| model.forward(x);
    let entropy = |f: Tensor<2>, (_, y): Labelled<4>| cross_entropy(f, y, ());
    let fisher =
        FisherOperator::empirical(&model, batch.clone(), outputs, entropy, Mode::Train).unwrap();
    check_dense(&fisher, &second_moment(&gradients), "CNN");
    let c = GradientCovariance::new(&model, batch, outputs, entropy, Mode::Train).unwrap();
    check_dense(&c, &covariance(&gradients), "covariance, CNN");
}

/// By enumeration of all batches of two samples.
#[test]
fn the_covariance_of_batch_gradients_is_a_multiple() {
    let (model, batch) = (Mlp::new(3, 2, 3), samples([5, 3], 3));
    let gradients = sample_gradients(&model, &batch, Mlp::forward);
    let c = GradientCovariance::new(&model, batch, outputs, entropy, Mode::Train).unwrap();
    let mean = |i: usize, j: usize| {
        let sum = gradients[i].iter().zip(&gradients[j]);
        sum.map(|(a, b)| 0.5 * (a + b)).collect::<Vec<f64>>()
    };
    let pairs: Vec<(usize, usize)> = (0..5).flat_map(|i| (0..5).map(move |j| (i, j))).collect();
    let all: Matrix = pairs.iter().map(|&(i, j)| mean(i, j)).collect();
    check_dense(&c.of_batch_mean_with_replacement(2).unwrap(), &covariance(&all), "with");
    let apart: Matrix = pairs.iter().filter(|(i, j)| i < j).map(|&(i, j)| mean(i, j)).collect();
    check_dense(&c.of_batch_mean(2).unwrap(), &covariance(&apart), "without");
    let whole = c.of_batch_mean(5).unwrap().to_dense().unwrap();
    assert!(max_abs(&whole.concat()) == 0.0);
}

#[test]
fn one_sample_has_no_covariance() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([1, 4], 3));
    let c = GradientCovariance::new(&model, batch, outputs, entropy, Mode::Train).unwrap();
    assert_eq!(c.n_samples(), 1);
    let scale = c.gradient().norm().unwrap().powi(2);
    assert!(max_abs(&c.to_dense().unwrap().concat()) <= F64 * scale);
}
