//! What a network's outputs say about the labels: the distribution p(y | f).

use burn::config::Config;
use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, log_softmax};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use crate::error::{Error, Result};
use crate::params::{ParamSpace, finite, read};

/// The distribution p(y | f) of labels, given outputs f whose first dimension counts samples: an
/// exponential family log p(y | f) = ⟨f, T(y)⟩ − A(f) + const with the outputs as natural parameters
/// (Martens 2020, section 9.2). The predictions of a sample are independent, given f.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum Predictive {
    /// Classes with probabilities softmax(f) along the last dimension: cross entropy.
    Categorical,
    /// Each output is the logit of a yes: binary cross entropy.
    Bernoulli,
    /// Each output is the mean of a normal number: ½ squared error over the variance.
    Gaussian {
        /// σ² of the labels.
        variance: f64,
    },
}

impl Predictive {
    pub(super) fn check(self, rank: usize) -> Result<()> {
        match self {
            Self::Gaussian { variance } if !(variance > 0.0 && variance.is_finite()) => {
                let (setting, expected) = ("variance", "positive and finite");
                Err(Error::InvalidSetting { setting, value: variance.to_string(), expected })
            }
            Self::Categorical if rank < 2 => Err(Error::InvalidSetting {
                setting: "outputs",
                value: format!("of rank {rank}"),
                expected: "of shape [samples, .., classes] for a categorical distribution",
            }),
            _ => Ok(()),
        }
    }

    /// The log-partition function A(f): its sum over predictions, mean over samples. Its second
    /// derivative is the variance of T(y), which is the Fisher information of f.
    pub(super) fn log_partition<const D: usize>(self, f: Tensor<D>) -> Tensor<1> {
        let n_samples = f.dims()[0] as f64;
        let sum = match self {
            // Each f_k − log_softmax(f)_k is log Σ exp f.
            Self::Categorical => (f.clone() - log_softmax(f, D - 1)).mean_dim(D - 1).sum(),
            Self::Bernoulli => log_sigmoid(f.neg()).sum().neg(),
            Self::Gaussian { variance } => f.powi_scalar(2).sum().mul_scalar(0.5 / variance),
        };
        sum.mul_scalar(1.0 / n_samples)
    }

    /// −log p(y | f) + const = A(f) − ⟨f, T⟩, mean over samples.
    pub(super) fn surprise<const D: usize>(self, f: Tensor<D>, statistics: Tensor<D>) -> Tensor<1> {
        let n_samples = f.dims()[0] as f64;
        let linear = (f.clone() * statistics).sum().mul_scalar(1.0 / n_samples);
        self.log_partition(f) - linear
    }

    /// T(y) for `draws` independent draws of all labels, one behind the other along the first
    /// dimension: drawn on the host.
    pub(super) fn sample<const D: usize>(
        self,
        outputs: &Tensor<D>,
        draws: usize,
        seed: u64,
        space: &ParamSpace,
    ) -> Result<Tensor<D>> {
        let mut shape = outputs.dims();
        let n_classes = shape[D - 1];
        let f = read(outputs.clone().reshape([shape.iter().product::<usize>()]))?;
        if let Some(&value) = f.iter().find(|v| !v.is_finite()) {
            finite("an output of the network", value)?;
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let values: Vec<f64> = (0..draws)
            .flat_map(|_| match self {
                Self::Categorical => {
                    f.chunks(n_classes).flat_map(|f| one_hot(f, &mut rng)).collect()
                }
                Self::Bernoulli => {
                    let yes = |f: &f64| f64::from(rng.random::<f64>() < 1.0 / (1.0 + (-f).exp()));
                    f.iter().map(yes).collect::<Vec<_>>()
                }
                Self::Gaussian { variance } => {
                    let mut normal = || <_ as Distribution<f64>>::sample(&StandardNormal, &mut rng);
                    f.iter().map(|f| (f + variance.sqrt() * normal()) / variance).collect()
                }
            })
            .collect();
        shape[0] *= draws;
        Ok(space.tensor(values, shape).cast(outputs.dtype()))
    }
}

/// A one at a class drawn with probabilities softmax(f).
fn one_hot(f: &[f64], rng: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    let max = f.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = f.iter().map(|f| (f - max).exp()).collect();
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    let reached = |weight: &f64| {
        left -= weight;
        left < 0.0
    };
    // Rounding may leave a rest behind the last class.
    let class = weights.iter().position(reached).unwrap_or(f.len() - 1);
    (0..f.len()).map(|k| f64::from(u8::from(k == class))).collect()
}
