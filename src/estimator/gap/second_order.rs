//! The gap by second-order perturbation theory.
//!
//! H_B = H + E with a mean E of zero: λ_max(H_B) = λ₁ + v₁ᵀEv₁ + Σ_k≥2 (v₁ᵀEv_k)²/(λ₁ − λ_k) + O(E³), so that
//!
//! ```text
//! E[λ_max(H_B)] − λ₁ ≈ f·Σ_k≥2 Var_i(v₁ᵀH_iv_k)/(λ₁ − λ_k),   f = (n − b)/(b(n − 1)), with replacement 1/b
//! ```
//!
//! with the variance over samples i, the population's. H_iv₁ is one product with each sample; its norm also
//! gives the sum of the variances over all k, and with it what the pairs beyond the known ones can add.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Tensor;

use crate::error::Result;
use crate::estimator::sampling::{Sampling, draw_batches};
use crate::estimator::whole::for_each_sample_group;
use crate::model_state::ModelState;
use crate::operator::{HessianLanes, LaneVectors, Lanes, row_dots};
use crate::params::{ParamVector, finite, read};
use crate::samples::{self, Samples};
use crate::solver::{EigenPair, EigenResult};

/// The variances of the second-order gap.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SecondOrder {
    /// Σ_k Var_i(v₁ᵀH_iv_k)/(λ₁ − λ_k) over the known pairs k ≥ 2.
    pub leading: f64,
    /// Standard error of `leading` from the sampling of samples; 0 where all of them were used.
    pub standard_error: f64,
    /// Σ_k Var_i(v₁ᵀH_iv_k) over all other k.
    pub tail_variance: f64,
    /// λ₁.
    pub top: f64,
    /// The smallest of the known eigenvalues, which bounds those of the tail.
    pub last: f64,
    /// Known eigenpairs, the top one included.
    pub n_pairs: usize,
    /// Samples from which the variances are.
    pub n_samples: usize,
    /// Whether these are all samples.
    pub is_exact: bool,
    /// Products with single samples.
    pub n_sample_products: usize,
    /// Wall time.
    pub elapsed: Duration,
}

/// The second-order gap at one batch size. Its bounds are those of the second-order sum, not of the gap: where
/// v₁ᵀ(H_B − H)v_k is not small against λ₁ − λ_k, as for small batches and near-degenerate tops, higher orders
/// count, and the measured gap may lie outside.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GapPrediction {
    /// f·Σ over the known pairs: at most the whole sum.
    pub leading: f64,
    /// Standard error of `leading` from the sampling of samples.
    pub standard_error: f64,
    /// With the tail as if its eigenvalues were zero, which most are.
    pub with_tail: f64,
    /// With the tail as if its eigenvalues were the last known one: at least the whole sum.
    pub upper: f64,
}

impl SecondOrder {
    /// The gap where the variance of a mean over a batch is `factor` times that of a sample.
    pub fn gap(&self, factor: f64) -> GapPrediction {
        let Self { leading, standard_error, tail_variance, top, last, .. } = *self;
        GapPrediction {
            leading: factor * leading,
            standard_error: factor * standard_error,
            with_tail: factor * (leading + tail_variance / top),
            upper: factor * (leading + tail_variance / (top - last)),
        }
    }

    /// From the top pairs of the full-batch Hessian; `None` where the residuals of the top two do not tell
    /// their eigenvalues apart.
    pub(super) fn measure<M, S, F>(
        state: &ModelState,
        (model, data, loss): (&M, &S, &F),
        pairs: &EigenResult,
        (n_wanted, seed, memory_mib): (Option<usize>, u64, usize),
    ) -> Result<Option<Self>>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let began = Instant::now();
        let (first, others) = (pairs.first(), &pairs.pairs[1..]);
        let Some((second, last)) = others.first().zip(others.last()) else { return Ok(None) };
        let distance = first.value - second.value;
        // Values closer than the rounding of products are one.
        let rounding = 32.0 * state.space().epsilon() * first.value.abs();
        if distance <= first.residual_norm + second.residual_norm + rounding {
            return Ok(None);
        }
        let n = samples::count(data)?;
        let samples: Vec<usize> = match n_wanted {
            None => (0..n).collect(),
            Some(m) => draw_batches(Sampling::WithoutReplacement, n, m, 1, seed, 0)?.concat(),
        };
        let vectors: Vec<ParamVector> = pairs.pairs.iter().map(|p| p.vector.clone()).collect();
        let mut rows = Vec::new();
        for_each_sample_group(state, (model, data, loss), &samples, memory_mib, |lanes| {
            rows.extend(of_samples(lanes, &vectors)?);
            Ok(())
        })?;
        let Sums { leading, standard_error, tail_variance } = sums(&rows, first, others, n);
        Ok(Some(Self {
            leading,
            standard_error,
            tail_variance,
            top: first.value,
            last: last.value,
            n_pairs: vectors.len(),
            n_samples: samples.len(),
            is_exact: samples.len() == n,
            n_sample_products: samples.len(),
            elapsed: began.elapsed(),
        }))
    }
}

/// v_kᵀHᵢv₁ for each k, and ‖Hᵢv₁‖² at the end, for each lane i. One product in each lane.
fn of_samples(lanes: &HessianLanes, vectors: &[ParamVector]) -> Result<Vec<Vec<f64>>> {
    let product = LaneVectors::new(lanes, lanes.apply(&lanes.images_of(&vectors[0])?)?)?;
    let along = |v: &ParamVector| Ok(row_dots(&product.coordinates, &lanes.images_of(v)?));
    let mut columns = vectors.iter().map(along).collect::<Result<Vec<_>>>()?;
    columns.push(product.squared_norms());
    let values = read(Tensor::cat(columns, 1).flatten(0, 1))?;
    for value in &values {
        finite("v₁ᵀH_iv_k", *value)?;
    }
    Ok(values.chunks_exact(vectors.len() + 1).map(<[f64]>::to_vec).collect())
}

struct Sums {
    leading: f64,
    standard_error: f64,
    tail_variance: f64,
}

/// Variances over the n samples from those of m of them. ‖E H_iv₁‖² = ‖Hv₁‖² = λ₁² + ‖residual‖² is known.
fn sums(rows: &[Vec<f64>], first: &EigenPair, others: &[EigenPair], n: usize) -> Sums {
    let (m, n, k) = (rows.len() as f64, n as f64, others.len() + 1);
    let mean = |j: usize| rows.iter().map(|row| row[j]).sum::<f64>() / m;
    let means: Vec<f64> = (0..=k).map(mean).collect();
    // The population's variance from the mean square of m samples about their own mean.
    let bessel = if m > 1.0 { m / (m - 1.0) * (n - 1.0) / n } else { 1.0 };
    let square = |row: &[f64], j: usize| bessel * (row[j] - means[j]).powi(2);
    let of_sample = |row: &Vec<f64>| {
        let term = |(j, pair): (usize, &EigenPair)| square(row, j + 1) / (first.value - pair.value);
        others.iter().enumerate().map(term).sum::<f64>()
    };
    let terms: Vec<f64> = rows.iter().map(of_sample).collect();
    let leading = terms.iter().sum::<f64>() / m;
    let scatter = terms.iter().map(|t| (t - leading).powi(2)).sum::<f64>() / (m - 1.0).max(1.0);
    let known: f64 = (0..k).map(|j| rows.iter().map(|row| square(row, j)).sum::<f64>() / m).sum();
    let all = means[k] - first.value.powi(2) - first.residual_norm.powi(2);
    Sums {
        leading,
        standard_error: (scatter / m * (1.0 - m / n)).max(0.0).sqrt(),
        // Rounding, and sampling, may leave less than nothing.
        tail_variance: (all - known).max(0.0),
    }
}
