//! Operators from operators, against the same algebra on dense matrices.

use burn_sharpness::operator::{GaussNewtonOperator, OperatorExt, ParamGroup, WeightedSum};
use burn_sharpness::prelude::*;
use burn_sharpness::{ParamBlock, ParamVector};

use super::curvature::cross_entropy;
use super::*;

fn whole(model: &Mlp, (x, y): Labelled<2>) -> Tensor<1> {
    cross_entropy(model.forward(x), y, ())
}

fn hessian(model: &Mlp, batch: Labelled<2>) -> HessianOperator {
    HessianOperator::new(model, batch, whole).unwrap()
}

fn identity(n: usize) -> Matrix {
    (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect()
}

fn vectors(operator: &dyn LinearOperator, phases: &[f64]) -> Vec<ParamVector> {
    let n = operator.dim();
    phases.iter().map(|p| operator.space().from_values(&wave(n, *p)).unwrap()).collect()
}

#[test]
fn sums_multiples_and_shifts() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let outputs = |model: &Mlp, (x, _): Labelled<2>| model.forward(x);
    let loss = |f: Tensor<2>, (_, y): Labelled<2>| cross_entropy(f, y, ());
    let h = hessian(&model, batch.clone());
    let g = GaussNewtonOperator::new(&model, batch, outputs, loss).unwrap();
    let (dense_h, dense_g) = (h.to_dense().unwrap(), g.to_dense().unwrap());
    let n = h.dim();
    check_dense(&(&h).plus(&g).unwrap(), &combine(1.0, &dense_h, 1.0, &dense_g), "H + G");
    check_dense(&(&h).scaled(-2.5), &combine(-2.5, &dense_h, 0.0, &dense_h), "-2.5 H");
    check_dense(&(&g).shifted(0.3), &combine(1.0, &dense_g, 0.3, &identity(n)), "G + 0.3 I");
    let terms: Vec<(f64, &dyn LinearOperator)> = vec![(1.0, &h), (-1.0, &g)];
    let rest = WeightedSum::new(terms).unwrap();
    check_dense(&rest, &combine(1.0, &dense_h, -1.0, &dense_g), "H - G");
    let nested = rest.scaled(2.0).shifted(-1.0).plus(Box::new(&h)).unwrap();
    let expected = combine(3.0, &dense_h, -2.0, &dense_g);
    check_dense(&nested, &combine(1.0, &expected, -1.0, &identity(n)), "nested");
}

#[test]
fn the_mean_over_mini_batches_is_the_operator_of_all() {
    let (model, batch) = (Mlp::new(4, 5, 3), samples([6, 4], 3));
    let part = |i: usize| {
        let (x, y) = batch.clone();
        hessian(&model, (x.narrow(0, 2 * i, 2), y.narrow(0, 2 * i, 2)))
    };
    let mean = WeightedSum::mean((0..3).map(part).collect()).unwrap();
    let expected = hessian(&model, batch.clone()).to_dense().unwrap();
    check_dense(&mean, &expected, "mean");
}

/// V (VᵀV)⁻¹ Vᵀ, by elimination.
fn projection(rows: &[Vec<f64>]) -> Matrix {
    let v: Matrix = rows.to_vec();
    let mut gram = matmul(&v, &transpose(&v));
    let mut right = v.clone();
    let subtract = |row: &mut Vec<f64>, factor: f64, pivot: &[f64]| {
        row.iter_mut().zip(pivot).for_each(|(r, p)| *r -= factor * p);
    };
    for i in 0..v.len() {
        let (pivot, pivot_right) = (gram[i].clone(), right[i].clone());
        for k in (0..v.len()).filter(|k| *k != i) {
            let factor = gram[k][i] / pivot[i];
            subtract(&mut gram[k], factor, &pivot);
            subtract(&mut right[k], factor, &pivot_right);
        }
    }
    for (i, row) in right.iter_mut().enumerate() {
        row.iter_mut().for_each(|r| *r /= gram[i][i]);
    }
    matmul(&transpose(&v), &right)
}

#[test]
fn projections() {
    let h = hessian(&Mlp::new(4, 5, 3), samples([6, 4], 3));
    let dense = h.to_dense().unwrap();
    // Not orthogonal. `wave` has all phases in one plane, hence the gradient as a third one.
    let [a, b] = &vectors(&h, &[0.1, 0.9])[..] else { unreachable!() };
    let spanning = [a.clone(), b.clone(), h.gradient().scale(30.0)];
    let rows: Vec<_> = spanning.iter().map(|v| v.to_values().unwrap()).collect();
    let p = projection(&rows);
    let away = combine(1.0, &identity(h.dim()), -1.0, &p);
    let block = ParamBlock::from_vectors(&spanning).unwrap();
    check_dense(&(&h).projected_onto(&block).unwrap(), &sandwich(&p, &dense), "onto");
    check_dense(&(&h).projected_away_from(&block).unwrap(), &sandwich(&away, &dense), "away");
}

/// Deflating the top eigenvector leaves the second eigenvalue on top.
#[test]
fn deflation_leaves_the_next_eigenvalue() {
    let h = hessian(&Mlp::new(4, 5, 3), samples([6, 4], 3));
    let config = LanczosConfig::new().with_rel_tol(1e-9).with_max_applies(400);
    let two = config.clone().with_num_eigenvalues(2).init().solve(&h, None).unwrap();
    let first = ParamBlock::from_vectors(&[two.pairs[0].vector.clone()]).unwrap();
    let deflated = (&h).projected_away_from(&first).unwrap();
    let top = config.init().solve(&deflated, None).unwrap().first().value;
    assert!((top - two.pairs[1].value).abs() <= 1e-7 * two.pairs[0].value);
}

#[test]
fn preconditioning() {
    let h = hessian(&Mlp::new(4, 5, 3), samples([6, 4], 3));
    let dense = h.to_dense().unwrap();
    let p: Vec<f64> = wave(h.dim(), 0.8).iter().map(|w| 1.3 + w).collect();
    let diagonal = h.space().from_values(&p).unwrap();
    let entry = |i: usize, j: usize| dense[i][j] / (p[i] * p[j]).sqrt();
    let n = h.dim();
    let expected: Matrix = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
    let preconditioned = (&h).preconditioned(&diagonal).unwrap();
    check_dense(&preconditioned, &expected, "P^-1/2 H P^-1/2");
    // An eigenvector u is the direction d = P^-1/2 u with H d = λ P d.
    let config = LanczosConfig::new().with_rel_tol(1e-9).with_max_applies(400);
    let top = config.init().solve(&preconditioned, None).unwrap();
    let d = preconditioned.to_params(&top.first().vector).unwrap();
    let hd = h.apply(&d).unwrap().to_values().unwrap();
    let d = d.to_values().unwrap();
    let pd: Vec<f64> = d.iter().zip(&p).map(|(d, p)| top.first().value * p * d).collect();
    assert_close(&hd, &pd, 1e-7, "generalized eigenvector");
}

#[test]
fn groups_of_parameters() {
    let h = hessian(&Mlp::new(4, 5, 3), samples([6, 4], 3));
    let dense = h.to_dense().unwrap();
    let space = h.space().clone();
    let check = |group: ParamGroup, members: Vec<usize>, what: &str| {
        let inside = |i: usize| members.contains(&i);
        assert_eq!(group.n_params(), members.len());
        let mut expected = dense.clone();
        for (i, row) in expected.iter_mut().enumerate() {
            for (j, entry) in row.iter_mut().enumerate() {
                *entry = if inside(i) && inside(j) { *entry } else { 0.0 };
            }
        }
        check_dense(&(&h).restricted(group).unwrap(), &expected, what);
    };
    // 20 weights and 5 biases, then 15 and 3.
    check(ParamGroup::by_prefix(&space, "second").unwrap(), (25..43).collect(), "second layer");
    check(ParamGroup::by_prefix(&space, "first.bias").unwrap(), (20..25).collect(), "a bias");
    let biases = ParamGroup::matching(&space, |e| e.name.ends_with("bias")).unwrap();
    assert_eq!(biases.entries().count(), 2);
    check(biases.clone(), (20..25).chain(40..43).collect(), "biases");
    // A part of a name is no prefix.
    let error = ParamGroup::by_prefix(&space, "sec").unwrap_err().to_string();
    assert!(error.contains("`sec`") && error.contains("second.weight"), "{error}");
    // NaN elsewhere does not get in.
    let mut values = vec![f64::NAN; 43];
    values[20..25].fill(1.0);
    values[40..43].fill(2.0);
    let restricted = biases.restrict(&space.from_values(&values).unwrap()).unwrap();
    assert_eq!(restricted.to_values().unwrap().iter().sum::<f64>(), 11.0);
}
