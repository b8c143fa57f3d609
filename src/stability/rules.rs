//! Settings of the optimizers, and the recursion and quantity that each of them has.

use burn::config::Config;

use super::recursion::Recursion;
use super::{Batching, Quantity, Stability, in_range, positive};
use crate::error::{Error, Result};

/// How weight decay w acts.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Decay {
    /// w·x is added to the gradient, as by burn's `WeightDecayConfig`.
    L2,
    /// The parameters are multiplied by 1 − ηw in each step, as by burn's AdamW.
    Decoupled,
}

/// Sharpness-aware minimization: the gradient is taken at x + ρ g/‖g‖.
#[derive(Config, Debug, Copy, PartialEq)]
pub struct Sam {
    /// Radius ρ.
    pub rho: f64,
    /// ‖g‖ where the curvature is measured: of the full gradient, or with mini-batches a typical norm of
    /// theirs.
    pub gradient_norm: f64,
}

/// Gradient descent and SGD, with heavy-ball, averaged or Nesterov momentum, weight decay and SAM.
///
/// The momentum is burn's and PyTorch's: v' = βv + (1−d)g, step η·v', with Nesterov η(g + βv').
#[derive(Config, Debug)]
pub struct SgdStabilityConfig {
    /// η.
    pub learning_rate: f64,
    /// β, from 0 to below 1.
    #[config(default = 0.0)]
    pub momentum: f64,
    /// d, from 0 to below 1; d = β makes v a moving average. burn's `MomentumConfig` has 0.1 as its
    /// default, PyTorch 0.
    #[config(default = 0.0)]
    pub dampening: f64,
    /// Whether the step is g + βv'.
    #[config(default = false)]
    pub nesterov: bool,
    /// w.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// How w acts.
    #[config(default = "Decay::L2")]
    pub decay: Decay,
    /// Radius and gradient norm of SAM.
    #[config(default = "None")]
    pub sam: Option<Sam>,
    /// What a step sees.
    #[config(default = "Batching::Full")]
    pub batching: Batching,
}

impl SgdStabilityConfig {
    /// The edge.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a setting outside its range, for weight decay that is unstable
    /// by itself, and for weight decay with [`Batching::Small`], where no limit exists;
    /// [`Error::BatchSize`] for batches that do not fit the data set.
    pub fn init(&self) -> Result<Stability> {
        let sam = match self.sam {
            None => 0.0,
            Some(Sam { rho, gradient_norm }) => {
                non_negative("rho", rho)? / positive("gradient_norm", gradient_norm)?
            }
        };
        let dampening = fraction("dampening", self.dampening)?;
        let recursion = Recursion {
            gain: 1.0 - dampening,
            nesterov: self.nesterov,
            sam,
            ..recursion(self.momentum, self.weight_decay, self.decay, self.batching)?
        };
        let quantity = match self.batching {
            Batching::Full => Quantity::FullBatchSharpness,
            _ => Quantity::BatchSharpness,
        };
        Stability::new(recursion, quantity, self.learning_rate, 1.0)
    }
}

/// Adam with [`Decay::L2`], AdamW with [`Decay::Decoupled`]: a moving average of gradients, times P⁻¹.
///
/// P is what a step divides by: the diagonal of √(m₂/(1−β₂ᵗ)) + ε, with burn's second moment m₂ after t
/// steps (AMSGrad: its maximum). β₂ moves P, not the edge.
#[derive(Config, Debug)]
pub struct AdamStabilityConfig {
    /// η.
    pub learning_rate: f64,
    /// β₁.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// w.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// How w acts.
    #[config(default = "Decay::L2")]
    pub decay: Decay,
    /// Steps t that the optimizer has made, for its correction of early averages: the rate is
    /// η/(1−β₁ᵗ). `None` is a long run, where the correction is gone.
    #[config(default = "None")]
    pub n_steps: Option<usize>,
    /// What a step sees.
    #[config(default = "Batching::Full")]
    pub batching: Batching,
}

impl AdamStabilityConfig {
    /// The edge.
    ///
    /// # Errors
    /// As [`SgdStabilityConfig::init`], and [`Error::InvalidSetting`] for L2 decay with batches that
    /// are [`Small`](Batching::Small) or of a [`size`](Batching::Of): behind a preconditioner it decays
    /// each direction at its own rate.
    pub fn init(&self) -> Result<Stability> {
        let correction = match self.n_steps {
            None => 1.0,
            Some(n) => {
                in_range("n_steps", n as f64, n > 0, "at least 1")?;
                1.0 - fraction("beta_1", self.beta_1)?.powf(n as f64)
            }
        };
        let (beta, decay) = (fraction("beta_1", self.beta_1)?, self.weight_decay);
        let average = |w| -> Result<Recursion> {
            // The decoupled decay is not corrected: its product with the corrected rate must be ηw.
            let rule = recursion(beta, w * correction, self.decay, self.batching)?;
            Ok(Recursion { gain: 1.0 - beta, ..rule })
        };
        preconditioned(
            average,
            self.decay,
            decay,
            self.batching,
            self.learning_rate,
            1.0 / correction,
        )
    }
}

/// RMSProp, with burn's and PyTorch's momentum behind the preconditioner: v' = βv + P⁻¹g.
///
/// P is the diagonal of √m₂ + ε, with the moving average m₂ of squared gradients (centered: minus the
/// squared average).
#[derive(Config, Debug)]
pub struct RmsPropStabilityConfig {
    /// η.
    pub learning_rate: f64,
    /// β; burn's `RmsPropConfig` has 0.9 as its default, PyTorch 0.
    pub momentum: f64,
    /// w of L2 decay.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// What a step sees.
    #[config(default = "Batching::Full")]
    pub batching: Batching,
}

impl RmsPropStabilityConfig {
    /// The edge.
    ///
    /// # Errors
    /// As [`AdamStabilityConfig::init`].
    pub fn init(&self) -> Result<Stability> {
        let momentum = fraction("momentum", self.momentum)?;
        let (decay, batching) = (self.weight_decay, self.batching);
        let rule = |w| recursion(momentum, w, Decay::L2, batching);
        preconditioned(rule, Decay::L2, decay, batching, self.learning_rate, 1.0)
    }
}

/// AdaGrad: gradient descent behind the preconditioner, at the rate η/(1 + (t−1)·decay).
///
/// P is the diagonal of √(sum of squared gradients) + ε. It grows, so a curvature that stands still
/// leaves the edge by itself.
#[derive(Config, Debug)]
pub struct AdaGradStabilityConfig {
    /// η.
    pub learning_rate: f64,
    /// Decay of the learning rate, `lr_decay` of burn's `AdaGradConfig`.
    #[config(default = 0.0)]
    pub lr_decay: f64,
    /// Number t of the step, from 1: the decay needs it.
    #[config(default = 1)]
    pub step: usize,
    /// w of L2 decay.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// What a step sees.
    #[config(default = "Batching::Full")]
    pub batching: Batching,
}

impl AdaGradStabilityConfig {
    /// The edge.
    ///
    /// # Errors
    /// As [`AdamStabilityConfig::init`].
    pub fn init(&self) -> Result<Stability> {
        let lr_decay = non_negative("lr_decay", self.lr_decay)?;
        in_range("step", self.step as f64, self.step > 0, "at least 1")?;
        let factor = 1.0 / (1.0 + (self.step - 1) as f64 * lr_decay);
        let (decay, batching) = (self.weight_decay, self.batching);
        let rule = |w| recursion(0.0, w, Decay::L2, batching);
        preconditioned(rule, Decay::L2, decay, batching, self.learning_rate, factor)
    }
}

/// An optimizer behind a preconditioner: L2 decay goes to the quantity, decoupled decay to the rule.
fn preconditioned(
    rule: impl Fn(f64) -> Result<Recursion>,
    decay: Decay,
    weight_decay: f64,
    batching: Batching,
    learning_rate: f64,
    rate_factor: f64,
) -> Result<Stability> {
    let (inside, l2_decay) = match decay {
        Decay::L2 => (0.0, non_negative("weight_decay", weight_decay)?),
        Decay::Decoupled => (weight_decay, 0.0),
    };
    let whole = matches!(batching, Batching::Full | Batching::Large);
    let expected = "zero or decoupled with small batches behind a preconditioner";
    in_range("weight_decay", weight_decay, whole || l2_decay == 0.0, expected)?;
    let quantity = match batching {
        Batching::Full => Quantity::PreconditionedSharpness { l2_decay },
        _ => Quantity::PreconditionedBatchSharpness { l2_decay },
    };
    Stability::new(rule(inside)?, quantity, learning_rate, rate_factor)
}

/// Heavy ball with the given momentum and decay, validated.
fn recursion(
    momentum: f64,
    weight_decay: f64,
    decay: Decay,
    batching: Batching,
) -> Result<Recursion> {
    let decays = non_negative("weight_decay", weight_decay)? > 0.0;
    match batching {
        Batching::Of { batch_size, n_samples } if batch_size == 0 || batch_size > n_samples => {
            return Err(Error::BatchSize { batch_size, n_samples });
        }
        Batching::Small => {
            // Between two rare visits of a direction the decay alone makes it contract.
            let expected = "zero with `Batching::Small`; give the sizes with `Batching::Of`";
            in_range("weight_decay", weight_decay, !decays, expected)?;
        }
        _ => {}
    }
    let (decoupled_decay, l2_decay) = match decay {
        Decay::L2 => (0.0, weight_decay),
        Decay::Decoupled => (weight_decay, 0.0),
    };
    let momentum = fraction("momentum", momentum)?;
    let (gain, nesterov, sam) = (1.0, false, 0.0);
    Ok(Recursion { momentum, gain, nesterov, decoupled_decay, l2_decay, sam, batching })
}

fn non_negative(setting: &'static str, value: f64) -> Result<f64> {
    in_range(setting, value, value >= 0.0 && value.is_finite(), "zero or positive, and finite")
}

fn fraction(setting: &'static str, value: f64) -> Result<f64> {
    in_range(setting, value, (0.0..1.0).contains(&value), "from 0 to below 1")
}
