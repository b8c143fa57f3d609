//! The Hessian of the mean loss over a whole data set, in chunks that fit memory.

use std::cell::Cell;
use std::sync::Arc;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::{HessianOperator, LinearOperator};
use crate::batch::{self, Batch};
use crate::capture::LossGraph;
use crate::compiled::{PreparedLoss, loss_value};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamSpace, ParamVector};

/// What a [`FullBatchHessian`] keeps of its chunks.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum ChunkMemory {
    /// The residuals of every chunk: products cost one tangent pass, memory grows with the data.
    Keep,
    /// One chunk's residuals at a time: products cost a primal and a tangent pass, memory is that
    /// of one chunk.
    Recompute,
}

/// H = Σ_c (n_c/n) ∇²L(θ; B_c) over consecutive chunks B_c of a data set: for a loss that is a mean
/// over samples, exactly the Hessian of the mean over the whole set, whatever the chunk size.
#[derive(Debug)]
pub struct FullBatchHessian<B> {
    state: ModelState,
    chunks: Vec<Chunk<B>>,
    loss: f64,
    gradient: ParamVector,
    n_applies: Cell<usize>,
}

#[derive(Debug)]
struct Chunk<B> {
    weight: f64,
    source: ChunkSource<B>,
}

#[derive(Debug)]
enum ChunkSource<B> {
    Kept(Box<HessianOperator>),
    Recomputed { batch: B, prepared: PreparedLoss },
}

impl<B: Batch> FullBatchHessian<B> {
    /// Cuts `data` (tensors whose first dimension counts samples) into chunks of `chunk_size`, the
    /// last one possibly smaller, and runs the primal pass of each.
    ///
    /// # Errors
    /// As [`HessianOperator::new`]; [`Error::InvalidSetting`] for a chunk size of zero;
    /// [`Error::BatchStatisticsInChunks`] and [`Error::NotAMeanOverSamples`] for a loss that chunks
    /// would change. The latter is found by trying the loss on four samples, together and one by one,
    /// to a thousandth; a loss that fails on one sample is not judged, though the panic hook prints
    /// the failure.
    pub fn new<M, F>(
        model: &M,
        data: &B,
        loss: F,
        chunk_size: usize,
        memory: ChunkMemory,
    ) -> Result<Self>
    where
        M: Module,
        F: Fn(&M, B) -> Tensor<1>,
    {
        Self::in_mode(model, data, loss, chunk_size, memory, Mode::Train)
    }

    /// [`new`](Self::new) in another [`Mode`]. A model with batch normalization has a mean over
    /// samples in `Mode::Eval` only; with noise every chunk has draws of its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_mode<M, F>(
        model: &M,
        data: &B,
        loss: F,
        chunk_size: usize,
        memory: ChunkMemory,
        mode: Mode,
    ) -> Result<Self>
    where
        M: Module,
        F: Fn(&M, B) -> Tensor<1>,
    {
        Self::at(ModelState::in_mode(model, mode)?, model, data, &loss, chunk_size, memory)
    }

    /// `in_mode` for tensors that have been read.
    pub(crate) fn at<M, F>(
        state: ModelState,
        model: &M,
        data: &B,
        loss: &F,
        chunk_size: usize,
        memory: ChunkMemory,
    ) -> Result<Self>
    where
        M: Module,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let n_samples = batch::n_samples(data)?;
        if chunk_size == 0 {
            let (setting, value) = ("chunk_size", "0".to_string());
            return Err(Error::InvalidSetting { setting, value, expected: "at least 1" });
        }
        batch::signature(data, state.space().device())?;
        if chunk_size < n_samples {
            let first = batch::slice(data, 0..chunk_size);
            if LossGraph::capture(model, &state, &first, loss)?.has_batch_statistics() {
                return Err(Error::BatchStatisticsInChunks);
            }
            check_mean(model, &state, data, n_samples, loss)?;
        }
        let (mut chunks, mut total, mut gradient) = (Vec::new(), 0.0, state.space().zeros());
        let mut prepared: Option<(usize, PreparedLoss)> = None;
        for start in (0..n_samples).step_by(chunk_size) {
            let end = (start + chunk_size).min(n_samples);
            let (len, part) = (end - start, batch::slice(data, start..end));
            let usable = prepared.as_ref().filter(|(n, _)| B::TENSORS_ONLY && *n == len);
            let ready = match usable {
                Some((_, ready)) => ready.clone(),
                None => PreparedLoss::of(model, &state, &part, loss)?,
            };
            let here = state.with_operator(chunks.len());
            let operator = HessianOperator::at(&here, part.clone(), &ready)?;
            let weight = len as f64 / n_samples as f64;
            total += weight * operator.loss();
            gradient = gradient.axpy(weight, operator.gradient())?;
            let source = match memory {
                ChunkMemory::Keep => ChunkSource::Kept(Box::new(operator)),
                ChunkMemory::Recompute => {
                    ChunkSource::Recomputed { batch: part, prepared: ready.clone() }
                }
            };
            chunks.push(Chunk { weight, source });
            prepared = Some((len, ready));
        }
        Ok(Self { state, chunks, loss: total, gradient, n_applies: Cell::new(0) })
    }

    /// The mean loss over the data set.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// The gradient of the mean loss over the data set.
    pub fn gradient(&self) -> &ParamVector {
        &self.gradient
    }
}

/// Fails for a loss that is no mean over samples, on four samples across the data: their loss must
/// be the mean of their single losses. A loss that does not run on one sample, or is not finite,
/// is not judged here; nor is noise, which is another one for other samples.
pub(super) fn check_mean<M, B, F>(
    model: &M,
    state: &ModelState,
    data: &B,
    n_samples: usize,
    loss: &F,
) -> Result<()>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    let samples: Vec<usize> =
        (0..n_samples.min(4)).map(|i| i * n_samples / n_samples.min(4)).collect();
    differs_from_mean(model, state, samples.len(), |state, parts| {
        let chosen: Vec<usize> = parts.iter().map(|&part| samples[part]).collect();
        loss_value(model, state, &batch::select(data, &chosen), loss).ok()
    })
}

/// Fails where the loss of samples `0..n`, by `value` of their numbers, is not the mean of their single
/// losses. A value that is missing or not finite is not judged.
pub(super) fn differs_from_mean<M: Module>(
    model: &M,
    state: &ModelState,
    n: usize,
    value: impl Fn(&ModelState, &[usize]) -> Option<f64>,
) -> Result<()> {
    let state = match state.mode() {
        Mode::Train | Mode::Eval => state.clone(),
        Mode::TrainWithNoise { .. } => ModelState::in_mode(model, Mode::Train)?,
    };
    let value = |samples: &[usize]| value(&state, samples).unwrap_or(f64::NAN);
    let samples: Vec<usize> = (0..n).collect();
    let together = value(&samples);
    let single: Vec<f64> = samples.iter().map(|&i| value(&[i])).collect();
    let mean = single.iter().sum::<f64>() / n as f64;
    let scale = single.iter().fold(together.abs(), |m, v| m.max(v.abs()));
    // A sum is off by a factor, a weighted mean by its weights; f32 rounds at 1e-7.
    if (together - mean).abs() > 1e-3 * scale {
        return Err(Error::NotAMeanOverSamples { together, mean });
    }
    Ok(())
}

impl<B: Batch> LinearOperator for FullBatchHessian<B> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.state.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        let mut sum: Option<ParamVector> = None;
        for (number, Chunk { weight, source }) in self.chunks.iter().enumerate() {
            let product = match source {
                ChunkSource::Kept(operator) => operator.apply(v)?,
                ChunkSource::Recomputed { batch, prepared } => {
                    let state = self.state.with_operator(number);
                    HessianOperator::at(&state, batch.clone(), prepared)?.apply(v)?
                }
            };
            sum = Some(match sum {
                None => product.scale(*weight),
                Some(sum) => sum.axpy(*weight, &product)?,
            });
        }
        sum.ok_or(Error::EmptyBatch { tensor: 0, shape: vec![0] })
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}
