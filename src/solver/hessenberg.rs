//! The coefficients of one lane's products in its basis, on the host: H with A·Q = Q·H + r·eᵀ + D.
//!
//! Column j of H holds qᵢᵀA·qⱼ. After a restart from Ritz vectors Y = Q·S the first columns have the form
//! of an arrow (Wu and Simon 2000): A·Y = Y·(SᵀHS) + q·β·sₘ, with q = r/β the next basis vector and sₘ the
//! last row of S. D is what is left: of it the Gram matrix E = DᵀD is known, so that residuals stay honest.
//!
//! - A restart drops Q·(1 − SSᵀ)·(H − Hᵀ)/2·S, which is rounding or the asymmetry of A.
//! - Where the basis goes on from another direction than r, r itself goes to D. As the basis grows, the
//!   coefficients Dᵀq are found, since qᵀA·qⱼ = (A·q)ᵀqⱼ for a symmetric A, and leave D for H.

use super::small_eigen::{SmallEigen, symmetric_eigen};
use crate::error::Result;
use crate::params::finite;

/// The eigenpairs of one lane's operator in its basis.
pub(crate) struct LaneEigen {
    pub eigen: SmallEigen,
    /// ‖A v − θ v‖ of each Ritz pair.
    pub residuals: Vec<f64>,
    /// ‖r‖ of the last step.
    pub beta: f64,
    /// Whether A maps the basis into itself, to rounding.
    pub is_closed: bool,
}

/// H, ‖r‖ and E.
#[derive(Clone, Default)]
pub(super) struct Hessenberg {
    columns: Vec<Column>,
    beta: f64,
    /// The first rows and columns of E; others are zero.
    gram: Vec<Vec<f64>>,
}

#[derive(Clone)]
struct Column {
    /// The first entries. Those below are zero, and so is their part of D unless it is rounding.
    entries: Vec<f64>,
    /// From here on entries are read from the row, as they are found.
    deferred_from: usize,
}

impl Hessenberg {
    /// Number of basis vectors m.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Adds the column of a new basis vector: its m + 1 coefficients, and ‖r‖ after it.
    pub fn push(&mut self, entries: Vec<f64>, beta: f64) {
        let m = self.len();
        if let Some(last) = self.columns.last_mut().filter(|_| self.beta != 0.0) {
            last.entries.push(self.beta);
        }
        // Dᵀq, beyond what H says already.
        let found = |(column, found): (&Column, &f64)| {
            let known = column.entries.get(m).copied().unwrap_or(0.0);
            if m >= column.deferred_from { found - known } else { 0.0 }
        };
        let found: Vec<f64> = self.columns.iter().zip(&entries).map(found).collect();
        for (row, a) in self.gram.iter_mut().zip(&found) {
            row.iter_mut().zip(&found).for_each(|(entry, b)| *entry -= a * b);
        }
        self.columns.push(Column { entries, deferred_from: usize::MAX });
        self.beta = beta;
    }

    /// Whether r is rounding, by the largest coefficient.
    pub fn is_closed(&self, epsilon: f64) -> bool {
        let entries = self.columns.iter().flat_map(|c| &c.entries);
        self.beta <= 32.0 * epsilon * entries.fold(0.0f64, |scale, entry| entry.abs().max(scale))
    }

    /// Says that the basis goes on from another direction than r. An r that is rounding is no loss.
    pub fn defer(&mut self, is_closed: bool) {
        let m = self.len();
        if let Some(last) = self.columns.last_mut().filter(|_| !is_closed) {
            last.deferred_from = m;
            self.gram.resize(m, Vec::new());
            self.gram.iter_mut().for_each(|row| row.resize(m, 0.0));
            let mut more = vec![vec![0.0; m]; m];
            more[m - 1][m - 1] = self.beta.powi(2);
            self.gram = sum_bound(std::mem::take(&mut self.gram), more, 0.0);
        }
        self.beta = 0.0;
    }

    /// Says that the basis spans all there is: nothing is outside.
    pub fn complete(&mut self) {
        self.gram.clear();
        self.beta = 0.0;
    }

    /// Whether the basis has gone on from another direction than an r that was more than rounding.
    pub fn is_turned(&self) -> bool {
        self.columns.iter().any(|column| column.deferred_from < usize::MAX)
    }

    fn entry(&self, i: usize, j: usize) -> f64 {
        let column = &self.columns[j];
        match column.entries.get(i) {
            _ if i >= column.deferred_from => self.columns[i].entries[j],
            Some(entry) => *entry,
            None => 0.0,
        }
    }

    /// ((H − Hᵀ)/2)·s.
    fn asymmetry(&self, s: &[f64]) -> Vec<f64> {
        let term = |i: usize, j: usize| 0.5 * (self.entry(i, j) - self.entry(j, i)) * s[j];
        (0..self.len()).map(|i| (0..self.len()).map(|j| term(i, j)).sum()).collect()
    }

    /// aᵀE·b.
    fn outside(&self, a: &[f64], b: &[f64]) -> f64 {
        let row = |row: &Vec<f64>| row.iter().zip(b).map(|(entry, b)| entry * b).sum::<f64>();
        self.gram.iter().zip(a).map(|(entries, a)| a * row(entries)).sum()
    }

    /// The eigenpairs of the symmetric part S, with residuals
    /// ‖A·Qs − θ·Qs‖ ≤ (‖(H − S)s‖² + ‖r‖²sₘ²)^½ + ‖D·s‖, an equation where D is zero.
    pub fn eigen(&self, is_closed: bool) -> Result<LaneEigen> {
        let (m, beta) = (self.len(), self.beta);
        for value in self.columns.iter().flat_map(|c| &c.entries).chain([&beta]) {
            finite("a product of the operator", *value)?;
        }
        let symmetric = |i: usize, j: usize| 0.5 * (self.entry(i, j) + self.entry(j, i));
        let eigen = symmetric_eigen(m, symmetric)?;
        let residual = |s: &Vec<f64>| {
            let inside: f64 = self.asymmetry(s).iter().map(|x| x.powi(2)).sum();
            let last = beta * s.last().copied().unwrap_or(0.0);
            (inside + last.powi(2)).sqrt() + self.outside(s, s).max(0.0).sqrt()
        };
        let residuals = eigen.vectors.iter().map(residual).collect();
        Ok(LaneEigen { eigen, residuals, beta, is_closed })
    }

    /// The coefficients in the basis of the Ritz vectors number `kept` of `eigen`, with the same r.
    pub fn restarted(&self, eigen: &SmallEigen, kept: &[usize], epsilon: f64) -> Self {
        let deferred_from = if self.is_turned() { kept.len() } else { usize::MAX };
        let vectors: Vec<&Vec<f64>> = kept.iter().map(|&i| &eigen.vectors[i]).collect();
        let (mut columns, mut dropped) = (Vec::new(), Vec::new());
        for (place, s) in vectors.iter().enumerate() {
            let mut rest = self.asymmetry(s);
            let mut entries: Vec<f64> = vectors.iter().map(|other| dot(other, &rest)).collect();
            for (entry, other) in entries.iter().zip(&vectors) {
                rest.iter_mut().zip(*other).for_each(|(r, v)| *r -= entry * v);
            }
            entries[place] += eigen.values[kept[place]];
            entries.push(self.beta * s.last().copied().unwrap_or(0.0));
            columns.push(Column { entries, deferred_from });
            dropped.push(rest);
        }
        let n = kept.len();
        let gram = |entry: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
            (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
        };
        let before = gram(&|i, j| self.outside(vectors[i], vectors[j]));
        let dropped = gram(&|i, j| dot(&dropped[i], &dropped[j]));
        let rounding = n as f64 * (16.0 * epsilon * eigen.norm()).powi(2);
        Self { columns, beta: 0.0, gram: sum_bound(before, dropped, rounding) }
    }
}

/// The Gram matrix of a sum from those of its terms. Terms of which one is rounding are as good as
/// orthogonal. Of others the worst is taken, (a + b)(a + b)ᵀ ≤ (1 + t)·aaᵀ + (1 + 1/t)·bbᵀ for any t > 0.
fn sum_bound(a: Vec<Vec<f64>>, b: Vec<Vec<f64>>, rounding: f64) -> Vec<Vec<f64>> {
    let trace = |gram: &[Vec<f64>]| -> f64 { (0..gram.len()).map(|i| gram[i][i]).sum() };
    let (of_a, of_b) = (trace(&a), trace(&b));
    let t = (of_b / of_a).sqrt();
    let is_small = of_a.min(of_b) <= rounding;
    let (for_a, for_b) = if is_small { (1.0, 1.0) } else { (1.0 + t, 1.0 + 1.0 / t) };
    let row = |(a, b): (Vec<f64>, Vec<f64>)| {
        a.iter().zip(&b).map(|(a, b)| for_a * a + for_b * b).collect()
    };
    a.into_iter().zip(b).map(row).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
