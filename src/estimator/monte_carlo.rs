//! A mean over mini-batch Hessians at frozen weights: what mini-batch and batch sharpness share.

use std::ops::ControlFlow;

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
    /// Batches, with and without a value.
    pub n_batches: usize,
    /// Number of the draw, which gives the batches again.
    pub draw: u64,
}

/// The batches of one measurement, and the tensors of the model that it sees.
pub(super) struct Drawn {
    pub state: ModelState,
    pub batches: Vec<Vec<usize>>,
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

    /// The batch of a lane.
    pub fn batch(&self, lane: usize) -> B {
        batch::select(self.data, &self.batches[lane])
    }

    /// The Hessian of a lane on all of parameter space.
    pub fn whole(&self, lane: usize) -> Result<HessianOperator> {
        let state = self.state.with_operator(self.first + lane);
        HessianOperator::at(&state, self.batch(lane), self.prepared)
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

    /// Draws the batches of measurement number `n_measured` and reads the model's tensors.
    pub fn draw<M: Module, B: Batch>(&self, model: &M, data: &B, n_measured: u64) -> Result<Drawn> {
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
        Ok(Drawn { state, batches, draw })
    }

    /// Calls `of_group` with groups of the batches that were drawn, in order, until it breaks. The loss is
    /// recorded once.
    pub fn for_each_group<M, B, F>(
        &self,
        drawn: &Drawn,
        model: &M,
        data: &B,
        loss: &F,
        mut of_group: impl FnMut(&Group<'_, B>) -> Result<ControlFlow<()>>,
    ) -> Result<()>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let Drawn { state, batches, .. } = drawn;
        let (mut prepared, mut done) = (None, 0);
        while done < batches.len() {
            // A batch with more than tensors may be another loss: recorded again, and by itself.
            let ready = match prepared.take().filter(|_| B::TENSORS_ONLY) {
                Some(ready) => ready,
                None => PreparedLoss::of(model, state, &batch::select(data, &batches[done]), loss)?,
            };
            let side_by_side = if B::TENSORS_ONLY { self.n_lanes(&ready, done) } else { 1 };
            let batches = &batches[done..batches.len().min(done + side_by_side)];
            let state = state.with_operator(done);
            let tensors = batch::tensors(batch::select(data, &batches.concat()));
            let lanes = &HessianLanes::at(&state, batches.len(), &tensors, &ready)?;
            let group =
                Group { lanes, first: done, state: &state, prepared: &ready, data, batches };
            if of_group(&group)?.is_break() {
                break;
            }
            done += batches.len();
            prepared = Some(ready);
        }
        Ok(())
    }

    /// What `of_group` gives for each lane of a group, batch by batch, until there are enough. A batch
    /// for which it is `None` has no value. `n_measured` counts the measurements before this one.
    pub fn values<M, B, F>(
        &self,
        model: &M,
        data: &B,
        loss: &F,
        n_measured: u64,
        mut of_group: impl FnMut(&Group<'_, B>) -> Result<Vec<Option<f64>>>,
    ) -> Result<(Vec<Option<f64>>, u64)>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let drawn = self.draw(model, data, n_measured)?;
        let (mut values, mut defined) = (Vec::new(), Vec::new());
        self.for_each_group(&drawn, model, data, loss, |group| {
            for value in of_group(group)? {
                values.push(value);
                defined.extend(value);
                if self.is_enough(values.len(), &defined) {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((values, drawn.draw))
    }

    /// The mean of [`values`](Self::values) over the batches that have one.
    pub fn sample<M, B, F>(
        &self,
        model: &M,
        data: &B,
        loss: &F,
        n_measured: u64,
        of_group: impl FnMut(&Group<'_, B>) -> Result<Vec<Option<f64>>>,
    ) -> Result<Sample>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let (values, draw) = self.values(model, data, loss, n_measured, of_group)?;
        let n_batches = values.len();
        let values: Vec<f64> = values.into_iter().flatten().collect();
        let estimate = Estimate::of(&values).ok_or(Error::NonFinite {
            quantity: "gᵀHg/‖g‖² of batches that all have a zero gradient",
            value: f64::NAN,
        })?;
        Ok(Sample { estimate, values, n_batches, draw })
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
