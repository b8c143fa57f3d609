//! The Jacobian and its Gram matrix.

use burn_sharpness::graph::graph_work;
use burn_sharpness::operator::JacobianOperator;
use burn_sharpness::prelude::*;

use super::curvature::parameters;
use super::*;

fn check<M: Module, const D: usize>(
    model: &M,
    batch: &Labelled<D>,
    forward: fn(&M, Tensor<D>) -> Tensor<2>,
) {
    let before = parameters(model);
    let outputs = |model: &M, (x, _): Labelled<D>| forward(model, x);
    let expected = jacobian(model, &batch.0, forward);
    let operator = JacobianOperator::new(model, batch.clone(), outputs, Mode::Train).unwrap();
    let f = forward(model, batch.0.clone());
    assert_close(&operator.outputs().to_values().unwrap(), &values(&f), F64, "outputs");
    assert_eq!(operator.output_shape(), f.dims());

    let (rows, columns) = (expected.len(), expected[0].len());
    let unit = |n: usize, i: usize| (0..n).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>();
    let column = |j: usize| {
        let v = operator.space().from_values(&unit(columns, j)).unwrap();
        operator.apply(&v).unwrap().to_values().unwrap()
    };
    let by_columns: Matrix = (0..columns).map(column).collect();
    assert_close(&transpose(&by_columns).concat(), &expected.concat(), F64, "J v");
    let row = |i: usize| {
        let u = operator.output_space().from_values(&unit(rows, i)).unwrap();
        operator.apply_transposed(&u).unwrap().to_values().unwrap()
    };
    let by_rows: Matrix = (0..rows).map(row).collect();
    assert_close(&by_rows.concat(), &expected.concat(), F64, "Jᵀu");

    let v = operator.space().from_values(&wave(columns, 0.4)).unwrap();
    let u = operator.output_space().from_values(&wave(rows, 1.4)).unwrap();
    let forward = u.dot(&operator.apply(&v).unwrap()).unwrap();
    let reverse = operator.apply_transposed(&u).unwrap().dot(&v).unwrap();
    let scale = u.norm().unwrap() * v.norm().unwrap() * max_abs(&expected.concat());
    assert!((forward - reverse).abs() <= F64 * scale, "adjoint: {forward} {reverse}");

    let gram = matmul(&expected, &transpose(&expected));
    let n_samples = f.dims()[0] as f64;
    check_dense(&operator.ntk(), &combine(1.0 / n_samples, &gram, 0.0, &gram), "kernel");
    assert_eq!(before, parameters(model));
}

#[test]
fn an_mlp_has_the_jacobian_of_burn() {
    check(&Mlp::new(4, 5, 3), &samples([6, 4], 3), Mlp::forward);
}

#[test]
fn a_cnn_has_the_jacobian_of_burn() {
    check(&Cnn::new(), &samples([3, 2, 4, 4], 3), Cnn::forward);
}

#[test]
fn it_compiles_once() {
    let (model, batch) = (Mlp::new(9, 5, 3), samples([6, 9], 3));
    let outputs = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let compilations = || {
        let before = graph_work().compilations;
        drop(JacobianOperator::new(&model, batch.clone(), outputs, Mode::Train).unwrap());
        graph_work().compilations - before
    };
    assert_eq!((compilations(), compilations()), (1, 0));
}
