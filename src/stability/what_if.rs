//! What follows for the full batch from a change of batch size or learning rate.
//!
//! Training brings batch sharpness to its edge, not full-batch sharpness; these relations say where the latter
//! ends up. Each states what it assumes. For the learning rate, see
//! [`Stability::largest_learning_rate`].

use super::{Batching, Stability, positive};
use crate::error::{Error, Result};
use crate::params::finite;

/// The law gap(b) = c (1/b − 1/n) of the difference between mini-batch (or batch) sharpness and full-batch
/// sharpness at frozen weights.
///
/// Second-order perturbation theory gives it for batches that are large enough for the gap to be small against
/// the distance of the eigenvalues, and the orthogonal model for all; measured exponents in training runs lie
/// between 0.7 and 1.1 (arXiv 2412.20553, section 4). Check it by measuring at two batch sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GapLaw {
    coefficient: f64,
    n_samples: usize,
}

impl GapLaw {
    /// The law with coefficient c, in units of curvature, for a data set of n samples.
    ///
    /// # Errors
    /// [`Error::NonFinite`]; [`Error::InvalidSetting`] for a negative coefficient or no samples.
    pub fn new(coefficient: f64, n_samples: usize) -> Result<Self> {
        finite("the coefficient of the gap", coefficient)?;
        let fail =
            |setting, value, expected| Err(Error::InvalidSetting { setting, value, expected });
        if coefficient < 0.0 {
            let expected =
                "no less than zero: mini-batches are at least as sharp as the full batch";
            return fail("gap", coefficient.to_string(), expected);
        }
        if n_samples == 0 {
            return fail("n_samples", n_samples.to_string(), "at least 1");
        }
        Ok(Self { coefficient, n_samples })
    }

    /// The law through one pair of measurements at the same weights: c = (mini − full)/(1/b − 1/n).
    ///
    /// # Errors
    /// [`Error::BatchSize`] unless b < n; as [`new`](Self::new) for a negative gap, which a mean over few
    /// batches can have by chance.
    pub fn through(
        mini_batch: f64,
        full_batch: f64,
        batch_size: usize,
        n_samples: usize,
    ) -> Result<Self> {
        let distance = distance(batch_size, n_samples)?;
        if distance == 0.0 {
            return Err(Error::BatchSize { batch_size, n_samples });
        }
        Self::new((mini_batch - full_batch) / distance, n_samples)
    }

    /// c.
    pub fn coefficient(&self) -> f64 {
        self.coefficient
    }

    /// n.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// The gap at batch size b.
    ///
    /// # Errors
    /// [`Error::BatchSize`].
    pub fn gap(&self, batch_size: usize) -> Result<f64> {
        Ok(self.coefficient * distance(batch_size, self.n_samples)?)
    }

    /// Where full-batch sharpness ends up when batch sharpness is at its threshold: threshold − gap(b).
    ///
    /// Assumes that c stays as it was measured while training moves on, and that training is long enough for
    /// progressive sharpening to reach the edge. Negative: the law does not reach to this batch size.
    ///
    /// # Errors
    /// [`Error::NonFinite`], [`Error::BatchSize`].
    pub fn full_batch_level(&self, threshold: f64, batch_size: usize) -> Result<f64> {
        Ok(finite("the threshold", threshold)? - self.gap(batch_size)?)
    }

    /// The smallest batch for which batch sharpness, full + gap(b), is within the threshold at the present
    /// weights: b ≥ 1/((threshold − full)/c + 1/n). `None` where the full batch is beyond it already.
    ///
    /// Assumes a threshold that does not depend on b, as without momentum.
    ///
    /// # Errors
    /// [`Error::NonFinite`].
    pub fn smallest_batch_size(&self, full_batch: f64, threshold: f64) -> Result<Option<usize>> {
        let room = finite("the threshold", threshold)? - finite("the sharpness", full_batch)?;
        // Rounding must not put the edge itself beyond the edge, or push an exact solution to the next size.
        if room < -4.0 * f64::EPSILON * threshold.abs() {
            return Ok(None);
        }
        if self.coefficient == 0.0 {
            return Ok(Some(1));
        }
        let room = room.max(0.0);
        let smallest = 1.0 / (room / self.coefficient + 1.0 / self.n_samples as f64);
        let rounded = (smallest * (1.0 - 4.0 * f64::EPSILON)).ceil() as usize;
        Ok(Some(rounded.clamp(1, self.n_samples)))
    }
}

impl Stability {
    /// Full-batch sharpness of the orthogonal model at this edge: (b/n)·threshold, (b/n)·2/η without
    /// momentum. `None` unless made with [`Batching::Of`].
    ///
    /// Real data are not orthogonal: this is the lowest level that the edge allows, since
    /// H ⪰ (b/n)·H_B for losses with no negative curvature; see
    /// [`GapLaw::full_batch_level`] for a prediction from measurements.
    pub fn orthogonal_full_batch_level(&self) -> Option<f64> {
        let Batching::Of { batch_size, n_samples } = self.recursion.batching else {
            return None;
        };
        Some(self.threshold * batch_size as f64 / n_samples as f64)
    }

    /// A full-batch level after a change of η or b: `measured` at the old edge, times the ratio of the
    /// [orthogonal levels](Self::orthogonal_full_batch_level), which is (b'/b)(η/η') without momentum.
    ///
    /// Assumes that the run was at the edge before, that it reaches it again, and that the share of the
    /// threshold which the full batch takes scales as in the orthogonal model: an extrapolation, good for
    /// small changes while full-batch sharpness is far below the threshold, and capped at the threshold.
    ///
    /// # Errors
    /// [`Error::NonFinite`]; [`Error::InvalidSetting`] for a measured level that is not positive, or unless
    /// both are made with [`Batching::Of`].
    pub fn full_batch_level_after(&self, measured: f64, after: &Self) -> Result<f64> {
        finite("the measured level", measured)?;
        positive("measured", measured)?;
        let levels = self.orthogonal_full_batch_level().zip(after.orthogonal_full_batch_level());
        let Some((before, level)) = levels else {
            return Err(Error::InvalidSetting {
                setting: "batching",
                value: format!("{:?}, {:?}", self.recursion.batching, after.recursion.batching),
                expected: "`Batching::Of` before and after",
            });
        };
        Ok((measured * level / before).min(after.threshold))
    }
}

/// 1/b − 1/n.
fn distance(batch_size: usize, n_samples: usize) -> Result<f64> {
    if batch_size == 0 || batch_size > n_samples {
        return Err(Error::BatchSize { batch_size, n_samples });
    }
    Ok(1.0 / batch_size as f64 - 1.0 / n_samples as f64)
}
