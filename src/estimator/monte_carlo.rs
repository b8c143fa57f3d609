//! A mean over mini-batch Hessians at frozen weights: what mini-batch and batch sharpness share.

use burn::module::Module;
use burn::tensor::Tensor;

use super::Estimate;
use super::sampling::{Draws, Sampling, draw_batches};
use crate::batch::{self, Batch};
use crate::compiled::PreparedLoss;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::HessianOperator;

/// Which batches are drawn, and when there are enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct MonteCarlo {
    pub batch_size: usize,
    pub num_batches: usize,
    pub target_relative_error: Option<f64>,
    pub min_batches: usize,
    pub sampling: Sampling,
    pub draws: Draws,
    pub seed: u64,
    pub mode: Mode,
}

/// The values of the batches that have one.
pub(super) struct Sample {
    pub estimate: Estimate,
    pub values: Vec<f64>,
    /// Number of the draw, which gives the batches again.
    pub draw: u64,
}

impl MonteCarlo {
    fn check(&self) -> Result<()> {
        let fail =
            |setting, value, expected| Err(Error::InvalidSetting { setting, value, expected });
        if self.num_batches == 0 {
            return fail("num_batches", "0".into(), "at least 1");
        }
        match self.target_relative_error {
            Some(target) if target.is_nan() || target <= 0.0 => {
                fail("target_relative_error", target.to_string(), "above 0")
            }
            _ => Ok(()),
        }
    }

    /// The mean of `value` over mini-batch Hessians; a batch for which it is `None` is left out. The
    /// loss is recorded once, the model's tensors are read once. `n_measured` counts the
    /// measurements before this one.
    pub fn sample<M, B, F>(
        &self,
        model: &M,
        data: &B,
        loss: &F,
        n_measured: u64,
        mut value: impl FnMut(&HessianOperator) -> Result<Option<f64>>,
    ) -> Result<Sample>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        self.check()?;
        let n_samples = batch::n_samples(data)?;
        let state = ModelState::in_mode(model, self.mode)?;
        batch::signature(data, state.space().device())?;
        let draw = match self.draws {
            Draws::Fresh => n_measured,
            Draws::Fixed => 0,
        };
        let state = state.with_measurement(draw);
        let Self { batch_size, num_batches, sampling, seed, .. } = *self;
        let batches = draw_batches(sampling, n_samples, batch_size, num_batches, seed, draw)?;
        let mut prepared: Option<PreparedLoss> = None;
        let mut values = Vec::new();
        for (done, indices) in batches.iter().enumerate() {
            let batch = batch::select(data, indices);
            let ready = match prepared.take().filter(|_| B::TENSORS_ONLY) {
                Some(ready) => ready,
                None => PreparedLoss::of(model, &state, &batch, loss)?,
            };
            let hessian = HessianOperator::at(&state.with_operator(done), batch, &ready)?;
            values.extend(value(&hessian)?);
            prepared = Some(ready);
            if self.is_enough(done + 1, &values) {
                break;
            }
        }
        let estimate = Estimate::of(&values).ok_or(Error::NonFinite {
            quantity: "gᵀHg/‖g‖² of batches that all have a zero gradient",
            value: f64::NAN,
        })?;
        Ok(Sample { estimate, values, draw })
    }

    fn is_enough(&self, n_batches: usize, values: &[f64]) -> bool {
        n_batches >= self.min_batches
            && self.target_relative_error.is_some_and(|target| {
                Estimate::of(values).is_some_and(|e| e.relative_error() <= target)
            })
    }
}
