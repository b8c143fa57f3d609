//! Edges from the settings of burn's optimizers (feature `optim`).
//!
//! Most fields of burn's settings are private, so they are read the way burn itself stores them: as the text
//! of `Config`. Clipping of gradients is left aside: the edge is that of steps that are not clipped.

use burn::config::Config;
use burn::optim::{AdaGradConfig, AdamConfig, AdamWConfig, RmsPropConfig, SgdConfig};

use super::{
    AdaGradStabilityConfig, AdamStabilityConfig, Decay, RmsPropStabilityConfig, SgdStabilityConfig,
};
use crate::error::{Error, Result};

#[derive(Config, Debug)]
struct Penalty {
    penalty: f64,
}

#[derive(Config, Debug)]
struct Momentum {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
}

#[derive(Config, Debug)]
struct Sgd {
    weight_decay: Option<Penalty>,
    momentum: Option<Momentum>,
}

#[derive(Config, Debug)]
struct Adam {
    beta_1: f64,
    weight_decay: Option<Penalty>,
}

#[derive(Config, Debug)]
struct AdamW {
    beta_1: f64,
    weight_decay: f64,
    cautious_weight_decay: bool,
}

#[derive(Config, Debug)]
struct RmsProp {
    momentum: f64,
    weight_decay: Option<Penalty>,
}

#[derive(Config, Debug)]
struct AdaGrad {
    lr_decay: f64,
    weight_decay: Option<Penalty>,
}

fn read<T: Config>(settings: &impl ToString) -> Result<T> {
    T::load_binary(settings.to_string().as_bytes()).map_err(|error| Error::InvalidSetting {
        setting: "optimizer",
        value: error.to_string(),
        expected: "readable; build the settings of this module by hand",
    })
}

fn penalty(decay: Option<Penalty>) -> f64 {
    decay.map_or(0.0, |decay| decay.penalty)
}

impl SgdStabilityConfig {
    /// The settings of a burn optimizer at one learning rate.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] if burn stores its settings in a way that is not known.
    ///
    /// ```
    /// use burn::optim::{SgdConfig, momentum::MomentumConfig};
    /// use burn_sharpness::stability::SgdStabilityConfig;
    ///
    /// // burn's momentum is 0.9 by default, with a dampening of 0.1.
    /// let optimizer = SgdConfig::new().with_momentum(Some(MomentumConfig::new()));
    /// let edge = SgdStabilityConfig::from_burn(0.1, &optimizer)?.init()?;
    /// assert!((edge.threshold() - 2.0 * 1.9 / (0.9 * 0.1)).abs() < 1e-6);
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn from_burn(learning_rate: f64, optimizer: &SgdConfig) -> Result<Self> {
        let Sgd { weight_decay, momentum } = read(optimizer)?;
        let plain = Self::new(learning_rate).with_weight_decay(penalty(weight_decay));
        Ok(match momentum {
            None => plain,
            Some(Momentum { momentum, dampening, nesterov }) => {
                plain.with_momentum(momentum).with_dampening(dampening).with_nesterov(nesterov)
            }
        })
    }
}

impl AdamStabilityConfig {
    /// The settings of a burn Adam at one learning rate.
    ///
    /// # Errors
    /// As [`SgdStabilityConfig::from_burn`].
    pub fn from_adam(learning_rate: f64, optimizer: &AdamConfig) -> Result<Self> {
        let Adam { beta_1, weight_decay } = read(optimizer)?;
        let decay = penalty(weight_decay);
        Ok(Self::new(learning_rate).with_beta_1(beta_1).with_weight_decay(decay))
    }

    /// The settings of a burn AdamW at one learning rate. Its weight decay is 1e-4 by default.
    ///
    /// # Errors
    /// As [`SgdStabilityConfig::from_burn`], and [`Error::InvalidSetting`] for cautious weight decay,
    /// which depends on signs and is no linear recursion.
    pub fn from_adamw(learning_rate: f64, optimizer: &AdamWConfig) -> Result<Self> {
        let AdamW { beta_1, weight_decay, cautious_weight_decay } = read(optimizer)?;
        if cautious_weight_decay && weight_decay != 0.0 {
            return Err(Error::InvalidSetting {
                setting: "cautious_weight_decay",
                value: "true".into(),
                expected: "false, or without weight decay",
            });
        }
        let settings = Self::new(learning_rate).with_beta_1(beta_1);
        Ok(settings.with_weight_decay(weight_decay).with_decay(Decay::Decoupled))
    }
}

impl RmsPropStabilityConfig {
    /// The settings of a burn RMSProp at one learning rate.
    ///
    /// # Errors
    /// As [`SgdStabilityConfig::from_burn`].
    pub fn from_burn(learning_rate: f64, optimizer: &RmsPropConfig) -> Result<Self> {
        let RmsProp { momentum, weight_decay } = read(optimizer)?;
        Ok(Self::new(learning_rate, momentum).with_weight_decay(penalty(weight_decay)))
    }
}

impl AdaGradStabilityConfig {
    /// The settings of a burn AdaGrad at one learning rate, at its step 1.
    ///
    /// # Errors
    /// As [`SgdStabilityConfig::from_burn`].
    pub fn from_burn(learning_rate: f64, optimizer: &AdaGradConfig) -> Result<Self> {
        let AdaGrad { lr_decay, weight_decay } = read(optimizer)?;
        let settings = Self::new(learning_rate).with_lr_decay(lr_decay);
        Ok(settings.with_weight_decay(penalty(weight_decay)))
    }
}
