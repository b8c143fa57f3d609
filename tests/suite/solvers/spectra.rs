//! Operators with known spectra.

use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor::{DType, Device};
use burn_sharpness::operator::DenseOperator;
use burn_sharpness::prelude::*;
use burn_sharpness::{ParamBlock, ParamSpace, ParamVector, Result};

use crate::common::wave;

/// Q diag(λ) Qᵀ with Q a product of two Householder reflections.
pub fn with_spectrum(spectrum: &[f64], dtype: DType) -> DenseOperator {
    let n = spectrum.len();
    let mut a: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| if i == j { spectrum[i] } else { 0.0 }).collect()).collect();
    for phase in [0.3, 1.7] {
        let w = wave(n, phase);
        let norm: f64 = w.iter().map(|w| w * w).sum();
        let q: Vec<Vec<f64>> = (0..n)
            .map(|i| (0..n).map(|j| f64::from(i == j) - 2.0 * w[i] * w[j] / norm).collect())
            .collect();
        a = multiply(&multiply(&q, &a), &q);
    }
    DenseOperator::from_rows(&a, dtype, &Device::flex()).unwrap()
}

fn multiply(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = a.len();
    let entry = |i: usize, j: usize| (0..n).map(|k| a[i][k] * b[k][j]).sum();
    (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
}

pub fn spectra() -> Vec<(&'static str, Vec<f64>)> {
    vec![
        ("spread", (0..30).map(|i| f64::from(i) - 7.3).collect()),
        ("decaying", (0..40).map(|i| 10.0 * 0.7f64.powi(i)).collect()),
        (
            "clustered",
            [vec![5.0, 4.999, 4.99], (0..20).map(|i| 0.1 * f64::from(i)).collect()].concat(),
        ),
        ("repeated", [vec![3.0, 3.0, 3.0], vec![1.0; 15]].concat()),
        (
            "negative end wins",
            [vec![-20.0, 6.0, 5.0], (0..20).map(|i| 0.2 * f64::from(i)).collect()].concat(),
        ),
        ("all negative", (1..20).map(|i| -f64::from(i)).collect()),
        (
            "two-sided",
            [vec![-8.0, 8.1], (0..20).map(|i| 0.3 * f64::from(i) - 3.0).collect()].concat(),
        ),
        ("rank one", [vec![2.0], vec![0.0; 12]].concat()),
        ("negative rank one", [vec![-2.0], vec![0.0; 12]].concat()),
        ("zero", vec![0.0; 9]),
        ("identity", vec![1.0; 9]),
        ("one by one", vec![-3.5]),
        ("two by two", vec![1.0, -1.0]),
        ("indefinite", (0..25).map(|i| (f64::from(i) * 0.9).cos() * f64::from(i + 1)).collect()),
        (
            "near-degenerate",
            [vec![4.0, 4.0 - 1e-9], (0..20).map(|i| 0.1 * f64::from(i)).collect()].concat(),
        ),
        ("rank three", [vec![3.0, 2.0, -1.0], vec![0.0; 20]].concat()),
        ("millionth", (0..20).map(|i| 1e-6 * (f64::from(i) - 4.0)).collect()),
        ("million", (0..20).map(|i| 1e6 * (f64::from(i) - 4.0)).collect()),
        ("tiny", (0..20).map(|i| 1e-9 * f64::from(i)).collect()),
        ("huge", (0..20).map(|i| 1e9 * f64::from(i)).collect()),
    ]
}

/// The eigenvalues, the most wanted first.
pub fn wanted(spectrum: &[f64], which: Which) -> Vec<f64> {
    let mut values = spectrum.to_vec();
    values.sort_by(|a, b| b.total_cmp(a));
    match which {
        Which::LargestAlgebraic => {}
        Which::SmallestAlgebraic => values.reverse(),
        Which::LargestMagnitude => values.sort_by(|a, b| b.abs().total_cmp(&a.abs())),
        Which::BothEnds => {
            let n = values.len();
            let place = |i: usize| if i.is_multiple_of(2) { i / 2 } else { n - 1 - i / 2 };
            values = (0..n).map(|i| values[place(i)]).collect();
        }
    }
    values
}

pub fn norm(spectrum: &[f64]) -> f64 {
    spectrum.iter().fold(0.0, |m, v| v.abs().max(m))
}

pub fn epsilon(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
}

/// An operator that writes down how many vectors each call multiplies.
pub struct Counting<'a> {
    pub operator: &'a dyn LinearOperator,
    pub calls: RefCell<Vec<usize>>,
}

impl<'a> Counting<'a> {
    pub fn new(operator: &'a dyn LinearOperator) -> Self {
        Self { operator, calls: RefCell::default() }
    }

    pub fn total(&self) -> usize {
        self.calls.borrow().iter().sum()
    }
}

impl LinearOperator for Counting<'_> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.operator.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.calls.borrow_mut().push(1);
        self.operator.apply(v)
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.calls.borrow_mut().push(block.len());
        self.operator.apply_block(block)
    }

    fn n_applies(&self) -> usize {
        self.total()
    }
}
