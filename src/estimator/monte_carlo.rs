//! A mean over mini-batch Hessians at frozen weights: what mini-batch and batch sharpness share.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Estimate;
use super::mini_batches::{Joined, MiniBatches};
use super::sampling::{Draws, Sampling, draw_batches};
use crate::batch::{Batch, BatchSignature};
use crate::compiled::PreparedLoss;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{HessianLanes, HessianOperator};
use crate::parallel;
use crate::samples::{self, Samples};

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
pub(super) struct Group<'a, S: Samples> {
    pub lanes: &'a HessianLanes,
    /// Number of the first batch in the measurement.
    first: usize,
    state: &'a ModelState,
    prepared: &'a PreparedLoss,
    data: &'a S,
    batches: &'a [Vec<usize>],
    loaded: &'a [S::Batch],
}

impl<S: Samples> Group<'_, S> {
    /// Numbers of the batches in the measurement.
    pub fn numbers(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.batches.len()
    }

    /// The batch of a lane.
    pub fn batch(&self, lane: usize) -> Result<S::Batch> {
        match self.loaded.get(lane) {
            Some(batch) => Ok(batch.clone()),
            None => {
                let device = self.state.space().device();
                Ok(samples::select(self.data, &self.batches[lane], device)?.0)
            }
        }
    }

    /// The Hessian of a lane on all of parameter space.
    pub fn whole(&self, lane: usize) -> Result<HessianOperator> {
        let state = self.state.with_operator(self.first + lane);
        HessianOperator::at(&state, self.batch(lane)?, self.prepared)
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
    pub fn draw<M: Module, S: Samples>(
        &self,
        model: &M,
        data: &S,
        n_measured: u64,
    ) -> Result<Drawn> {
        self.check()?;
        let n_samples = samples::count(data)?;
        let state = ModelState::in_mode(model, self.mode)?;
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
    pub fn for_each_group<M, S, F>(
        &self,
        drawn: &Drawn,
        model: &M,
        data: &S,
        loss: &F,
        mut of_group: impl FnMut(&Group<'_, S>) -> Result<ControlFlow<()>>,
    ) -> Result<()>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let Drawn { state, batches, .. } = drawn;
        let device = state.space().device();
        let mut queue = MiniBatches::new(data, device, batches);
        let (mut known, mut done) = (None::<(BatchSignature, PreparedLoss)>, 0);
        while done < batches.len() {
            // A batch with more than tensors may be another loss: recorded again, and by itself.
            let usable = match known.take().filter(|_| S::Batch::TENSORS_ONLY) {
                Some(known) if queue.are_alike() || queue.peek(done)?.1 == known.0 => Some(known),
                _ => None,
            };
            let (signature, prepared) = match usable {
                Some(usable) => usable,
                None => {
                    let (batch, signature) = queue.peek(done)?;
                    (signature.clone(), PreparedLoss::of(model, state, batch, loss)?)
                }
            };
            let most =
                if S::Batch::TENSORS_ONLY { self.n_lanes(&prepared, device, done) } else { 1 };
            let Joined { n_batches, tensors, apart } = queue.join(done, most, &signature)?;
            let state = state.with_operator(done);
            let group = Group {
                lanes: &HessianLanes::at(&state, n_batches, &tensors, &prepared)?,
                first: done,
                state: &state,
                prepared: &prepared,
                data,
                batches: &batches[done..done + n_batches],
                loaded: &apart,
            };
            if of_group(&group)?.is_break() {
                break;
            }
            done += n_batches;
            known = Some((signature, prepared));
        }
        Ok(())
    }

    /// What `of_group` gives for each lane of a group, batch by batch, until there are enough. A batch
    /// for which it is `None` has no value. `n_measured` counts the measurements before this one.
    pub fn values<M, S, F>(
        &self,
        model: &M,
        data: &S,
        loss: &F,
        n_measured: u64,
        mut of_group: impl FnMut(&Group<'_, S>) -> Result<Vec<Option<f64>>>,
    ) -> Result<(Vec<Option<f64>>, u64)>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
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
    pub fn sample<M, S, F>(
        &self,
        model: &M,
        data: &S,
        loss: &F,
        n_measured: u64,
        of_group: impl FnMut(&Group<'_, S>) -> Result<Vec<Option<f64>>>,
    ) -> Result<Sample>
    where
        M: Module,
        S: Samples,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let (values, draw) = self.values(model, data, loss, n_measured, of_group)?;
        let n_batches = values.len();
        let values: Vec<f64> = values.into_iter().flatten().collect();
        let quantity = "gᵀHg/‖g‖²";
        let estimate = Estimate::of(&values).ok_or(Error::ZeroGradients { quantity })?;
        Ok(Sample { estimate, values, n_batches, draw })
    }

    /// How many mini-batches to work on side by side after `done` ones: what fits the memory and, with a
    /// target, those that count in any case, then a quarter more at a time.
    fn n_lanes(&self, prepared: &PreparedLoss, device: &Device, done: usize) -> usize {
        let memory = (self.memory_mib << 20).saturating_mul(parallel::solves_at_once(device));
        let fits = memory / prepared.lanes.bytes_per_lane().max(1);
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
