//! Edges of stability: which curvature an optimizer can live with, as a ratio (1 = edge), phases of a
//! training run, and what follows from a change of learning rate or batch size.
//!
//! An optimizer with frozen curvature is a linear recursion; the table has the curvature at which it stops
//! to contract (η learning rate, β momentum, d dampening, w weight decay, P the diagonal preconditioner).
//!
//! | optimizer | quantity | threshold |
//! |---|---|---|
//! | gradient descent | λ_max(H) | 2/η − w |
//! | heavy ball v' = βv + (1−d)g | λ_max(H) | 2(1+β)/((1−d)η) − w |
//! | moving average, d = β | λ_max(H) | 2(1+β)/((1−β)η) − w |
//! | Nesterov, step g + βv' | λ_max(H) | 2(1+β)/((1+β+β(1−d))η) − w; (2+2β)/((1+2β)η) without d and w |
//! | SAM, radius ρ | λ_max(H) | λ(1+λρ/‖g‖) = threshold above; (‖g‖/2ρ)(√(1+8ρ/(η‖g‖))−1) alone |
//! | Adam, AdamW | λ_max(P⁻¹H) | 2(1+β₁)/((1−β₁)η), 38/η at β₁ = 0.9 |
//! | RMSProp with momentum β, AdaGrad (β = 0) | λ_max(P⁻¹H) | 2(1+β)/η |
//!
//! w in the table is L2 decay. Decoupled decay (x multiplied by 1 − ηw) replaces the 2 of a numerator by
//! 2 − ηw and subtracts nothing else: the same for gradient descent, but 19 times as much for AdamW at
//! β₁ = 0.9. With a preconditioner, L2 decay belongs to the measured matrix, P⁻¹(H + wI).
//!
//! The sources: Cohen et al. 2021 (arXiv 2103.00065) for momentum, Cohen et al. 2022 (arXiv 2207.14484)
//! for preconditioners, Long and Bartlett 2023 (arXiv 2309.12488) for SAM.
//!
//! With mini-batches the quantity is batch sharpness, E[g_Bᵀ H_B g_B / ‖g_B‖²] (arXiv 2412.20553), in the
//! preconditioned case E[uᵀ H_B u / (g_Bᵀ u)] with u = P⁻¹g_B, and [`Batching`] says where its edge is.
//! Mini-batch sharpness E[λ_max(H_B)] is no smaller, so its ratio is an upper bound of that of batch sharpness;
//! at the edge it is seen between 1 and 2.
//!
//! What the thresholds do not say: they are for curvature that stands still and a preconditioner that does;
//! curvature below zero is unstable too, whatever its ratio; and reaching 1 is no divergence, since the loss
//! is not quadratic (self-stabilization).
//!
//! Beside the ratio, with H and ∇L of the full batch: the expected change of the full loss in one step of
//! plain SGD is −η‖∇L‖² + ½η² E[g_Bᵀ H g_B] to second order, zero where gradient-noise interaction
//! GNI = E[g_Bᵀ H g_B]/‖∇L‖² is 2/η. Noise alone brings it there, on a fixed quadratic too, so it shows no
//! edge; batch sharpness at 2/η does.
//!
//! ```
//! use burn_sharpness::stability::{Batching, SgdStabilityConfig};
//!
//! // Momentum 0.9 on batches of 32 out of 50 000 samples.
//! let edge = SgdStabilityConfig::new(0.05)
//!     .with_momentum(0.9)
//!     .with_batching(Batching::Of { batch_size: 32, n_samples: 50_000 })
//!     .init()?;
//! let measured = 3.0; // batch sharpness
//! println!("{} is at {:.2} of its edge", edge.quantity(), edge.ratio(measured)?);
//! println!("largest stable learning rate {:.3}", edge.largest_learning_rate(measured)?);
//!
//! // A schedule is a function of the step: ask for the edge at the rate of the step.
//! let schedule = |step: usize| 0.05 * 0.99f64.powi(step as i32);
//! let later = edge.at(schedule(100))?;
//! assert!(later.threshold() > edge.threshold());
//! # Ok::<(), burn_sharpness::Error>(())
//! ```

#[cfg(feature = "optim")]
mod burn_optim;
mod level;
mod noise;
pub mod phase;
mod recursion;
mod rules;
mod what_if;

use std::fmt;

use burn::config::Config;

use crate::error::{Error, Result};
use crate::estimator::Estimate;
use crate::params::finite;
use recursion::Recursion;

pub use level::{Drift, Level};
pub use noise::{NoiseKernel, noise_kernel, non_uniformity_limit};
pub use phase::{Phase, PhaseDetector, PhaseDetectorConfig};
pub use rules::{
    AdaGradStabilityConfig, AdamStabilityConfig, Decay, RmsPropStabilityConfig, Sam,
    SgdStabilityConfig,
};
pub use what_if::GapLaw;

/// What a threshold is to be compared with. `Display` prints the formula.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Quantity {
    /// λ_max(H), the full-batch sharpness.
    FullBatchSharpness,
    /// E[g_Bᵀ H_B g_B / ‖g_B‖²].
    BatchSharpness,
    /// λ_max(P⁻¹(H + wI)), P the optimizer's diagonal preconditioner.
    PreconditionedSharpness {
        /// L2 decay w, part of the curvature.
        l2_decay: f64,
    },
    /// E[uᵀ (H_B + wI) u / (g_Bᵀ u)] with u = P⁻¹ g_B, where g_B includes w·x.
    PreconditionedBatchSharpness {
        /// L2 decay w, part of the curvature and of the gradient.
        l2_decay: f64,
    },
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FullBatchSharpness => write!(f, "λ_max(H)"),
            Self::BatchSharpness => write!(f, "E[gᵀ H g / gᵀg] over batches"),
            Self::PreconditionedSharpness { l2_decay: 0.0 } => write!(f, "λ_max(P⁻¹ H)"),
            Self::PreconditionedSharpness { l2_decay } => write!(f, "λ_max(P⁻¹ (H + {l2_decay}))"),
            Self::PreconditionedBatchSharpness { l2_decay: 0.0 } => {
                write!(f, "E[uᵀ H u / gᵀu] over batches, u = P⁻¹ g")
            }
            Self::PreconditionedBatchSharpness { l2_decay } => {
                write!(f, "E[uᵀ (H + {l2_decay}) u / gᵀu] over batches, u = P⁻¹ g")
            }
        }
    }
}

/// Which part of the data a step sees.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum Batching {
    /// All of it: the threshold is one of λ_max.
    Full,
    /// Nearly all of it: the threshold of the full batch, as one of batch sharpness.
    Large,
    /// Hardly any: each gradient has moved the parameters as far as momentum carries it before its
    /// direction is seen again. 2(1−β)/((1−d)η) for heavy ball and for Nesterov without dampening,
    /// 2/η for moving averages (compare arXiv 2604.14108).
    Small,
    /// The exact mean-square edge of a model with `n_samples` orthogonal samples and batches of `batch_size`
    /// drawn anew at each step, in which batch and mini-batch sharpness agree: for heavy ball
    /// 2(1−β²)/((1+β) − 2β/q)/((1−d)η) with q = n/b, between the two limits, and 2/η for every
    /// batch size without momentum.
    Of {
        /// Samples b of a batch.
        batch_size: usize,
        /// Samples n of the data set.
        n_samples: usize,
    },
}

/// The edge of stability of one optimizer at one learning rate.
///
/// Made by the `init` of [`SgdStabilityConfig`], [`AdamStabilityConfig`], [`RmsPropStabilityConfig`] and
/// [`AdaGradStabilityConfig`]. Plain numbers: no products, no state.
#[derive(Clone, Debug, PartialEq)]
pub struct Stability {
    recursion: Recursion,
    quantity: Quantity,
    learning_rate: f64,
    /// Factor between the learning rate and that of the recursion: bias correction, decay.
    rate_factor: f64,
    threshold: f64,
}

impl Stability {
    fn new(
        recursion: Recursion,
        quantity: Quantity,
        learning_rate: f64,
        rate_factor: f64,
    ) -> Result<Self> {
        positive("learning_rate", learning_rate)?;
        let threshold = recursion.threshold(learning_rate * rate_factor);
        if !(threshold > 0.0 && threshold.is_finite()) {
            // The decay alone is beyond the edge, or the rate is out of range.
            let (setting, value) = ("learning_rate", learning_rate.to_string());
            let expected = "so small that weight decay alone is stable, with a finite threshold";
            return Err(Error::InvalidSetting { setting, value, expected });
        }
        Ok(Self { recursion, quantity, learning_rate, rate_factor, threshold })
    }

    /// The value of [`quantity`](Self::quantity) at the edge, in units of curvature: of the loss, or of the
    /// loss over the preconditioner.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// What to measure.
    pub fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// The learning rate η.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// value / threshold: below 1 stable, 1 the edge.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for NaN and infinity.
    pub fn ratio(&self, value: f64) -> Result<f64> {
        Ok(finite("the measured curvature", value)? / self.threshold)
    }

    /// The ratio of an estimate, with its standard error, interval and maximum: all divided by the threshold,
    /// which is exact.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a mean that is NaN or infinite.
    pub fn ratio_of(&self, estimate: &Estimate) -> Result<Estimate> {
        let (low, high) = estimate.interval;
        Ok(Estimate {
            mean: self.ratio(estimate.mean)?,
            standard_error: estimate.standard_error / self.threshold,
            interval: (low / self.threshold, high / self.threshold),
            max: estimate.max / self.threshold,
            count: estimate.count,
        })
    }

    /// The same optimizer at another learning rate: the one that a schedule has reached. For a rate that
    /// changes slowly against the recursion's own time, 1/(1−β) steps.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a rate that is not positive and finite, or at which weight decay
    /// alone is unstable.
    pub fn at(&self, learning_rate: f64) -> Result<Self> {
        Self::new(self.recursion.clone(), self.quantity, learning_rate, self.rate_factor)
    }

    /// The learning rate whose threshold is `value`, all else equal: the largest one that is stable at
    /// this curvature, infinite where every rate is.
    ///
    /// Assumes that the measured value stays as it is. In training it does not: at a smaller rate it
    /// rises to the new edge.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for NaN and infinity.
    pub fn largest_learning_rate(&self, value: f64) -> Result<f64> {
        finite("the measured curvature", value)?;
        // The threshold falls with the rate. Bisection of the exponent, then of the rate.
        let stable = |rate: f64| self.recursion.threshold(rate * self.rate_factor) >= value;
        let (mut low, mut high) = (1e-290, 1e290);
        if stable(high) {
            return Ok(f64::INFINITY);
        }
        loop {
            let middle =
                if high > 2.0 * low { low.sqrt() * high.sqrt() } else { 0.5 * (low + high) };
            if middle <= low || middle >= high {
                return Ok(low);
            }
            if stable(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
    }
}

/// `value` if it is positive and finite, or the error that names the setting.
fn positive(setting: &'static str, value: f64) -> Result<f64> {
    in_range(setting, value, value > 0.0 && value.is_finite(), "positive and finite")
}

fn in_range(setting: &'static str, value: f64, fits: bool, expected: &'static str) -> Result<f64> {
    if fits {
        return Ok(value);
    }
    Err(Error::InvalidSetting { setting, value: value.to_string(), expected })
}
