//! The whole data set, as mini-batches are compared with it: its Hessian, its loss at other parameters, and
//! the Hessians of its single samples.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use burn_dispatch::DispatchTensor;

use super::monte_carlo::{Drawn, MonteCarlo};
use super::sampling::{Draws, Sampling};
use crate::batch::{self, Batch, BatchSignature};
use crate::capture::{LossGraph, Source};
use crate::compiled::bind;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian, HessianLanes};
use crate::params::{ParamVector, read_scalar};
use crate::program::Program;
use crate::samples::{self, Borrowed, Samples};

/// The Hessian of a loss that is a mean over samples, checked: mini-batches then have the mean H_B = H and
/// the mean gradient ∇L. At least two chunks, so that [`FullBatchHessian`] makes that check.
pub(super) fn whole_hessian<'a, M, S, F>(
    state: &ModelState,
    model: &M,
    data: &'a S,
    loss: &F,
    (chunk_size, memory): (usize, ChunkMemory),
    quantity: &'static str,
) -> Result<FullBatchHessian<Borrowed<'a, S>>>
where
    M: Module,
    S: Samples,
    F: Fn(&M, S::Batch) -> Tensor<1>,
{
    if matches!(state.mode(), Mode::TrainWithNoise { .. }) {
        return Err(Error::BatchesAreNoParts { quantity });
    }
    let chunk_size = chunk_size.min(samples::count(data)?.div_ceil(2));
    let hessian =
        FullBatchHessian::at(state.clone(), model, Borrowed(data), loss, chunk_size, memory);
    match hessian {
        Err(Error::BatchStatisticsInChunks) => Err(Error::BatchesAreNoParts { quantity }),
        hessian => hessian,
    }
}

/// var(mean of b)/var(one sample) over n samples: (n − b)/(b(n − 1)) without replacement, 1/b with it.
pub(super) fn variance_factor(sampling: Sampling, n: usize, b: usize) -> f64 {
    let (n, b) = (n as f64, b as f64);
    match sampling {
        Sampling::WithReplacement => 1.0 / b,
        Sampling::WithoutReplacement | Sampling::Epoch if n <= 1.0 => 0.0,
        Sampling::WithoutReplacement | Sampling::Epoch => (n - b) / (b * (n - 1.0)),
    }
}

/// Calls `of_group` with the Hessians of single samples, as many side by side as fit the memory.
pub(super) fn for_each_sample_group<M, S, F>(
    state: &ModelState,
    (model, data, loss): (&M, &S, &F),
    samples: &[usize],
    memory_mib: usize,
    mut of_group: impl FnMut(&HessianLanes) -> Result<()>,
) -> Result<()>
where
    M: Module,
    S: Samples,
    F: Fn(&M, S::Batch) -> Tensor<1>,
{
    let singles = MonteCarlo {
        batch_size: 1,
        num_batches: samples.len(),
        target_relative_error: None,
        min_batches: 0,
        sampling: Sampling::WithoutReplacement,
        draws: Draws::Fixed,
        seed: 0,
        mode: state.mode(),
        memory_mib,
    };
    let batches = samples.iter().map(|&i| vec![i]).collect();
    let drawn = Drawn { state: state.clone(), batches, draw: 0 };
    singles.for_each_group(&drawn, model, data, loss, |group| {
        of_group(group.lanes)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// The forward operations of a loss, which run at any parameters: the model is not written to.
pub(super) struct ForwardLoss {
    program: Program,
    sources: Vec<Source>,
    constants: Vec<TensorData>,
}

impl ForwardLoss {
    pub fn of<M, B, F>(model: &M, state: &ModelState, batch: &B, loss: &F) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let recorded = LossGraph::capture(model, state, batch, loss)?.expand()?;
        let LossGraph { sources, constants, graph, .. } = recorded;
        Ok(Self { program: Program::compile(graph), sources, constants })
    }

    /// The loss of `batch` at the parameters of `state`, as it is: NaN and infinity are values here.
    pub fn at(&self, state: &ModelState, batch: &[DispatchTensor]) -> Result<f64> {
        let inputs = bind(&self.sources, state, batch, &self.constants)?;
        let outputs = self.program.run(inputs, state.space().device())?;
        let value = outputs.into_iter().next().map(Tensor::from_dispatch);
        value.map_or(Ok(f64::NAN), read_scalar)
    }
}

/// The mean loss of a data set at any parameters, chunk by chunk. One forward pass per value.
pub(super) struct LossAlong<'a, S> {
    state: ModelState,
    data: &'a S,
    chunks: Vec<ChunkLoss>,
}

struct ChunkLoss {
    range: Range<usize>,
    weight: f64,
    forward: Arc<ForwardLoss>,
    signature: BatchSignature,
    kept: Option<Vec<DispatchTensor>>,
}

impl<'a, S: Samples> LossAlong<'a, S> {
    /// With [`ChunkMemory::Recompute`] each value loads the chunks again.
    pub fn of<M, F>(
        state: &ModelState,
        model: &M,
        data: &'a S,
        loss: &F,
        (chunk_size, memory): (usize, ChunkMemory),
    ) -> Result<Self>
    where
        M: Module,
        F: Fn(&M, S::Batch) -> Tensor<1>,
    {
        let (n, chunk_size) = (samples::count(data)?, chunk_size.max(1));
        let (mut chunks, mut known) = (Vec::new(), None::<(BatchSignature, Arc<ForwardLoss>)>);
        for start in (0..n).step_by(chunk_size) {
            let range = start..(start + chunk_size).min(n);
            let (batch, signature) = samples::range(data, range.clone(), state.space().device())?;
            let usable = known.filter(|(of, _)| S::Batch::TENSORS_ONLY && *of == signature);
            let forward = match usable {
                Some((_, forward)) => forward,
                None => Arc::new(ForwardLoss::of(model, state, &batch, loss)?),
            };
            known = Some((signature.clone(), forward.clone()));
            let weight = range.len() as f64 / n as f64;
            let kept = (memory == ChunkMemory::Keep).then(|| batch::tensors(batch));
            chunks.push(ChunkLoss { range, weight, forward, signature, kept });
        }
        Ok(Self { state: state.clone(), data, chunks })
    }

    /// L(params).
    pub fn at(&self, params: &ParamVector) -> Result<f64> {
        self.state.space().check(params.space())?;
        let state = self.state.with_params(params);
        let (device, mut total) = (self.state.space().device(), 0.0);
        for (number, chunk) in self.chunks.iter().enumerate() {
            let tensors = match &chunk.kept {
                Some(tensors) => tensors.clone(),
                None => {
                    let range = chunk.range.clone();
                    batch::tensors(samples::range_again(
                        self.data,
                        range,
                        &chunk.signature,
                        device,
                    )?)
                }
            };
            total += chunk.weight * chunk.forward.at(&state.with_operator(number), &tensors)?;
        }
        Ok(total)
    }

    /// L(θ) where the model is; fails where it is another one than `before` of the same data.
    pub fn here(&self, before: f64) -> Result<f64> {
        let loss = self.at(&self.state.params())?;
        let n = self.chunks.last().map_or(0, |chunk| chunk.range.end);
        samples::check_same_loss(&(0..n), before, loss)?;
        Ok(loss)
    }
}
