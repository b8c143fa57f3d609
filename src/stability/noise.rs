//! How far the noise of mini-batches is from amplifying itself: formulas from measured numbers.
//!
//! p = (n−b)/(b(n−1)) is the variance of the mean of a batch of b out of n samples without replacement,
//! over the variance of one sample.

use super::positive;
use crate::error::{Error, Result};
use crate::params::finite;

/// Bounds of the norm K of the noise kernel: the mean square of the parameters is stable below 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct NoiseKernel {
    /// K with nothing but the trace known of the eigenvalues that were not given.
    pub low: f64,
    /// K with all of that trace in eigenvalues as large as the smallest one given.
    pub high: f64,
}

/// The norm of SGD's noise kernel (Agarwala and Pennington, arXiv 2404.19261),
///
/// K = p Σ_a ηλ_a / (2 − (1−p) ηλ_a),
///
/// from the largest eigenvalues λ_a of the full-batch Gauss-Newton matrix and its trace, for plain SGD with batches
/// drawn without replacement. K = 1 is the mean-square edge, which can come long before ηλ = 2; for small ηλ, K is
/// about η·trace/(2b).
///
/// Assumes a loss ½ mean‖f − y‖² near interpolation (for a loss without the ½, pass eigenvalues and trace of that
/// loss: they are twice as large) and eigenvectors in sample space that are spread out, each sample with a share of
/// 1/n. Then it is exact for every n and b, as it is for orthogonal samples; where eigenvectors sit on few samples,
/// it is not.
///
/// The eigenvalues that are left out lie between zero and the smallest one given, and their sum is known: that
/// gives the two bounds. Where none is given, `high` is infinite unless the trace is zero. Both are infinite where
/// some ηλ(1−p) ≥ 2: there the mean square has no stable state. Batches of everything have no noise: K is then 0
/// or, where gradient descent itself is unstable, infinite.
///
/// # Errors
/// [`Error::BatchSize`]; [`Error::InvalidSetting`] for a learning rate that is not positive;
/// [`Error::NonFinite`], [`Error::InvalidSetting`] for eigenvalues that are not finite or negative, or a
/// trace below their sum.
///
/// ```
/// use burn_sharpness::stability::noise_kernel;
///
/// let k = noise_kernel(0.01, 32, 50_000, &[90.0, 60.0, 20.0], 500.0)?;
/// assert!(k.high < 1.0); // stable
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub fn noise_kernel(
    learning_rate: f64,
    batch_size: usize,
    n_samples: usize,
    eigenvalues: &[f64],
    trace: f64,
) -> Result<NoiseKernel> {
    let p = batch_variance(batch_size, n_samples)?;
    positive("learning_rate", learning_rate)?;
    let mut known = 0.0;
    for &value in eigenvalues {
        if finite("an eigenvalue", value)? < 0.0 {
            return Err(Error::InvalidSetting {
                setting: "eigenvalues",
                value: value.to_string(),
                expected: "those of a Gauss-Newton matrix, none below zero",
            });
        }
        known += value;
    }
    // A trace that was estimated, or rounded, may fall a little short of the sum.
    if finite("the trace", trace)? < known * (1.0 - 1e-6) {
        return Err(Error::InvalidSetting {
            setting: "trace",
            value: trace.to_string(),
            expected: "no less than the sum of the eigenvalues; take more probes for the trace",
        });
    }
    let rest = (trace - known).max(0.0);
    let term = |value: f64| {
        let room = 2.0 - (1.0 - p) * learning_rate * value;
        if room > 0.0 { learning_rate * value / room } else { f64::INFINITY }
    };
    let top: f64 = eigenvalues.iter().map(|&value| term(value)).sum();
    let smallest = eigenvalues.iter().copied().fold(f64::INFINITY, f64::min);
    // The terms are convex in λ: the sum is least in many small eigenvalues, greatest in few large ones.
    let concentrated = match rest {
        0.0 => 0.0,
        _ if smallest.is_finite() && smallest > 0.0 => rest / smallest * term(smallest),
        _ => f64::INFINITY,
    };
    if top.is_infinite() {
        // Without noise too, where p is zero: gradient descent itself is unstable.
        return Ok(NoiseKernel { low: top, high: top });
    }
    // Batches of everything have no noise, whatever the eigenvalues that were not given.
    let scale = |sum: f64| if p == 0.0 { 0.0 } else { p * sum };
    let low = scale(top + 0.5 * learning_rate * rest);
    Ok(NoiseKernel { low, high: scale(top + concentrated) })
}

/// The largest non-uniformity s = √λ_max(mean_i H_i² − H²) that plain SGD can live with,
/// s ≤ 1/(η√p) (Wu, Ma and E 2018): necessary for λ_max((1 − ηH)² + η²p(mean H_i² − H²)) ≤ 1, as
/// λ_max(H) ≤ 2/η is. Infinite for batches of everything.
///
/// A sufficient condition needs no formula: max_B λ_max(H_B) < 2/η over all batches of a quadratic loss
/// with no negative curvature, because then η·mean(H_B²) < 2H.
///
/// # Errors
/// [`Error::BatchSize`]; [`Error::InvalidSetting`] for a learning rate that is not positive.
pub fn non_uniformity_limit(
    learning_rate: f64,
    batch_size: usize,
    n_samples: usize,
) -> Result<f64> {
    let p = batch_variance(batch_size, n_samples)?;
    Ok(1.0 / (positive("learning_rate", learning_rate)? * p.sqrt()))
}

/// p, between 0 for the full batch and 1 for one sample.
fn batch_variance(batch_size: usize, n_samples: usize) -> Result<f64> {
    if batch_size == 0 || batch_size > n_samples {
        return Err(Error::BatchSize { batch_size, n_samples });
    }
    let (b, n) = (batch_size as f64, n_samples as f64);
    Ok(if batch_size == n_samples { 0.0 } else { (n - b) / (b * (n - 1.0)) })
}
