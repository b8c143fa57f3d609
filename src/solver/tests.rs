//! Several lanes at once against each by itself.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};

use super::{Lanczos, LanczosConfig, LaneResult};
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
    solver.solve_lanes(lanes, start, seeds).unwrap()
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
                let vector = several.expand(&lifted(vector, lane, 5), lane).unwrap();
                let product = operators[lane].apply(&vector).unwrap();
                let rest = product.axpy(-a.0, &vector).unwrap().norm().unwrap();
                assert!((vector.norm().unwrap() - 1.0).abs() < 1e-12, "{what}");
                assert!(rest <= 1.001 * a.1 + 1e-12, "{what}: {rest} {a:?}");
            }
        }
    }
}

/// A row as row number `lane` of `k`.
fn lifted(row: &Tensor<2>, lane: usize, k: usize) -> Tensor<2> {
    let rows: Tensor<2> = row.clone().repeat_dim(0, k);
    debug_assert!(lane < k);
    rows
}
