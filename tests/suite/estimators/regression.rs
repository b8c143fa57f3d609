//! Linear regression, ½·mean (xᵢᵀw − yᵢ)², whose per-sample gradients rᵢxᵢ and Hessians xᵢxᵢᵀ are written
//! down here without burn.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::{ParamSpace, ParamVector};
use faer::{Mat, Side};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};

use crate::common::{float, wave};

pub type Pair = (Tensor<2>, Tensor<2>);

#[derive(Module, Debug)]
pub struct Weights {
    pub w: Param<Tensor<2>>,
}

pub fn loss(model: &Weights, (x, y): Pair) -> Tensor<1> {
    (x.matmul(model.w.val()) - y).powi_scalar(2).mean() * 0.5
}

/// Samples, targets and weights on the host.
#[derive(Clone, Debug)]
pub struct Regression {
    pub x: Vec<Vec<f64>>,
    pub y: Vec<f64>,
    pub w: Vec<f64>,
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Σ factors·vectors.
pub fn sum<'a>(terms: impl Iterator<Item = (f64, &'a [f64])>, len: usize) -> Vec<f64> {
    terms.fold(vec![0.0; len], |sum, (factor, vector)| {
        sum.iter().zip(vector).map(|(s, v)| s + factor * v).collect()
    })
}

impl Regression {
    /// n normal samples, with the deviations `scales` along the axes.
    pub fn normal(n: usize, scales: &[f64]) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(n as u64);
        let mut sample = || -> Vec<f64> {
            scales
                .iter()
                .map(|s| s * <_ as Distribution<f64>>::sample(&StandardNormal, &mut rng))
                .collect()
        };
        let x = (0..n).map(|_| sample()).collect();
        Self { x, y: wave(n, 0.8), w: wave(scales.len(), 1.1) }
    }

    /// n orthogonal samples √h·eᵢ.
    pub fn orthogonal(n: usize, h: f64) -> Self {
        let unit = |i: usize| (0..n).map(|j| if i == j { h.sqrt() } else { 0.0 }).collect();
        Self { x: (0..n).map(unit).collect(), y: wave(n, 0.8), w: wave(n, 1.1) }
    }

    pub fn n(&self) -> usize {
        self.y.len()
    }

    pub fn d(&self) -> usize {
        self.w.len()
    }

    pub fn model(&self) -> Weights {
        let w = float(self.w.clone(), [self.d(), 1], DType::F64, &Device::flex());
        Weights { w: Param::from_tensor(w) }
    }

    pub fn data(&self) -> Pair {
        let (n, d, device) = (self.n(), self.d(), Device::flex());
        let x = float(self.x.concat(), [n, d], DType::F64, &device);
        (x, float(self.y.clone(), [n, 1], DType::F64, &device))
    }

    pub fn all(&self) -> Vec<usize> {
        (0..self.n()).collect()
    }

    pub fn vector(&self, values: &[f64]) -> ParamVector {
        ParamSpace::flat(self.d(), DType::F64, &Device::flex()).from_values(values).unwrap()
    }

    pub fn residual(&self, w: &[f64], i: usize) -> f64 {
        dot(&self.x[i], w) - self.y[i]
    }

    pub fn loss(&self, w: &[f64], batch: &[usize]) -> f64 {
        let squares: f64 = batch.iter().map(|&i| self.residual(w, i).powi(2)).sum();
        0.5 * squares / batch.len() as f64
    }

    pub fn gradient(&self, batch: &[usize]) -> Vec<f64> {
        let term = |&i: &usize| (self.residual(&self.w, i) / batch.len() as f64, &self.x[i][..]);
        sum(batch.iter().map(term), self.d())
    }

    pub fn product(&self, batch: &[usize], v: &[f64]) -> Vec<f64> {
        let term = |&i: &usize| (dot(&self.x[i], v) / batch.len() as f64, &self.x[i][..]);
        sum(batch.iter().map(term), self.d())
    }

    /// H_B as rows.
    pub fn hessian(&self, batch: &[usize]) -> Vec<Vec<f64>> {
        let unit =
            |j: usize| (0..self.d()).map(|i| f64::from(u8::from(i == j))).collect::<Vec<_>>();
        (0..self.d()).map(|j| self.product(batch, &unit(j))).collect()
    }
}

/// Eigenvalues, the largest first, and eigenvectors of a symmetric matrix.
pub fn eigen(rows: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = rows.len();
    let matrix = Mat::from_fn(n, n, |i, j| rows[i][j]);
    let eigen = matrix.self_adjoint_eigen(Side::Lower).unwrap();
    let order = (0..n).rev();
    let vector = |j: usize| (0..n).map(|i| eigen.U()[(i, j)]).collect();
    (order.clone().map(|j| eigen.S()[j]).collect(), order.map(vector).collect())
}

/// All subsets of `b` of `n` samples.
pub fn subsets(n: usize, b: usize) -> Vec<Vec<usize>> {
    if b == 0 {
        return vec![Vec::new()];
    }
    let with_last = |last: usize| {
        let grow = move |mut subset: Vec<usize>| {
            subset.push(last);
            subset
        };
        subsets(last, b - 1).into_iter().map(grow)
    };
    (b - 1..n).flat_map(with_last).collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// |a − b| in units of |b|.
pub fn relative(a: f64, b: f64) -> f64 {
    ((a - b) / b).abs()
}
