//! The Hessian of the mean loss over a whole data set, in chunks that fit memory.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Tensor;

use super::{HessianOperator, LinearOperator};
use crate::batch::{Batch, BatchSignature};
use crate::capture::LossGraph;
use crate::compiled::{PreparedLoss, loss_value};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamBlock, ParamSpace, ParamVector};
use crate::samples::{self, Samples};

/// What a [`FullBatchHessian`] keeps of its chunks.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum ChunkMemory {
    /// The residuals of every chunk: products cost one tangent pass, memory grows with the data. Chunks are
    /// loaded once.
    Keep,
    /// One chunk's residuals at a time: products cost a primal and a tangent pass, memory is that
    /// of one chunk. Chunks are loaded again for each product, or block of products.
    Recompute,
}

/// H = Σ_c (n_c/n) ∇²L(θ; B_c) over consecutive chunks B_c of a data set: for a loss that is a mean
/// over samples, exactly the Hessian of the mean over the whole set, whatever the chunk size.
///
/// The data set is any [`Samples`]: tensors in memory, or a source that loads each chunk when it is needed.
pub struct FullBatchHessian<S> {
    state: ModelState,
    data: S,
    chunks: Vec<Chunk>,
    loss: f64,
    gradient: ParamVector,
    n_applies: Cell<usize>,
}

#[derive(Debug)]
struct Chunk {
    range: Range<usize>,
    weight: f64,
    source: ChunkSource,
}

#[derive(Debug)]
enum ChunkSource {
    Kept(Box<HessianOperator>),
    Recomputed { signature: BatchSignature, prepared: PreparedLoss, loss: f64 },
}

impl<S> fmt::Debug for FullBatchHessian<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FullBatchHessian").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl<S: Samples> FullBatchHessian<S> {
    /// Cuts `data` into chunks of `chunk_size`, the last one possibly smaller, and runs the primal pass of
    /// each.
    ///
    /// # Errors
    /// As [`HessianOperator::new`]; [`Error::InvalidSetting`] for a chunk size of zero;
    /// [`Error::BatchStatisticsInChunks`] and [`Error::NotAMeanOverSamples`] for a loss that chunks
    /// would change. The latter is found by trying the loss on four samples, together and one by one,
    /// to a thousandth; a loss that fails on one sample is not judged, though the panic hook prints
    /// the failure. Of a source: what it raises, [`Error::Load`] for a panic,
    /// [`Error::LoadedSampleCount`] for a batch of another number of samples than asked for.
    /// A product raises [`Error::SamplesChanged`] where a chunk that is loaded again has other shapes or
    /// another loss than before: a source that shuffles would give products of no matrix.
    pub fn new<M, F>(
        model: &M,
        data: &S,
        loss: F,
        chunk_size: usize,
        memory: ChunkMemory,
    ) -> Result<Self>
    where
        M: Module,
        S: Clone,
        F: Fn(&M, S::Batch) -> Tensor<1>,
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
        data: &S,
        loss: F,
        chunk_size: usize,
        memory: ChunkMemory,
        mode: Mode,
    ) -> Result<Self>
    where
        M: Module,
        S: Clone,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let state = ModelState::in_mode(model, mode)?;
        Self::at(state, model, data.clone(), &loss, chunk_size, memory)
    }

    /// `in_mode` for tensors that have been read.
    pub(crate) fn at<M, F>(
        state: ModelState,
        model: &M,
        data: S,
        loss: &F,
        chunk_size: usize,
        memory: ChunkMemory,
    ) -> Result<Self>
    where
        M: Module,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let n_samples = samples::count(&data)?;
        if chunk_size == 0 {
            let (setting, value) = ("chunk_size", "0".to_string());
            return Err(Error::InvalidSetting { setting, value, expected: "at least 1" });
        }
        let device = state.space().device();
        let first = samples::range(&data, 0..chunk_size.min(n_samples), device)?;
        if chunk_size < n_samples {
            if LossGraph::capture(model, &state, &first.0, loss)?.has_batch_statistics() {
                return Err(Error::BatchStatisticsInChunks);
            }
            check_mean(model, &state, &data, n_samples, loss)?;
        }
        let (mut chunks, mut total, mut gradient) = (Vec::new(), 0.0, state.space().zeros());
        let (mut first, mut known) = (Some(first), None::<(BatchSignature, PreparedLoss)>);
        for start in (0..n_samples).step_by(chunk_size) {
            let range = start..(start + chunk_size).min(n_samples);
            let (batch, signature) = match first.take() {
                Some(first) => first,
                None => samples::range(&data, range.clone(), device)?,
            };
            let usable = known.filter(|(of, _)| S::Batch::TENSORS_ONLY && *of == signature);
            let prepared = match usable {
                Some((_, prepared)) => prepared,
                None => PreparedLoss::of(model, &state, &batch, loss)?,
            };
            let operator =
                HessianOperator::at(&state.with_operator(chunks.len()), batch, &prepared)?;
            let (weight, loss) = (range.len() as f64 / n_samples as f64, operator.loss());
            total += weight * loss;
            gradient = gradient.axpy(weight, operator.gradient())?;
            known = Some((signature.clone(), prepared.clone()));
            let source = match memory {
                ChunkMemory::Keep => ChunkSource::Kept(Box::new(operator)),
                ChunkMemory::Recompute => ChunkSource::Recomputed { signature, prepared, loss },
            };
            chunks.push(Chunk { range, weight, source });
        }
        Ok(Self { state, data, chunks, loss: total, gradient, n_applies: Cell::new(0) })
    }

    /// What `product` gives for the operator of each chunk, which is loaded again where it was not kept.
    fn for_each_chunk(
        &self,
        mut product: impl FnMut(f64, &HessianOperator) -> Result<()>,
    ) -> Result<()> {
        for (number, Chunk { range, weight, source }) in self.chunks.iter().enumerate() {
            match source {
                ChunkSource::Kept(operator) => product(*weight, operator)?,
                ChunkSource::Recomputed { signature, prepared, loss } => {
                    let (device, state) =
                        (self.state.space().device(), self.state.with_operator(number));
                    let batch = samples::range_again(&self.data, range.clone(), signature, device)?;
                    let operator = HessianOperator::at(&state, batch, prepared)?;
                    samples::check_same_loss(range, *loss, operator.loss())?;
                    product(*weight, &operator)?;
                }
            }
        }
        Ok(())
    }
}

impl<S> FullBatchHessian<S> {
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
pub(super) fn check_mean<M, S, F>(
    model: &M,
    state: &ModelState,
    data: &S,
    n_samples: usize,
    loss: &F,
) -> Result<()>
where
    M: Module,
    S: Samples,
    F: Fn(&M, S::Batch) -> Tensor<1>,
{
    let state = &match state.mode() {
        Mode::Train | Mode::Eval => state.clone(),
        Mode::TrainWithNoise { .. } => ModelState::in_mode(model, Mode::Train)?,
    };
    let n = n_samples.min(4);
    let tried: Vec<usize> = (0..n).map(|i| i * n_samples / n).collect();
    let value = |indices: &[usize]| {
        let (batch, _) = samples::select(data, indices, state.space().device())?;
        Ok(loss_value(model, state, &batch, loss).unwrap_or(f64::NAN))
    };
    let together = value(&tried)?;
    let single = tried.iter().map(|&i| value(&[i])).collect::<Result<Vec<f64>>>()?;
    let mean = single.iter().sum::<f64>() / n as f64;
    let scale = single.iter().fold(together.abs(), |m, v| m.max(v.abs()));
    // A sum is off by a factor, a weighted mean by its weights; f32 rounds at 1e-7.
    if (together - mean).abs() > 1e-3 * scale {
        return Err(Error::NotAMeanOverSamples { together, mean });
    }
    Ok(())
}

impl<S: Samples> LinearOperator for FullBatchHessian<S> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.state.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        let mut sum: Option<ParamVector> = None;
        self.for_each_chunk(|weight, chunk| {
            let product = chunk.apply(v)?;
            sum = Some(match sum.take() {
                None => product.scale(weight),
                Some(sum) => sum.axpy(weight, &product)?,
            });
            Ok(())
        })?;
        sum.ok_or(Error::EmptyBatch { tensor: 0, shape: vec![0] })
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.space().check(block.space())?;
        self.n_applies.set(self.n_applies.get() + block.len());
        let mut sum: Option<ParamBlock> = None;
        self.for_each_chunk(|weight, chunk| {
            let products = chunk.apply_block(block)?;
            sum = Some(match sum.take() {
                None => products.linear_combination(weight, &products, 0.0),
                Some(sum) => sum.linear_combination(1.0, &products, weight),
            });
            Ok(())
        })?;
        sum.ok_or(Error::EmptyBatch { tensor: 0, shape: vec![0] })
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}
