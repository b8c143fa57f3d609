//! The Hessian of the mean loss over a data set that is not in memory.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;

use super::full_batch::differs_from_mean;
use super::{HessianOperator, LinearOperator};
use crate::batch::{self, Batch, BatchSignature};
use crate::capture::LossGraph;
use crate::compiled::{PreparedLoss, loss_value};
use crate::error::{Error, Result, catch_panic};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

/// H = Σ_c (n_c/n) ∇²L(θ; B_c) over the chunks of a data set, each of which a closure loads when it is
/// needed: as [`FullBatchHessian`](super::FullBatchHessian) with
/// [`ChunkMemory::Recompute`](super::ChunkMemory::Recompute), without the data in memory.
///
/// `load` turns a range of sample numbers into a batch, the same one at every call: no shuffling, no
/// augmentation. burn's `Dataset` and `Batcher` do it in one line,
/// `|range| Ok(batcher.batch(range.filter_map(|i| dataset.get(i)).collect(), &device))`. Do not read
/// from the `DataLoader` of the training: its `iter()` moves the generator that shuffles later
/// epochs.
///
/// Memory: one chunk. Cost of a product: loading the data, a primal and a tangent pass.
pub struct StreamedHessian<S> {
    state: ModelState,
    load: S,
    chunks: Vec<Chunk>,
    loss: f64,
    gradient: ParamVector,
    n_applies: Cell<usize>,
}

#[derive(Debug)]
struct Chunk {
    range: Range<usize>,
    weight: f64,
    signature: BatchSignature,
    prepared: PreparedLoss,
    loss: f64,
}

impl<S> std::fmt::Debug for StreamedHessian<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamedHessian").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl<S> StreamedHessian<S> {
    /// Loads all chunks of `chunk_size` of the `n_samples` samples once, the last one possibly smaller,
    /// and sums up loss and gradient. The loss must be a mean over samples.
    ///
    /// # Errors
    /// What `load` returns; as [`HessianOperator::new`]; [`Error::InvalidSetting`] for a chunk size of
    /// zero, [`Error::EmptyBatch`] for no samples, [`Error::SampleCountMismatch`] for a batch of
    /// another number of samples than asked for, where all its tensors agree in that number;
    /// [`Error::BatchStatisticsInChunks`] and [`Error::NotAMeanOverSamples`] for a loss that chunks would
    /// change: tried on the first four samples, together and one by one.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use burn_sharpness::operator::StreamedHessian;
    /// use burn_sharpness::prelude::*;
    ///
    /// let device = Device::flex();
    /// let model = LinearConfig::new(1, 1).init(&device);
    /// let loss = |m: &Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
    /// // Sample i is the number i, made when it is needed.
    /// let load = |range: std::ops::Range<usize>| {
    ///     let numbers: Vec<f32> = range.map(|i| i as f32).collect();
    ///     Ok(Tensor::<1>::from_floats(numbers.as_slice(), &device).unsqueeze_dim(1))
    /// };
    /// let hessian = StreamedHessian::new(&model, (5, 2), load, loss, Mode::Train)?;
    /// let weight = hessian.space().from_values(&[1.0, 0.0])?;
    /// assert_eq!(hessian.apply(&weight)?.to_values()?, [12.0, 4.0]); // 2 mean i², 2 mean i
    /// # Ok::<(), burn_sharpness::Error>(())
    /// ```
    pub fn new<M, B, F>(
        model: &M,
        (n_samples, chunk_size): (usize, usize),
        load: S,
        loss: F,
        mode: Mode,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        S: Fn(Range<usize>) -> Result<B>,
        F: Fn(&M, B) -> Tensor<1>,
    {
        if chunk_size == 0 {
            let (setting, value) = ("chunk_size", "0".to_string());
            return Err(Error::InvalidSetting { setting, value, expected: "at least 1" });
        }
        if n_samples == 0 {
            return Err(Error::EmptyBatch { tensor: 0, shape: vec![0] });
        }
        let state = ModelState::in_mode(model, mode)?;
        if chunk_size < n_samples {
            check_chunks(model, &state, n_samples, &load, &loss)?;
        }
        let (mut chunks, mut total) = (Vec::<Chunk>::new(), 0.0);
        let mut gradient = state.space().zeros();
        for start in (0..n_samples).step_by(chunk_size) {
            let range = start..(start + chunk_size).min(n_samples);
            let (batch, signature) = checked(&load, range.clone(), &state)?;
            let known = chunks.iter().find(|c| B::TENSORS_ONLY && c.signature == signature);
            let prepared = match known {
                Some(chunk) => chunk.prepared.clone(),
                None => PreparedLoss::of(model, &state, &batch, &loss)?,
            };
            let operator =
                HessianOperator::at(&state.with_operator(chunks.len()), batch, &prepared)?;
            let (weight, loss) = (range.len() as f64 / n_samples as f64, operator.loss());
            total += weight * loss;
            gradient = gradient.axpy(weight, operator.gradient())?;
            chunks.push(Chunk { range, weight, signature, prepared, loss });
        }
        Ok(Self { state, load, chunks, loss: total, gradient, n_applies: Cell::new(0) })
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

/// A batch, and its signature; fails where it is not of `range.len()` samples.
fn checked<B: Batch>(
    load: &impl Fn(Range<usize>) -> Result<B>,
    range: Range<usize>,
    state: &ModelState,
) -> Result<(B, BatchSignature)> {
    let batch = catch_panic(
        || load(range.clone()),
        |message| Error::Execution { message: format!("loading samples {range:?}: {message}") },
    )?;
    let signature = batch::signature(&batch, state.space().device())?;
    match batch::n_samples(&batch) {
        Ok(found) if found != range.len() => {
            Err(Error::SampleCountMismatch { expected: range.len(), found })
        }
        // A batch may have tensors that do not count samples.
        _ => Ok((batch, signature)),
    }
}

/// Fails for a loss that chunks would change.
fn check_chunks<M, B, F>(
    model: &M,
    state: &ModelState,
    n_samples: usize,
    load: &impl Fn(Range<usize>) -> Result<B>,
    loss: &F,
) -> Result<()>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    let n_tried = n_samples.min(4);
    let (together, _) = checked(load, 0..n_tried, state)?;
    if LossGraph::capture(model, state, &together, loss)?.has_batch_statistics() {
        return Err(Error::BatchStatisticsInChunks);
    }
    differs_from_mean(model, state, n_tried, |state, samples| {
        let (start, end) = (*samples.first()?, samples.last()? + 1);
        let (batch, _) = checked(load, start..end, state).ok()?;
        loss_value(model, state, &batch, loss).ok()
    })
}

impl<B, S> LinearOperator for StreamedHessian<S>
where
    B: Batch,
    S: Fn(Range<usize>) -> Result<B>,
{
    fn space(&self) -> &Arc<ParamSpace> {
        self.state.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        let mut sum = self.space().zeros();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let operator = chunk.operator(&self.load, &self.state.with_operator(number))?;
            sum = sum.axpy(chunk.weight, &operator.apply(v)?)?;
        }
        Ok(sum)
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.space().check(block.space())?;
        self.n_applies.set(self.n_applies.get() + block.len());
        let mut sum: Option<ParamBlock> = None;
        for (number, chunk) in self.chunks.iter().enumerate() {
            let operator = chunk.operator(&self.load, &self.state.with_operator(number))?;
            let products = operator.apply_block(block)?;
            sum = Some(match sum {
                None => products.linear_combination(chunk.weight, &products, 0.0),
                Some(sum) => sum.linear_combination(1.0, &products, chunk.weight),
            });
        }
        sum.ok_or(Error::EmptyBatch { tensor: 0, shape: vec![0] })
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}

impl Chunk {
    /// The operator of the chunk, loaded again; fails where it is another one.
    fn operator<B: Batch>(
        &self,
        load: &impl Fn(Range<usize>) -> Result<B>,
        state: &ModelState,
    ) -> Result<HessianOperator> {
        let changed = || Error::InvalidSetting {
            setting: "load",
            value: format!("another batch for samples {:?} than before", self.range),
            expected: "a function of the range: no shuffling, no augmentation",
        };
        let (batch, signature) = checked(load, self.range.clone(), state)?;
        if signature != self.signature {
            return Err(changed());
        }
        let operator = HessianOperator::at(state, batch, &self.prepared)?;
        // Rounding may differ from run to run on a device with atomic sums, by far less.
        let scale = self.loss.abs().max(operator.loss().abs());
        if (operator.loss() - self.loss).abs() > 1e-3 * scale {
            return Err(changed());
        }
        Ok(operator)
    }
}
