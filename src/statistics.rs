//! Mean, standard error and confidence interval of a sample.

use std::f64::consts::PI;
use std::fmt;

/// The mean of a sample and how well it is known.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The sample mean.
    pub mean: f64,
    /// s/√m with the unbiased standard deviation s; NaN for a single value.
    pub standard_error: f64,
    /// 95% interval for the expectation, mean ± t·standard error with Student's t for m − 1
    /// degrees of freedom; infinite for a single value.
    pub interval: (f64, f64),
    /// The largest value.
    pub max: f64,
    /// The number of values m.
    pub count: usize,
}

impl fmt::Display for Estimate {
    /// Mean ± standard error, the error with two digits: `3.260 ± 0.082`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, standard_error, .. } = *self;
        let digits = match standard_error.log10().floor() {
            power if power.is_finite() => (1.0 - power).clamp(0.0, 17.0) as usize,
            _ => 6,
        };
        write!(f, "{mean:.digits$} ± {standard_error:.digits$}")
    }
}

impl Estimate {
    /// The estimate from at least one value; `None` for none.
    ///
    /// ```
    /// use burn_sharpness::estimator::Estimate;
    ///
    /// let e = Estimate::of(&[1.0, 2.0, 3.0]).unwrap();
    /// assert_eq!(e.mean, 2.0);
    /// assert!((e.standard_error - 1.0 / 3f64.sqrt()).abs() < 1e-15);
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let max = values.iter().copied().reduce(f64::max)?;
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let (standard_error, half) = if count < 2 {
            (f64::NAN, f64::INFINITY)
        } else {
            let error = (squares / (count - 1) as f64 / count as f64).sqrt();
            (error, student_t_95(count - 1) * error)
        };
        Some(Self { mean, standard_error, interval: (mean - half, mean + half), max, count })
    }

    /// The estimate of offset + factor·quantity.
    /// For factors that are not negative: the largest value stays the largest.
    pub(crate) fn affine(&self, offset: f64, factor: f64) -> Self {
        let map = |value: f64| offset + factor * value;
        let (low, high) = (map(self.interval.0), map(self.interval.1));
        Self {
            mean: map(self.mean),
            standard_error: factor.abs() * self.standard_error,
            interval: (low.min(high), low.max(high)),
            max: map(self.max),
            count: self.count,
        }
    }

    /// A value that is known exactly, from `count` numbers.
    pub(crate) fn exact(value: f64, count: usize) -> Self {
        Self { mean: value, standard_error: 0.0, interval: (value, value), max: value, count }
    }

    /// The square root of what is estimated, which is not negative: the standard error to first order,
    /// the interval exactly that of the square.
    pub(crate) fn sqrt(&self) -> Self {
        let root = |value: f64| value.max(0.0).sqrt();
        let mean = root(self.mean);
        Self {
            mean,
            standard_error: if mean > 0.0 { self.standard_error / (2.0 * mean) } else { 0.0 },
            interval: (root(self.interval.0), root(self.interval.1)),
            max: root(self.max),
            count: self.count,
        }
    }

    /// standard error / |mean|.
    pub fn relative_error(&self) -> f64 {
        self.standard_error / self.mean.abs()
    }
}

/// The t for which a Student variable with `degrees` ≥ 1 degrees of freedom lies in [−t, t] with
/// probability 0.95.
pub fn student_t_95(degrees: usize) -> f64 {
    let (mut low, mut high) = (1.9, 12.8); // the values for infinitely many and for one
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if probability_within(middle, degrees.max(1)) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// P(|T| ≤ t) for integer degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4).
fn probability_within(t: f64, degrees: usize) -> f64 {
    let theta = (t / (degrees as f64).sqrt()).atan();
    let (sin, cos) = theta.sin_cos();
    let odd = degrees % 2 == 1;
    // Terms cosʲθ with j = 1, 3, .. ν−2 for odd ν, j = 0, 2, .. ν−2 for even ν.
    let first = if odd { 1 } else { 0 };
    let (mut term, mut sum) = (if odd { cos } else { 1.0 }, 0.0);
    for j in (first..degrees.saturating_sub(1)).step_by(2) {
        sum += term;
        term *= cos * cos * (j + 1) as f64 / (j + 2) as f64;
    }
    if odd { 2.0 / PI * (theta + sin * sum) } else { sin * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_prints_two_digits_of_its_error() {
        let print = |mean, standard_error| {
            let none = Estimate::exact(mean, 4);
            Estimate { standard_error, ..none }.to_string()
        };
        assert_eq!(print(3.26049, 0.0824), "3.260 ± 0.082");
        assert_eq!(print(1234.5, 118.0), "1234 ± 118");
        assert_eq!(print(-0.5, 0.0), "-0.500000 ± 0.000000");
        assert_eq!(print(2.0, f64::NAN), "2.000000 ± NaN");
    }

    #[test]
    fn quantiles_agree_with_published_tables() {
        // Three decimals, as in any table of Student's distribution.
        let table = [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)];
        for (degrees, t) in table {
            assert!((student_t_95(degrees) - t).abs() < 5.1e-4, "{degrees}");
        }
        assert!((student_t_95(100_000) - 1.96).abs() < 1e-3);
    }
}
