//! How a step changes the weights.

use std::path::Path;

use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;
use burn_sharpness::observe::{Measure, Value};
use burn_sharpness::stability::{Batching, SgdStabilityConfig, Stability};
use serde::{Deserialize, Serialize};

use super::schedule::Stage;
use crate::support::error::{ExampleError, Result};

/// An update rule, with its state.
pub trait Update<M, B> {
    /// The edge of stability of this rule, if it is not that of plain SGD.
    fn edge(&self, _stage: &Stage, _n_samples: usize) -> Result<Option<Stability>> {
        Ok(None)
    }

    /// The quantity that is compared with the edge, if the edge does not say.
    fn watched(&self) -> Option<Measure> {
        None
    }

    /// Quantities of its own, where the monitor measures `every` so many steps.
    fn notes(&mut self, _step: usize, _model: &M, _data: &B) -> Result<Vec<(String, Value)>> {
        Ok(Vec::new())
    }

    /// The model after step `step`, and the loss of `batch` before.
    fn step(&mut self, step: usize, stage: &Stage, model: M, batch: B) -> Result<(M, f64)>;

    /// Writes the state into `folder`.
    fn save(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    /// Reads what `save` wrote.
    fn load(&mut self, _folder: &Path) -> Result<()> {
        Ok(())
    }
}

/// burn's optimizers that the experiments use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    Sgd,
    /// Heavy ball, v ← βv + g, with this β.
    Momentum(f64),
    /// With burn's β₁ = 0.9, β₂ = 0.999, ε = 1e-5.
    Adam,
}

impl Optimizer {
    pub fn describe(self) -> String {
        match self {
            Self::Sgd => "SGD".into(),
            Self::Momentum(beta) => format!("SGD with momentum {beta}"),
            Self::Adam => "Adam".into(),
        }
    }

    fn init(self) -> ModuleOptimizer {
        match self {
            Self::Sgd => SgdConfig::new().init(),
            Self::Momentum(beta) => {
                let heavy_ball = MomentumConfig::new().with_momentum(beta).with_dampening(0.0);
                SgdConfig::new().with_momentum(Some(heavy_ball)).init()
            }
            Self::Adam => AdamConfig::new().init(),
        }
    }
}

/// An optimizer of burn on the gradients of mini-batches.
pub struct Optimized<F> {
    kind: Optimizer,
    optimizer: ModuleOptimizer,
    loss: F,
}

impl<F> Optimized<F> {
    pub fn new(kind: Optimizer, loss: F) -> Self {
        Self { kind, optimizer: kind.init(), loss }
    }

    /// burn's optimizer, whose state tells what a step divides by.
    pub fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }
}

/// Fails for a loss that is no number.
pub fn check_loss(value: f64, step: usize, lr: f64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(ExampleError::Diverged { step, loss: value, lr })
}

impl<M, B, F> Update<M, B> for Optimized<F>
where
    M: Module,
    F: Fn(&M, B) -> Tensor<1>,
{
    fn edge(&self, stage: &Stage, n_samples: usize) -> Result<Option<Stability>> {
        let Optimizer::Momentum(beta) = self.kind else { return Ok(None) };
        let batching = Batching::Of { batch_size: stage.batch_size, n_samples };
        let edge = SgdStabilityConfig::new(stage.lr).with_momentum(beta).with_batching(batching);
        Ok(Some(edge.init()?))
    }

    fn step(&mut self, step: usize, stage: &Stage, model: M, batch: B) -> Result<(M, f64)> {
        let loss = (self.loss)(&model, batch);
        let value = check_loss(loss.clone().into_scalar::<f64>(), step, stage.lr)?;
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        Ok((self.optimizer.step(stage.lr, model, gradients), value))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        if self.kind == Optimizer::Sgd {
            return Ok(()); // it has no state
        }
        let path = folder.join("optimizer.bpk");
        self.optimizer.save(&path).map_err(|e| ExampleError::write(&path, e))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join("optimizer.bpk");
        if self.kind != Optimizer::Sgd {
            let loaded = self.kind.init().load(&path);
            self.optimizer = loaded.map_err(|e| ExampleError::checkpoint(&path, e))?;
        }
        Ok(())
    }
}
