//! What burn's optimizers divide by: the preconditioner of the last step, from their own state.

use std::collections::HashMap;
use std::sync::Arc;

use burn::config::Config;
use burn::module::{Module, ParamId};
use burn::optim::ModuleOptimizer;
use burn::tensor::TensorData;
use burn_pack::{Reader, Scalar};

use crate::error::{Error, Result};
use crate::model_state::{ModelState, Slot};
use crate::params::{ParamEntry, ParamSpace, ParamVector};

/// Which of burn's optimizers a state belongs to, with the settings that its preconditioner needs: they
/// must be those of the optimizer's own config, which burn keeps to itself. Every `f32` is one there.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum StepRule {
    /// Adam and AdamW, with AMSGrad where the state has it: P = √(v/(1−β₂ᵗ)) + ε, and the step is
    /// −η P⁻¹ m/(1−β₁ᵗ).
    Adam {
        /// β₁, 0.9 by default.
        beta_1: f32,
        /// β₂, 0.999 by default.
        beta_2: f32,
        /// ε, 1e-5 by default.
        epsilon: f32,
    },
    /// RMSProp, centered or not: P = √avg + ε. With momentum, the step is −η times its buffer, which holds
    /// preconditioned gradients.
    RmsProp {
        /// ε, 1e-5 by default.
        epsilon: f32,
    },
    /// AdaGrad: P = √Σg² + ε. The step is −ηₜ P⁻¹ g with ηₜ = η/(1 + (t−1)·`lr_decay`).
    AdaGrad {
        /// ε, 1e-5 by default.
        epsilon: f32,
    },
    /// SGD with momentum (heavy ball): P = 1, and the step is −η times the velocity, without Nesterov's
    /// correction.
    Sgd,
}

/// The state of one of burn's optimizers after its last step, as vectors of a model's parameters.
#[derive(Clone, Debug)]
pub struct OptimizerState {
    /// P, entry by entry: positive. For [`preconditioned`](super::OperatorExt::preconditioned).
    pub preconditioner: ParamVector,
    /// The direction s of the last step θ ← θ − η·s, as far as the state has it (gradients are not kept);
    /// weight decay that is no part of the gradient comes in addition.
    pub direction: Option<ParamVector>,
}

impl OptimizerState {
    /// Reads the state of an optimizer for the trainable parameters of `model`, in the order of its
    /// [`ParamSpace`]. The state is copied to the host; optimizer and model stay as they are.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a parameter without state of this rule (before the first step, or
    /// of another optimizer), or settings out of range; as [`ModelState::of`] for the model.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::optim::{AdamConfig, GradientsParams};
    /// use burn::tensor::{Device, Tensor};
    /// use burn_sharpness::operator::{OperatorExt, OptimizerState, StepRule};
    /// use burn_sharpness::prelude::*;
    ///
    /// let device = Device::flex().autodiff();
    /// let mut model = LinearConfig::new(2, 1).init(&device);
    /// let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
    /// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
    /// let mut adam = AdamConfig::new().init();
    /// let gradients = loss(&model, x.clone()).backward();
    /// let gradients = GradientsParams::from_grads(gradients, &model);
    /// model = adam.step(1e-3, model, gradients);
    ///
    /// let rule = StepRule::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-5 };
    /// let state = OptimizerState::read(&model, &adam, rule)?;
    /// let hessian = HessianOperator::new(&model, x, loss)?;
    /// let preconditioned = hessian.preconditioned(&state.preconditioner)?;
    /// let top = LanczosConfig::new().init().solve(&preconditioned, None)?;
    /// assert!(top.first().value > 0.0);
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn read<M: Module>(model: &M, optimizer: &ModuleOptimizer, rule: StepRule) -> Result<Self> {
        rule.check()?;
        let state = ModelState::of(model)?;
        let records = records(&state, optimizer)?;
        let space = state.space();
        let (mut preconditioner, mut direction) = (Vec::new(), Some(Vec::new()));
        for (entry, record) in space.entries().iter().zip(&records) {
            let (p, s) = rule.apply(&Parameter { entry, record })?;
            preconditioner.extend(p);
            direction = direction.zip(s).map(|(all, s)| [all, s].concat());
        }
        let vector = |values: Vec<f64>, space: &Arc<ParamSpace>| space.from_values(&values);
        let direction = direction.map(|values| vector(values, space)).transpose()?;
        Ok(Self { preconditioner: vector(preconditioner, space)?, direction })
    }
}

/// What an optimizer keeps of one parameter, by the names of its fields.
#[derive(Default)]
struct Record {
    tensors: HashMap<String, Vec<f64>>,
    counts: HashMap<String, i32>,
}

/// The records of all parameters of a space.
fn records(state: &ModelState, optimizer: &ModuleOptimizer) -> Result<Vec<Record>> {
    let unreadable = |e: &dyn std::fmt::Display| Error::Execution {
        message: format!("the optimizer's state cannot be read: {e}"),
    };
    let bytes = optimizer.into_bytes().map_err(|e| unreadable(&e))?;
    let reader = Reader::from_bytes(bytes).map_err(|e| unreadable(&e))?;
    let mut records: Vec<Record> = Vec::new();
    records.resize_with(state.space().entries().len(), Record::default);
    let param = |id: u64| match state.slot(ParamId::from(id)) {
        Some(Slot::Param(param)) => Some(param),
        _ => None,
    };
    for (name, scalar) in reader.scalars() {
        let Some((id, field)) = name.split_once('.') else { continue };
        let count = match *scalar {
            Scalar::Int(count) => i32::try_from(count).ok(),
            Scalar::UInt(count) => i32::try_from(count).ok(),
            _ => None,
        };
        if let (Some(param), Some(count)) = (id.parse().ok().and_then(param), count) {
            records[param].counts.insert(field.to_string(), count);
        }
    }
    for tensor in reader.into_tensors().map_err(|e| unreadable(&e))? {
        let (name, dtype, shape, id, bytes) = tensor.into_parts().map_err(|e| unreadable(&e))?;
        let Some((param, (_, field))) = id.and_then(param).zip(name.split_once('.')) else {
            continue;
        };
        let data = TensorData::from_bytes(bytes, shape, dtype);
        records[param].tensors.insert(field.to_string(), data.iter::<f64>().collect());
    }
    Ok(records)
}

/// A parameter and what its optimizer keeps of it.
struct Parameter<'a> {
    entry: &'a ParamEntry,
    record: &'a Record,
}

impl Parameter<'_> {
    fn missing(&self, field: &str) -> Error {
        Error::InvalidSetting {
            setting: "optimizer",
            value: format!("without a state `{field}` for parameter `{}`", self.entry.name),
            expected: "one of this rule, after a step with a gradient of every trainable parameter",
        }
    }

    fn optional(&self, field: &str) -> Option<&Vec<f64>> {
        self.record.tensors.get(field).filter(|values| values.len() == self.entry.len())
    }

    fn tensor(&self, field: &str) -> Result<&Vec<f64>> {
        self.optional(field).ok_or_else(|| self.missing(field))
    }

    fn count(&self, field: &str) -> Result<i32> {
        self.record.counts.get(field).copied().ok_or_else(|| self.missing(field))
    }
}

/// √v · scale + ε.
fn root(v: &[f64], scale: f64, epsilon: f32) -> Vec<f64> {
    v.iter().map(|v| v.sqrt() * scale + f64::from(epsilon)).collect()
}

impl StepRule {
    fn check(self) -> Result<()> {
        let fail = |setting, value: f32, expected| {
            Err(Error::InvalidSetting { setting, value: value.to_string(), expected })
        };
        let (betas, epsilon) = match self {
            Self::Adam { beta_1, beta_2, epsilon } => (vec![beta_1, beta_2], epsilon),
            Self::RmsProp { epsilon } | Self::AdaGrad { epsilon } => (Vec::new(), epsilon),
            Self::Sgd => (Vec::new(), 1.0),
        };
        if let Some(beta) = betas.into_iter().find(|beta| !(0.0..1.0).contains(beta)) {
            return fail("beta", beta, "at least 0 and below 1");
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return fail("epsilon", epsilon, "positive and finite");
        }
        Ok(())
    }

    /// P and s of one parameter. Powers of β are f32, as burn has them.
    fn apply(self, state: &Parameter<'_>) -> Result<(Vec<f64>, Option<Vec<f64>>)> {
        match self {
            Self::Adam { beta_1, beta_2, epsilon } => {
                let time = state.count("momentum.time")?;
                let v = match state.optional("momentum.max_moment_2") {
                    Some(max) => max,
                    None => state.tensor("momentum.moment_2")?,
                };
                let correction = f64::from(1.0 - beta_2.powi(time)).sqrt();
                let p = root(v, 1.0 / correction, epsilon);
                let unbiased = f64::from(1.0 - beta_1.powi(time));
                let m = state.tensor("momentum.moment_1")?.iter();
                let s = m.zip(&p).map(|(m, p)| m / unbiased / p).collect();
                Ok((p, Some(s)))
            }
            Self::RmsProp { epsilon } => {
                let p = root(state.tensor("centered.avg")?, 1.0, epsilon);
                Ok((p, state.optional("momentum.buf").cloned()))
            }
            Self::AdaGrad { epsilon } => {
                Ok((root(state.tensor("lr_decay.sum")?, 1.0, epsilon), None))
            }
            Self::Sgd => {
                let velocity = state.tensor("momentum.velocity")?;
                Ok((vec![1.0; velocity.len()], Some(velocity.clone())))
            }
        }
    }
}
