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
use crate::operator::{HessianLanes, HessianOperator};

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
    pub memory_mib: usize,
}

/// The values of the batches that have one.
pub(super) struct Sample {
    pub estimate: Estimate,
    pub values: Vec<f64>,
    /// Number of the draw, which gives the batches again.
    pub draw: u64,
}

/// Mini-batches that are worked on side by side.
pub(super) struct Group<'a, B> {
    pub lanes: &'a HessianLanes,
    /// Number of the first batch in the measurement.
    first: usize,
    state: &'a ModelState,
    prepared: &'a PreparedLoss,
    data: &'a B,
    batches: &'a [Vec<usize>],
}

impl<B: Batch> Group<'_, B> {
    /// Numbers of the batches in the measurement.
    pub fn numbers(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.batches.len()
    }

    /// The Hessian of a lane on all of parameter space.
    pub fn whole(&self, lane: usize) -> Result<HessianOperator> {
        let state = self.state.with_operator(self.first + lane);
        let batch = batch::select(self.data, &self.batches[lane]);
        HessianOperator::at(&state, batch, self.prepared)
    }
}

/// The seed of the start vector of batch number `batch`: a stream for each, whatever is side by side.
pub(super) fn lane_seed(seed: u64, batch: usize) -> u64 {
    seed ^ (batch as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
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

    /// The mean over mini-batch Hessians of what `of_group` gives for each lane of a group; a batch for
    /// which it is `None` is left out. The loss is recorded once, the model's tensors are read once.
    /// `n_measured` counts the measurements before this one.
    pub fn sample<M, B, F>(
        &self,
        model: &M,
        data: &B,
        loss: &F,
        n_measured: u64,
        mut of_group: impl FnMut(&Group<'_, B>) -> Result<Vec<Option<f64>>>,
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
        let (mut prepared, mut values, mut done) = (None, Vec::new(), 0);
        'groups: while done < batches.len() {
            // A batch with more than tensors may be another loss: recorded again, and by itself.
            let ready = match prepared.take().filter(|_| B::TENSORS_ONLY) {
                Some(ready) => ready,
                None => {
                    PreparedLoss::of(model, &state, &batch::select(data, &batches[done]), loss)?
                }
            };
            let side_by_side = if B::TENSORS_ONLY { self.n_lanes(&ready, done) } else { 1 };
            let batches = &batches[done..batches.len().min(done + side_by_side)];
            let state = state.with_operator(done);
            let tensors = batch::tensors(batch::select(data, &batches.concat()));
            let lanes = &HessianLanes::at(&state, batches.len(), &tensors, &ready)?;
            let group =
                Group { lanes, first: done, state: &state, prepared: &ready, data, batches };
            for value in of_group(&group)? {
                done += 1;
                values.extend(value);
                if self.is_enough(done, &values) {
                    break 'groups;
                }
            }
            prepared = Some(ready);
        }
        let estimate = Estimate::of(&values).ok_or(Error::NonFinite {
            quantity: "gᵀHg/‖g‖² of batches that all have a zero gradient",
            value: f64::NAN,
        })?;
        Ok(Sample { estimate, values, draw })
    }

    /// How many mini-batches to work on side by side after `done` ones: what fits the memory and, with a
    /// target, those that count in any case, then a quarter more at a time.
    fn n_lanes(&self, prepared: &PreparedLoss, done: usize) -> usize {
        let fits = (self.memory_mib << 20) / prepared.lanes.bytes_per_lane().max(1);
        let useful = match self.target_relative_error {
            None => self.num_batches,
            Some(_) if done < self.min_batches => self.min_batches - done,
            Some(_) => done / 4,
        };
        fits.min(useful).max(1)
    }

    fn is_enough(&self, n_batches: usize, values: &[f64]) -> bool {
        n_batches >= self.min_batches
            && self.target_relative_error.is_some_and(|target| {
                Estimate::of(values).is_some_and(|e| e.relative_error() <= target)
            })
    }
}
