//! diag A from products with random signs (Bekas, Kokiopoulou and Saad 2007).
//!
//! ```text
//! d = Σₖ zₖ ⊙ A·zₖ ⊘ Σₖ zₖ ⊙ zₖ,   z = ±1:   d = mean of z ⊙ A·z,   Var[dᵢ] = Σ_{j≠i} Aᵢⱼ²/m
//! ```
//!
//! With signs the denominator is m, and the variance is the least that independent entries can have.

use burn::config::Config;
use burn::tensor::Tensor;

use super::probe::{Probe, at_least, groups};
use crate::error::Result;
use crate::operator::LinearOperator;
use crate::params::{ParamVector, finite};
use crate::statistics::student_t_95;

/// Settings of [`Diagonal`].
#[derive(Config, Debug)]
pub struct DiagonalConfig {
    /// Probes m, at least 2: the standard error comes from their differences.
    #[config(default = 64)]
    pub num_probes: usize,
    /// Vectors that are multiplied at once.
    #[config(default = 8)]
    pub at_once: usize,
    /// Seed of the probes.
    #[config(default = 0)]
    pub seed: u64,
}

impl DiagonalConfig {
    /// The estimator.
    pub fn init(&self) -> Diagonal {
        Diagonal { config: self.clone() }
    }
}

/// An estimator of the diagonal: see the [table](crate::spectrum).
#[derive(Clone, Debug)]
pub struct Diagonal {
    config: DiagonalConfig,
}

/// The diagonal, entry by entry with its error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiagonalEstimate {
    /// The mean of z ⊙ A·z: d, without bias.
    pub diagonal: ParamVector,
    /// s/√m of each entry, with the unbiased standard deviation s over the probes.
    pub standard_error: ParamVector,
    /// Probes m.
    pub num_probes: usize,
    /// Products.
    pub n_applies: usize,
}

impl DiagonalEstimate {
    /// Half of the 95% interval of each entry by itself, t·standard error with Student's t for m − 1
    /// degrees of freedom: of many entries, one in twenty is further off.
    pub fn half_width(&self) -> ParamVector {
        self.standard_error.scale(student_t_95(self.num_probes - 1))
    }
}

impl Diagonal {
    /// Estimates the diagonal of an operator. Cost: m products. Mean and squares are updated on the
    /// device, probe by probe (Welford 1962): in f32 too nothing cancels.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) for fewer than two probes,
    /// [`Error::NonFinite`](crate::Error::NonFinite) for a product that is not finite, and what the
    /// operator raises.
    pub fn estimate(&self, operator: &dyn LinearOperator) -> Result<DiagonalEstimate> {
        let DiagonalConfig { num_probes, at_once, seed } = self.config;
        at_least("num_probes", num_probes, 2, "at least 2")?;
        at_least("at_once", at_once, 1, "at least 1")?;
        let (space, before) = (operator.space(), operator.n_applies());
        let mut mean: Tensor<1> = space.zeros().tensor();
        let mut squares = mean.clone();
        let mut count = 0.0;
        for group in groups(num_probes, at_once) {
            let probes = Probe::Rademacher.block(space, seed, group)?;
            let products = operator.apply_block(&probes)?;
            for (probe, product) in probes.vectors().iter().zip(products.vectors()) {
                let value = probe.tensor() * product.tensor();
                count += 1.0;
                let off = value.clone() - mean.clone();
                mean = mean + off.clone().div_scalar(count);
                squares = squares + off * (value - mean.clone());
            }
        }
        let variance = squares.div_scalar(count * (count - 1.0));
        let standard_error = space.vector(variance.clamp_min(0.0).sqrt());
        let diagonal = space.vector(mean);
        finite("a product of the operator", diagonal.norm()?)?;
        let n_applies = operator.n_applies() - before;
        Ok(DiagonalEstimate { diagonal, standard_error, num_probes, n_applies })
    }
}
