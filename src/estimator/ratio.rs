//! Means of ratios and ratios of means: E\[y/x] and E\[y]/E\[x] are other numbers, and other types.

use super::{Estimate, student_t_95};
use crate::error::{Error, Result};

/// E\[y/x]: the mean, over batches, of a ratio per batch.
///
/// Where denominators come close to zero the ratios have heavy tails, and neither mean nor interval
/// settles; [`RatioOfMeans`] of the same batches does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MeanOfRatios {
    /// The mean over the batches that have a ratio, with its error.
    pub estimate: Estimate,
    /// Batches without a ratio, because rounding is all there is of their denominator: left out of the
    /// mean, and of nothing else.
    pub n_undefined: usize,
}

/// E\[y]/E\[x]: the ratio of two means over the same batches.
///
/// Its error is that of the jackknife: with r₍ⱼ₎ the ratio without batch j, the variance is
/// (m − 1)/m·Σⱼ(r₍ⱼ₎ − r̄)². What y and x have in common cancels, as in the delta method, to which it is equal
/// for many batches; for few it is the more careful one (Efron and Stein 1981).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RatioOfMeans {
    /// ȳ/x̄. Its bias is of order 1/m.
    pub value: f64,
    /// √((m − 1)/m·Σⱼ(r₍ⱼ₎ − r̄)²); NaN for a single batch.
    pub standard_error: f64,
    /// 95% interval, value ± t·standard error with Student's t for m − 1 degrees of freedom. Infinite
    /// where the interval of the denominator contains zero: the ratio is then not known at all.
    pub interval: (f64, f64),
    /// ȳ with its error.
    pub numerator: Estimate,
    /// x̄ with its error.
    pub denominator: Estimate,
    /// The number of batches m.
    pub count: usize,
}

impl RatioOfMeans {
    /// The ratio from pairs (y, x).
    ///
    /// # Errors
    /// [`Error::NonFinite`] for no pair, and for denominators whose mean is zero.
    ///
    /// ```
    /// use burn_sharpness::estimator::RatioOfMeans;
    ///
    /// // y is twice x in every batch: there is nothing to be uncertain about.
    /// let ratio = RatioOfMeans::of(&[(2.0, 1.0), (6.0, 3.0), (4.0, 2.0)])?;
    /// assert_eq!((ratio.value, ratio.standard_error), (2.0, 0.0));
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn of(pairs: &[(f64, f64)]) -> Result<Self> {
        let (numerators, denominators): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let undefined =
            |value| Error::NonFinite { quantity: "a ratio of means over batches", value };
        let (Some(numerator), Some(denominator)) =
            (Estimate::of(&numerators), Estimate::of(&denominators))
        else {
            return Err(undefined(f64::NAN));
        };
        let value = numerator.mean / denominator.mean;
        if !value.is_finite() {
            return Err(undefined(value));
        }
        let m = pairs.len() as f64;
        let without = |(y, x): &(f64, f64)| (m * numerator.mean - y) / (m * denominator.mean - x);
        let without = Estimate::of(&pairs.iter().map(without).collect::<Vec<_>>());
        // The standard error of m values, √(Σ(r − r̄)²/(m(m − 1))), is (m − 1) times too small.
        let standard_error = without.map_or(f64::NAN, |e| (m - 1.0) * e.standard_error);
        let contains_zero = denominator.interval.0 <= 0.0 && denominator.interval.1 >= 0.0;
        let half = match contains_zero || !standard_error.is_finite() {
            true => f64::INFINITY,
            false => student_t_95(pairs.len() - 1) * standard_error,
        };
        let (interval, count) = ((value - half, value + half), pairs.len());
        Ok(Self { value, standard_error, interval, numerator, denominator, count })
    }
}

impl MeanOfRatios {
    /// The mean of the ratios that are there; an error, which names `quantity`, when there are none.
    pub(super) fn of(ratios: &[Option<f64>], quantity: &'static str) -> Result<Self> {
        let values: Vec<f64> = ratios.iter().copied().flatten().collect();
        let none = Error::NonFinite { quantity, value: f64::NAN };
        let estimate = Estimate::of(&values).ok_or(none)?;
        Ok(Self { estimate, n_undefined: ratios.len() - values.len() })
    }
}
