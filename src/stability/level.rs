//! Mean and drift of a correlated series, with errors that know about the correlation.

use crate::estimator::student_t_95;

/// The mean of consecutive measurements, which are not independent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Level {
    /// The mean.
    pub mean: f64,
    /// √(variance/(m/τ − 1)) for m rows with the integrated autocorrelation time τ; NaN for one row.
    ///
    /// τ is the larger of two estimates, both corrected for the bias of a short series: 1 + 2Σρ_j up to
    /// the first lag of at least 5/2 times the sum so far (Sokal; Wolff, hep-lat/0306017), and
    /// (1+ρ₁)/(1−ρ₁), that of an autoregressive process, with ρ₁ ≥ 0. It is between 1 and m/2. A series
    /// of fewer than about 10 τ rows cannot tell its own correlation: its error is too small.
    pub standard_error: f64,
    /// 95% interval, mean ± t·standard error with Student's t for m/τ − 1 degrees of freedom; infinite for
    /// one row.
    pub interval: (f64, f64),
    /// Rows m.
    pub n_rows: usize,
    /// Independent rows that would tell as much, m/τ.
    pub n_effective: f64,
}

impl Level {
    /// Of at least one finite value.
    pub(super) fn of(values: &[f64]) -> Self {
        let n_rows = values.len();
        // In units of the largest value squares cannot overflow.
        let scale = values.iter().fold(0.0, |m: f64, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
        let n = n_rows as f64;
        let mean = values.iter().map(|v| v / scale).sum::<f64>() / n;
        let centered: Vec<f64> = values.iter().map(|v| v / scale - mean).collect();
        let n_effective = n / autocorrelation_time(&centered);
        let (standard_error, half) = if n_rows < 2 {
            (f64::NAN, f64::INFINITY)
        } else {
            let degrees = n_effective - 1.0;
            let error = (square_mean(&centered) / degrees).sqrt() * scale;
            (error, student_t_95(degrees as usize) * error)
        };
        let mean = mean * scale;
        Self { mean, standard_error, interval: (mean - half, mean + half), n_rows, n_effective }
    }
}

/// A straight line through a series.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Drift {
    /// Least-squares slope per training step.
    pub per_step: f64,
    /// Its standard error, with the autocorrelation time of what the line leaves.
    pub standard_error: f64,
}

impl Drift {
    /// Of values at increasing steps, at least three.
    pub(super) fn of(steps: &[f64], values: &[f64]) -> Self {
        let n = values.len() as f64;
        let center = steps.iter().sum::<f64>() / n;
        let mean = values.iter().sum::<f64>() / n;
        let spread: f64 = steps.iter().map(|s| (s - center).powi(2)).sum();
        let pairs = || steps.iter().zip(values);
        let per_step = pairs().map(|(s, v)| (s - center) * (v - mean)).sum::<f64>() / spread;
        let left: Vec<f64> = pairs().map(|(s, v)| v - mean - per_step * (s - center)).collect();
        let n_effective = n / autocorrelation_time(&left);
        // Two degrees of freedom went into the line; n_effective is at least 2.
        let variance = square_mean(&left) * n / (n_effective - 2.0).max(1.0);
        Self { per_step, standard_error: (variance / spread).sqrt() }
    }
}

/// Integrated autocorrelation time of a series with mean zero, as [`Level::standard_error`] has it.
fn autocorrelation_time(centered: &[f64]) -> f64 {
    let (length, n) = (centered.len(), centered.len() as f64);
    let variance = square_mean(centered);
    if length < 4 || variance == 0.0 {
        return 1.0;
    }
    let correlation = |lag: usize| {
        let products = centered.iter().zip(&centered[lag..]).map(|(a, b)| a * b);
        products.sum::<f64>() / (n * variance)
    };
    let (mut sum, mut last) = (1.0, 0.0);
    for lag in 1..length / 2 {
        sum += 2.0 * correlation(lag);
        last = lag as f64;
        if last >= 2.5 * sum {
            break;
        }
    }
    let window = sum * (1.0 + (2.0 * last + 1.0) / n);
    let first = correlation(1);
    let first = (first + (1.0 + 3.0 * first) / n).clamp(0.0, 1.0 - 1.0 / n);
    window.max((1.0 + first) / (1.0 - first)).clamp(1.0, n / 2.0)
}

fn square_mean(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64
}
