//! Normalization, which is expanded before it is differentiated: inputs x, gain g, shift b, mean m,
//! variance v.

use burn::tensor::{Tensor, module};

use crate::rules::inputs::{Inputs, row_of};
use crate::rules::{Row, check, f};

pub fn rows() -> Vec<Row> {
    [batch_norm(), batch_norm_train(), layer_norm()].into_iter().flatten().collect()
}

#[test]
fn normalization_rules() {
    check(&rows());
}

const EPSILON: f64 = 1e-3;

fn shapes(x: &[usize], features: usize) -> Vec<(char, Vec<usize>)> {
    let vectors = ['g', 'b', 'm', 'v'].map(|letter| (letter, vec![features]));
    std::iter::once(('x', x.to_vec())).chain(vectors).collect()
}

/// Away from zero, for gains, and above it, for variances: between 0.5 and 1.5.
fn near_one(x: Tensor<1>) -> Tensor<1> {
    x.mul_scalar(0.5).add_scalar(1.0)
}

fn batch_norm() -> Vec<Row> {
    fn with<const D: usize>(roles: &'static str, x: [usize; D]) -> Row {
        let name = format!("batch_norm {roles} of {x:?}");
        row_of(name, roles, shapes(&x, x[1]), |i: &Inputs| {
            let (gain, variance) = (near_one(i.get('g')), near_one(i.get('v')));
            let x = i.get::<D>('x');
            f(module::batch_norm(x, gain, i.get('b'), i.get('m'), variance, EPSILON))
        })
    }
    let mut rows: Vec<_> = ["xgbmv", "xgbMV", "Xgbmv", "xGBMV", "XgbMV", "XGBmV", "XGBMv"]
        .map(|roles| with(roles, [2, 2, 3]))
        .into();
    rows.extend([
        with("xgbmv", [3, 2]),
        with("xgbmv", [2, 2, 1, 2]),
        with("xgbmv", [1, 2, 2, 1, 2]),
        with("xgbMV", [2, 3, 2, 2]),
        with("xgbmv", [1, 1]),
    ]);
    rows
}

/// With the statistics of the batch itself: burn writes it as elementary operations around the
/// inference operation, and differentiates it as one.
fn batch_norm_train() -> Vec<Row> {
    fn with<const D: usize>(roles: &'static str, x: [usize; D]) -> Row {
        let name = format!("batch_norm_train {roles} of {x:?}");
        row_of(name, roles, shapes(&x, x[1]), |i: &Inputs| {
            let (x, gain) = (i.get::<D>('x'), near_one(i.get('g')));
            f(module::batch_norm_train(x, gain, i.get('b'), EPSILON).output)
        })
    }
    vec![
        with("xgb", [4, 2]),
        with("xgb", [2, 2, 3]),
        with("xgb", [2, 2, 2, 2]),
        with("xGB", [3, 2, 2]),
        with("Xgb", [3, 2, 2]),
        with("xgb", [1, 2, 4]),
    ]
}

fn layer_norm() -> Vec<Row> {
    fn with<const D: usize>(roles: &'static str, x: [usize; D]) -> Row {
        let name = format!("layer_norm {roles} of {x:?}");
        row_of(name, roles, shapes(&x, x[D - 1]), |i: &Inputs| {
            let (x, gain) = (i.get::<D>('x'), near_one(i.get('g')));
            f(module::layer_norm(x, gain, i.maybe('b'), EPSILON))
        })
    }
    let mut rows: Vec<_> = ["xgb", "xg", "Xgb", "xGB", "xG", "xgB", "XgB", "XGb"]
        .map(|roles| with(roles, [3, 4]))
        .into();
    rows.extend([
        with("xgb", [4]),
        with("xgb", [2, 3, 3]),
        with("xg", [2, 1, 2, 3]),
        with("xgb", [1, 2, 1, 2, 3]),
        with("xgb", [1, 5]),
    ]);
    rows
}
