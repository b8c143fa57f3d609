//! The Gauss-Newton operator.

use burn::module::Module;
use burn::nn::LinearConfig;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Int, Tensor};
use burn_sharpness::graph::graph_work;
use burn_sharpness::operator::{DenseOperator, GaussNewtonOperator};
use burn_sharpness::prelude::*;

use super::*;
use crate::common::wave;

pub fn cross_entropy<B>(f: Tensor<2>, y: Tensor<1, Int>, _: B) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&f.device()).forward(f, y)
}

/// Mean of log cosh(f − ½): its second derivative is 1/cosh².
fn log_cosh(f: Tensor<2>) -> Tensor<1> {
    let x = f.sub_scalar(0.5);
    ((x.clone().exp() + x.neg().exp()).mul_scalar(0.5)).log().mean()
}

fn diagonal(values: impl Iterator<Item = f64>) -> Matrix {
    let values: Vec<f64> = values.collect();
    let n = values.len();
    (0..n).map(|i| (0..n).map(|j| if i == j { values[i] } else { 0.0 }).collect()).collect()
}

/// Three losses whose second derivatives are known: one of softmax, one constant, one that is another
/// at every output.
fn check<M: Module, const D: usize>(
    model: &M,
    batch: &Labelled<D>,
    forward: fn(&M, Tensor<D>) -> Tensor<2>,
) {
    let outputs = |model: &M, (x, _): Labelled<D>| forward(model, x);
    let j = jacobian(model, &batch.0, forward);
    let f = values(&forward(model, batch.0.clone()));
    let n = f.len();

    let entropy = |f: Tensor<2>, (_, y): Labelled<D>| cross_entropy(f, y, ());
    let g = GaussNewtonOperator::new(model, batch.clone(), outputs, entropy).unwrap();
    check_dense(&g, &sandwich(&j, &softmax_curvature(&f, 3)), "cross entropy");
    let plain = |model: &M, (x, y): Labelled<D>| cross_entropy(forward(model, x), y, ());
    let hessian = HessianOperator::new(model, batch.clone(), plain).unwrap();
    assert!((g.loss() - hessian.loss()).abs() <= F64 * g.loss().abs());
    let gradients = (g.gradient().to_values().unwrap(), hessian.gradient().to_values().unwrap());
    assert_close(&gradients.0, &gradients.1, F64, "gradient");

    let square = |f: Tensor<2>, _: Labelled<D>| f.powi_scalar(2).mean();
    let g = GaussNewtonOperator::new(model, batch.clone(), outputs, square).unwrap();
    let scale = 2.0 / n as f64;
    check_dense(&g, &sandwich(&j, &diagonal(f.iter().map(|_| scale))), "squared error");

    let smooth = |f: Tensor<2>, _: Labelled<D>| log_cosh(f);
    let g = GaussNewtonOperator::new(model, batch.clone(), outputs, smooth).unwrap();
    let curvature = f.iter().map(|f| (f - 0.5).cosh().powi(-2) / n as f64);
    check_dense(&g, &sandwich(&j, &diagonal(curvature)), "log cosh");
}

#[test]
fn an_mlp_has_the_matrix_of_its_jacobian() {
    check(&Mlp::new(4, 5, 3), &samples([6, 4], 3), Mlp::forward);
}

#[test]
fn a_cnn_has_the_matrix_of_its_jacobian() {
    check(&Cnn::new(), &samples([3, 2, 4, 4], 3), Cnn::forward);
}

#[test]
fn a_linear_model_has_its_hessian() {
    let model = wavy(LinearConfig::new(4, 3).init(&device()));
    let batch = samples([7, 4], 3);
    let outputs = |model: &Linear, (x, _): Labelled<2>| model.forward(x);
    let loss = |f: Tensor<2>, (_, y): Labelled<2>| cross_entropy(f, y, ());
    let plain = |model: &Linear, (x, y): Labelled<2>| cross_entropy(model.forward(x), y, ());
    let g = GaussNewtonOperator::new(&model, batch.clone(), outputs, loss).unwrap();
    let hessian = HessianOperator::new(&model, batch, plain).unwrap();
    check_dense(&g, &hessian.to_dense().unwrap(), "linear model");
    // And only such a model: a hidden layer makes them differ.
    let (model, batch) = (Mlp::new(4, 5, 3), samples([7, 4], 3));
    let outputs = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let plain = |model: &Mlp, (x, y): Labelled<2>| cross_entropy(model.forward(x), y, ());
    let g = GaussNewtonOperator::new(&model, batch.clone(), outputs, loss).unwrap();
    let hessian = HessianOperator::new(&model, batch, plain).unwrap();
    let (g, h) = (g.to_dense().unwrap(), hessian.to_dense().unwrap());
    let rest = combine(1.0, &h, -1.0, &g).concat();
    assert!(max_abs(&rest) > 1e-2 * max_abs(&h.concat()));
}

/// A wide layer on few samples: solvers then work in row space.
#[test]
fn solvers_find_its_ends_in_row_space_too() {
    let (model, batch) = (Mlp::new(120, 90, 3), samples([3, 120], 3));
    let outputs = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let loss = |f: Tensor<2>, (_, y): Labelled<2>| cross_entropy(f, y, ());
    let g = GaussNewtonOperator::new(&model, batch.clone(), outputs, loss).unwrap();
    assert!(g.lanes().unwrap().is_some());
    // The eigenvalues that are not zero are those of M^½ J Jᵀ M^½, or of M J Jᵀ: nine of them. Their sums
    // of powers are traces.
    let j = jacobian(&model, &batch.0, Mlp::forward);
    let f = values(&model.forward(batch.0.clone()));
    let kernel = matmul(&j, &transpose(&j));
    let small = matmul(&softmax_curvature(&f, 3), &kernel);
    let trace = |m: &Matrix| (0..m.len()).map(|i| m[i][i]).sum::<f64>();
    let config = LanczosConfig::new().with_rel_tol(1e-9).with_max_applies(500);
    let top = config.with_num_eigenvalues(6).init().solve(&g, None).unwrap();
    assert!(top.converged());
    let found: Vec<f64> = top.pairs.iter().map(|pair| pair.value).collect();
    let sum = |p: i32| found.iter().map(|v| v.powi(p)).sum::<f64>();
    // Softmax leaves one direction per sample flat, so six are not zero.
    assert_close(&[sum(1)], &[trace(&small)], 1e-8, "trace");
    assert_close(&[sum(2)], &[trace(&matmul(&small, &small))], 1e-8, "trace of the square");
    for pair in &top.pairs {
        let rest = g.apply(&pair.vector).unwrap().axpy(-pair.value, &pair.vector).unwrap();
        assert!(rest.norm().unwrap() <= 1e-8 * found[0], "a pair of the dense operator");
    }
}

#[test]
fn it_is_positive_semi_definite() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let outputs = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let loss = |f: Tensor<2>, (_, y): Labelled<2>| cross_entropy(f, y, ());
    let g = GaussNewtonOperator::new(&model, batch, outputs, loss).unwrap();
    let rows = g.to_dense().unwrap();
    let dense = DenseOperator::from_rows(&rows, DType::F64, &device()).unwrap();
    let solve = |which| {
        let config = LanczosConfig::new().with_which(which).with_max_applies(200);
        config.with_rel_tol(1e-8).init().solve(&dense, None).unwrap().first().value
    };
    let (top, bottom) = (solve(Which::LargestAlgebraic), solve(Which::SmallestAlgebraic));
    assert!(top > 0.0 && bottom >= -F64 * top, "{bottom} {top}");
    let sharpness = g.directional_sharpness().unwrap().unwrap();
    assert!(sharpness > 0.0 && sharpness <= top * (1.0 + 1e-8));
}

/// A loss that is linear in the outputs has none; parameters that the outputs do not use have zeros.
#[test]
fn no_curvature_is_zero() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let outputs = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let linear = |f: Tensor<2>, _: Labelled<2>| f.mean();
    let g = GaussNewtonOperator::new(&model, batch, outputs, linear).unwrap();
    assert!(g.gradient().norm().unwrap() > 0.0);
    let v = g.space().from_values(&wave(g.dim(), 0.3)).unwrap();
    assert_eq!(g.apply(&v).unwrap().norm().unwrap(), 0.0);
}

#[test]
fn it_compiles_once_and_leaves_the_model_alone() {
    let (model, batch) = (Mlp::new(7, 5, 3), samples([6, 7], 3));
    let before = parameters(&model);
    let outputs = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let loss = |f: Tensor<2>, (_, y): Labelled<2>| cross_entropy(f, y, ());
    let compilations = || {
        let before = graph_work().compilations;
        let g = GaussNewtonOperator::new(&model, batch.clone(), outputs, loss).unwrap();
        g.apply(g.gradient()).unwrap();
        graph_work().compilations - before
    };
    assert_eq!((compilations(), compilations()), (1, 0));
    assert_eq!(before, parameters(&model));
}

/// The bits of all parameters.
pub fn parameters<M: Module>(model: &M) -> Vec<u64> {
    struct Collect(Vec<u64>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().to_data().iter::<f64>().map(f64::to_bits));
        }
    }
    let mut collect = Collect(Vec::new());
    model.visit(&mut collect);
    collect.0
}
