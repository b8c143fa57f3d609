//! Several lanes at once against each by itself.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};

use super::{Krylov, Lanczos, LanczosConfig, LaneResult, Which};
use crate::error::Result;
use crate::operator::{DenseOperator, LaneVectors, Lanes, LinearOperator, SingleLane, row_dots};
use crate::params::{ParamSpace, ParamVector};

/// Matrices side by side. Coordinates are twice a vector and images half of it, so that neither is the
/// vector, and that they are kept apart shows.
struct Several<'a>(Vec<&'a DenseOperator>);

impl Lanes for Several<'_> {
    fn shape(&self) -> [usize; 2] {
        [self.0.len(), self.space().n_params()]
    }

    fn space(&self) -> &Arc<ParamSpace> {
        self.0[0].space()
    }

    fn is_dense(&self) -> bool {
        false
    }

    fn images(&self, coordinates: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(coordinates.clone() * 0.25)
    }

    fn apply(&self, images: &Tensor<2>) -> Result<Tensor<2>> {
        let product = |(lane, operator): (usize, &&DenseOperator)| {
            let vector =
                SingleLane(*operator).vector(&images.clone().narrow(0, lane, 1)).scale(2.0);
            Ok(operator.apply(&vector)?.scale(2.0).tensor().unsqueeze_dim(0))
        };
        let rows = self.0.iter().enumerate().map(product).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(rows, 0))
    }

    fn rounding_scale(&self, coordinates: &Tensor<2>) -> Tensor<2> {
        row_dots(coordinates, coordinates) * 0.25
    }

    fn random(&self, seeds: &[u64]) -> Tensor<2> {
        let lane = |(lane, seed): (usize, &u64)| SingleLane(self.0[lane]).random(&[*seed]) * 2.0;
        Tensor::cat(seeds.iter().enumerate().map(lane).collect(), 0)
    }

    fn images_of(&self, vector: &ParamVector) -> Result<Tensor<2>> {
        let row: Tensor<2> = vector.tensor().unsqueeze_dim(0);
        Ok(row.repeat_dim(0, self.0.len()) * 0.5)
    }

    fn expand(&self, coordinates: &Tensor<2>, lane: usize) -> Result<ParamVector> {
        let row = coordinates.clone().narrow(0, lane, 1);
        Ok(SingleLane(self.0[lane]).vector(&row).scale(0.5))
    }

    fn select(&self, lanes: &[usize]) -> Result<Box<dyn Lanes + '_>> {
        Ok(Box::new(Several(lanes.iter().map(|&lane| self.0[lane]).collect())))
    }
}

/// 1 − uuᵀ·2/‖u‖² around diag(values): dense, with these eigenvalues.
fn matrix(values: &[f64], phase: f64) -> DenseOperator {
    let n = values.len();
    let u: Vec<f64> = (0..n).map(|i| (1.7 * i as f64 + phase).sin()).collect();
    let square: f64 = u.iter().map(|x| x * x).sum();
    let q = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * u[i] * u[j] / square;
    let entry = |i: usize, j: usize| (0..n).map(|k| q(i, k) * values[k] * q(k, j)).sum();
    let rows: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
    DenseOperator::from_rows(&rows, DType::F64, &Device::flex()).unwrap()
}

/// Lanes that need few and many products, one that is closed at once, one of equal eigenvalues.
fn operators() -> Vec<DenseOperator> {
    let n = 40;
    let spread = |i: usize| i as f64 / n as f64;
    let hard: Vec<f64> = (0..n).map(spread).collect();
    let easy: Vec<f64> = (0..n).map(|i| if i == 3 { 9.0 } else { spread(i) }).collect();
    let copies: Vec<f64> = (0..n).map(|i| if i < 3 { 2.0 } else { spread(i) }).collect();
    let close: Vec<f64> =
        (0..n).map(|i| if i < 2 { 5.0 + 1e-3 * spread(i) } else { spread(i) }).collect();
    let all = [hard, easy, vec![4.0; n], copies, close];
    all.iter().enumerate().map(|(i, values)| matrix(values, i as f64)).collect()
}

fn solve(solver: &Lanczos, lanes: &dyn Lanes, seeds: &[u64]) -> Vec<LaneResult> {
    let start = LaneVectors::new(lanes, lanes.random(seeds)).unwrap();
    solver.solve_lanes(lanes, start, seeds, true).unwrap()
}

#[test]
fn lanes_together_are_as_each_by_itself() {
    let operators = operators();
    let seeds: Vec<u64> = (10..15).collect();
    let base = LanczosConfig::new().with_rel_tol(1e-7).with_max_applies(400);
    let settings = [
        base.clone(),
        base.clone().with_max_basis(8),
        base.clone().with_max_basis(12).with_num_eigenvalues(3),
        base.clone().with_probe_steps(7),
        base.with_num_eigenvalues(3).with_probe_steps(7),
    ];
    for config in settings {
        let solver = config.init();
        let several = Several(operators.iter().collect());
        let together = solve(&solver, &several, &seeds);
        for (lane, found) in together.iter().enumerate() {
            let alone = Several(vec![&operators[lane]]);
            let one = solve(&solver, &alone, &seeds[lane..=lane]).remove(0);
            let what = format!("{config}, lane {lane}");
            // A lane that starts anew after a turn takes the others along, which changes their way.
            let same_way = config.probe_steps == 0;
            if same_way {
                assert_eq!(found.n_applies, one.n_applies, "{what}");
            }
            let k = config.num_eigenvalues;
            for ((a, b), vector) in found.values.iter().zip(&one.values).zip(&found.vectors).take(k)
            {
                assert!(a.2 && b.2, "{what}: {a:?} {b:?}");
                assert!((a.0 - b.0).abs() < 1e-6, "{what}: {a:?} {b:?}");
                // The residual, computed anew.
                let rows = vector.clone().repeat_dim(0, operators.len());
                let vector = several.expand(&rows, lane).unwrap();
                let product = operators[lane].apply(&vector).unwrap();
                let rest = product.axpy(-a.0, &vector).unwrap().norm().unwrap();
                assert!((vector.norm().unwrap() - 1.0).abs() < 1e-12, "{what}");
                assert!(rest <= 1.001 * a.1 + 1e-12, "{what}: {rest} {a:?}");
            }
        }
    }
}

/// Over restarts the basis stays within its bound and orthonormal, and A·Q = Q·H + r·eᵀ holds, which is
/// what every residual is computed from: here of all Ritz pairs, wanted or not.
#[test]
fn a_thick_restart_keeps_the_relation_and_the_bound() {
    let operators = operators();
    let lanes = Several(vec![&operators[0], &operators[4]]);
    let start = LaneVectors::new(&lanes, lanes.random(&[1, 2])).unwrap();
    let (mut unit, mut krylov) = (start.normalized(), Krylov::new(&lanes));
    for step in 0..40 {
        unit = krylov.step(&lanes, &unit).unwrap();
        assert!(krylov.len() <= 10);
        for (lane, operator) in [&operators[0], &operators[4]].into_iter().enumerate() {
            let found = krylov.eigen(lane).unwrap();
            for (i, value) in found.eigen.values.iter().enumerate() {
                let row = vec![found.eigen.vectors[i].clone(); 2];
                let vector = lanes.expand(&krylov.combine(&row), lane).unwrap();
                let product = operator.apply(&vector).unwrap();
                let rest = product.axpy(-value, &vector).unwrap().norm().unwrap();
                let off = (rest - found.residuals[i]).abs();
                // Up to ten restarts, each with the rounding of a product, 40 ε‖A‖.
                let rounding = 400.0 * f64::EPSILON * 5.1;
                assert!(off < rounding, "step {step}, lane {lane}, pair {i}: {rest} off by {off}");
                assert!((vector.norm().unwrap() - 1.0).abs() < rounding);
            }
        }
        if krylov.len() == 10 {
            let eigen = |lane: usize| {
                let eigen = krylov.eigen(lane).unwrap().eigen;
                let kept = eigen.order(Which::LargestAlgebraic)[..6].to_vec();
                (eigen, kept)
            };
            let kept: Vec<_> = (0..2).map(eigen).collect();
            krylov.restart(&kept);
            assert_eq!(krylov.len(), 6);
        }
    }
}

/// The largest entry of QᵀMQ − 1 of one lane's basis.
fn deviation(lanes: &Several, units: &[LaneVectors], lane: usize) -> f64 {
    let row = |rows: &Tensor<2>| rows.clone().narrow(0, lane, 1);
    let of_pair = |i: usize, j: usize| {
        let product = row_dots(&row(&units[i].coordinates), &row(&units[j].images));
        (product.into_scalar::<f64>() - f64::from(u8::from(i == j))).abs()
    };
    assert_eq!(lanes.shape()[0], 2);
    let m = units.len();
    (0..m).flat_map(|i| (0..=i).map(move |j| of_pair(i, j))).fold(0.0, f64::max)
}

/// Without passes over the basis it stays orthogonal to √ε, as far as it is said to, and from there on by
/// passes. Ritz values are those of an orthonormal basis to rounding, and residuals are what they are.
/// By the three-term recurrence alone, as the basis `lost` shows, all orthogonality goes.
#[test]
fn a_semi_orthogonal_basis_is_orthogonal_to_the_root_of_epsilon() {
    let operators = operators();
    let pair = [&operators[1], &operators[4]];
    let lanes = Several(pair.to_vec());
    let start = LaneVectors::new(&lanes, lanes.random(&[1, 2])).unwrap().normalized();
    let mut semi = Krylov::new(&lanes).semi_orthogonal();
    let mut full = Krylov::new(&lanes);
    let (mut unit, mut of_full) = (start.clone(), start.clone());
    let (mut units, mut lost) = (vec![start.clone()], vec![start]);
    let mut steps_without_passes = 0;
    for step in 0..25 {
        unit = semi.step(&lanes, &unit).unwrap();
        of_full = full.step(&lanes, &of_full).unwrap();
        units.push(unit.clone());
        steps_without_passes += usize::from(semi.is_without_passes());
        for (lane, operator) in pair.into_iter().enumerate() {
            let off = deviation(&lanes, &units, lane);
            // The estimate is one: a factor of ten.
            assert!(off < 10.0 * f64::EPSILON.sqrt(), "step {step}, lane {lane}: {off}");
            let (found, exact) = (semi.eigen(lane).unwrap(), full.eigen(lane).unwrap());
            let (top, other) = (found.eigen.values.len() - 1, exact.eigen.values.len() - 1);
            let difference = (found.eigen.values[top] - exact.eigen.values[other]).abs();
            // 40 ε‖A‖ for a product, and as many for the sums over the basis.
            assert!(difference < 80.0 * f64::EPSILON * 9.0, "step {step}: {difference}");
            let coefficients = vec![found.eigen.vectors[top].clone(); 2];
            let vector = LaneVectors::new(&lanes, semi.combine(&coefficients)).unwrap();
            let vector = vector.normalized();
            let vector = lanes.expand(&vector.coordinates, lane).unwrap();
            let product = operator.apply(&vector).unwrap();
            let value = found.eigen.values[top];
            let rest = product.axpy(-value, &vector).unwrap().norm().unwrap();
            // A sum of 25 vectors that are orthonormal but for `off`.
            let (said, rounding) = (found.residuals[top], 400.0 * f64::EPSILON * 9.0);
            let inexact = rounding + 25.0 * 9.0 * off;
            assert!((said - rest).abs() <= inexact, "step {step}, lane {lane}: {said}, {rest}");
        }
        let (last, before) = (&lost[step], step.checked_sub(1).map(|i| &lost[i]));
        let mut rest = lanes.apply(&last.images).unwrap();
        for vector in [Some(last), before].into_iter().flatten() {
            let coefficient = row_dots(&rest, &vector.images);
            rest = rest - vector.coordinates.clone() * coefficient;
        }
        lost.push(LaneVectors::new(&lanes, rest).unwrap().normalized());
    }
    assert!((5..25).contains(&steps_without_passes), "{steps_without_passes}");
    assert!(deviation(&lanes, &lost, 0) > 0.1 && deviation(&lanes, &lost, 1) > 0.1);
}
