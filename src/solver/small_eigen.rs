//! Dense symmetric eigenproblems of the size of a Krylov basis, on the host in f64 (faer).

use faer::{Mat, Side};

use crate::error::{Error, Result};

/// Eigenvalues in ascending order, and the eigenvector of each.
pub(crate) struct SmallEigen {
    pub values: Vec<f64>,
    pub vectors: Vec<Vec<f64>>,
}

/// Solves the symmetric problem of the `n x n` matrix whose lower triangle is `entry(i, j)`.
pub(crate) fn symmetric_eigen(n: usize, entry: impl Fn(usize, usize) -> f64) -> Result<SmallEigen> {
    let matrix = Mat::from_fn(n, n, |i, j| entry(i.max(j), i.min(j)));
    let finite = (0..n).all(|i| (0..=i).all(|j| matrix[(i, j)].is_finite()));
    let failed = Error::NonFinite { quantity: "a product of the operator", value: f64::NAN };
    if !finite {
        return Err(failed);
    }
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| failed)?;
    let column = |j: usize| (0..n).map(|i| eigen.U()[(i, j)]).collect();
    let mut pairs: Vec<(f64, Vec<f64>)> = (0..n).map(|j| (eigen.S()[j], column(j))).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (values, vectors) = pairs.into_iter().unzip();
    Ok(SmallEigen { values, vectors })
}

impl SmallEigen {
    /// Positions of the eigenvalues, the most wanted first.
    pub fn order(&self, which: super::Which) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        match which {
            super::Which::SmallestAlgebraic => {}
            super::Which::LargestAlgebraic => order.reverse(),
            super::Which::LargestMagnitude => {
                order.sort_by(|&a, &b| self.values[b].abs().total_cmp(&self.values[a].abs()));
            }
            super::Which::BothEnds => {
                let last = order.len().saturating_sub(1);
                order
                    .iter_mut()
                    .for_each(|i| *i = if *i % 2 == 0 { last - *i / 2 } else { *i / 2 });
            }
        }
        order
    }

    /// The largest absolute value: a lower bound of the operator's norm.
    pub fn norm(&self) -> f64 {
        self.values.iter().fold(0.0, |m, v| v.abs().max(m))
    }
}
