//! Gradient descent with noise of the size that mini-batches have.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Tensor, TensorData};
use burn_sharpness::observe::Measure;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::variance;
use crate::experiment::schedule::Stage;
use crate::experiment::update::{Update, check_loss};
use crate::support::error::{ExampleError, Result};
use crate::support::mlp::{Batch, Mlp, loss};

/// What is added to the gradient of all samples. Σ is the covariance of the samples' gradients, b the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// Nothing: gradient descent
    None,
    /// Mini-batches: SGD
    Sampling,
    /// Normal with covariance Σ/b
    Directional,
    /// Normal with covariance diag(Σ)/b
    Diagonal,
    /// Normal with covariance tr(Σ)/(p·b) times the identity, for p parameters
    Isotropic,
}

impl Noise {
    pub fn describe(self) -> &'static str {
        match self {
            Self::None => "gradient descent",
            Self::Sampling => "SGD",
            Self::Directional => "directional noise",
            Self::Diagonal => "diagonal noise",
            Self::Isotropic => "isotropic noise",
        }
    }

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sampling => "sampling",
            Self::Directional => "directional",
            Self::Diagonal => "diagonal",
            Self::Isotropic => "isotropic",
        }
    }

    /// The covariance of what is added, for the record.
    pub fn covariance(self) -> &'static str {
        match self {
            Self::None => "zero",
            Self::Sampling => "that of batches of shuffled epochs",
            Self::Directional => "Σ/b with divisor n in Σ, without the factor (n − b)/(n − 1)",
            Self::Diagonal => {
                "diag(Σ)/b with divisor n − 1 in Σ, without the factor (n − b)/(n − 1)"
            }
            Self::Isotropic => {
                "tr(Σ)/(p·b) times the identity with divisor n − 1 in Σ, without the factor (n − b)/(n − 1)"
            }
        }
    }
}

/// An update by the gradient of all samples and noise. The step's number seeds the noise, so that a run that goes
/// on needs to know no generator.
pub struct NoisyDescent<'a> {
    noise: Noise,
    data: &'a Batch,
    n_params: usize,
    seed: u64,
    refresh: usize,
    optimizer: ModuleOptimizer,
    /// For diagonal and isotropic noise.
    deviations: Option<Deviations>,
}

/// The standard deviations of one sample's gradient, of all parameters one after the other.
#[derive(Module, Debug)]
struct Deviations {
    values: Param<Tensor<1>>,
}

const FILE: &str = "deviations.bpk";

impl<'a> NoisyDescent<'a> {
    /// For a training that begins with `model`. Variances are computed anew every `refresh` steps.
    pub fn new(noise: Noise, model: &Mlp, data: &'a Batch, seed: u64, refresh: usize) -> Self {
        let (n_params, optimizer) = (model.num_params(), SgdConfig::new().init());
        Self { noise, data, n_params, seed, refresh, optimizer, deviations: None }
    }

    fn normal(&self, step: usize, count: usize) -> Vec<f32> {
        let stream = self.seed ^ (step as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
        (0..count).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    /// The samples' weights 1/n + ((I − 11ᵀ/n)ξ)ᵢ/√(nb), ξ standard normal: with them the weighted sum of gradients
    /// has the mean gradient as its mean and the covariance Σ/b, Σ with divisor n. Batches without replacement
    /// have that times (n − b)/(n − 1), which is left out as in the paper's code.
    fn weights(&self, step: usize, batch_size: usize) -> Tensor<1> {
        let n = self.data.0.dims()[0];
        let xi = self.normal(step, n);
        let mean = xi.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
        let scale = 1.0 / ((n * batch_size) as f64).sqrt();
        let weight = |x: f32| (1.0 / n as f64 + scale * (f64::from(x) - mean)) as f32;
        let weights: Vec<f32> = xi.into_iter().map(weight).collect();
        Tensor::from_data(TensorData::new(weights, [n]), &self.data.0.device())
    }

    /// The gradients that the step follows, and the loss for those who watch.
    fn gradients(
        &mut self,
        step: usize,
        stage: &Stage,
        model: &Mlp,
        batch: Batch,
    ) -> Result<(GradientsParams, f64)> {
        let read = |loss: &Tensor<1>| check_loss(loss.clone().into_scalar(), step, stage.lr);
        let (followed, value) = match self.noise {
            Noise::Sampling => {
                let loss = loss(model, batch);
                let value = read(&loss)?;
                (loss, value)
            }
            Noise::Directional => {
                let (features, one_hot) = self.data.clone();
                let errors = (model.forward(features) - one_hot).powi_scalar(2).sum_dim(1);
                let errors = errors.flatten::<1>(0, 1);
                let value = read(&errors.clone().mean())?;
                ((errors * self.weights(step, stage.batch_size)).sum(), value)
            }
            Noise::None | Noise::Diagonal | Noise::Isotropic => {
                let loss = loss(model, self.data.clone());
                let value = read(&loss)?;
                (loss, value)
            }
        };
        let mut gradients = GradientsParams::from_grads(followed.backward(), model);
        if matches!(self.noise, Noise::Diagonal | Noise::Isotropic) {
            let deviations = self.deviations(step, model);
            let noise = self.normal(step, self.n_params);
            let noise = Tensor::from_data(noise.as_slice(), &deviations.device());
            let noise = noise * deviations / (stage.batch_size as f64).sqrt();
            model.visit(&mut Add { noise, next: 0, gradients: &mut gradients });
        }
        Ok((gradients, value))
    }

    /// The deviations of the last step at which they were due.
    fn deviations(&mut self, step: usize, model: &Mlp) -> Tensor<1> {
        if let Some(known) = &self.deviations
            && !step.is_multiple_of(self.refresh)
        {
            return known.values.val();
        }
        let variances = variance::of_gradients(model, self.data);
        let values = match self.noise {
            Noise::Isotropic => variances.clone().mean().sqrt().expand(variances.shape()),
            _ => variances.sqrt(),
        };
        self.deviations = Some(Deviations { values: Param::from_tensor(values.clone()) });
        values
    }
}

/// Adds to each parameter's gradient its part of a flat vector.
struct Add<'a> {
    noise: Tensor<1>,
    next: usize,
    gradients: &'a mut GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.val().dims();
        let length = shape.iter().product();
        let part = self.noise.clone().narrow(0, self.next, length).reshape(shape);
        self.next += length;
        let sum = match self.gradients.remove::<D>(param.id) {
            Some(gradient) => gradient + part,
            None => part,
        };
        self.gradients.register(param.id, sum);
    }
}

impl Update<Mlp, Batch> for NoisyDescent<'_> {
    /// What the claim is about, and the edge of gradient descent.
    fn watched(&self) -> Option<Measure> {
        Some(Measure::FullBatchSharpness)
    }

    fn step(&mut self, step: usize, stage: &Stage, model: Mlp, batch: Batch) -> Result<(Mlp, f64)> {
        let (gradients, value) = self.gradients(step, stage, &model, batch)?;
        Ok((self.optimizer.step(stage.lr, model, gradients), value))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let Some(deviations) = &self.deviations else { return Ok(()) };
        let path = folder.join(FILE);
        deviations.clone().save_file(&path).map_err(|e| ExampleError::write(&path, e))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        if path.exists() {
            let device = self.data.0.device().without_autodiff();
            let values = Param::from_tensor(Tensor::zeros([self.n_params], &device));
            let loaded = Deviations { values }.try_load_file(&path);
            self.deviations = Some(loaded.map_err(|e| ExampleError::checkpoint(&path, e))?);
        }
        Ok(())
    }
}
