//! The whole data set, as mini-batches are compared with it: its Hessian, its loss at other parameters, and
//! the Hessians of its single samples.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use burn_dispatch::DispatchTensor;

use super::monte_carlo::{Drawn, MonteCarlo};
use super::sampling::{Draws, Sampling};
use crate::batch::{self, Batch};
use crate::capture::{LossGraph, Source};
use crate::compiled::bind;
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::model_state::ModelState;
use crate::operator::{ChunkMemory, FullBatchHessian, HessianLanes};
use crate::params::{ParamVector, read_scalar};
use crate::program::Program;

/// The Hessian of a loss that is a mean over samples, checked: mini-batches then have the mean H_B = H and
/// the mean gradient ∇L. At least two chunks, so that [`FullBatchHessian`] makes that check.
pub(super) fn whole_hessian<M, B, F>(
    state: &ModelState,
    model: &M,
    data: &B,
    loss: &F,
    (chunk_size, memory): (usize, ChunkMemory),
    quantity: &'static str,
) -> Result<FullBatchHessian<B>>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
{
    if matches!(state.mode(), Mode::TrainWithNoise { .. }) {
        return Err(Error::BatchesAreNoParts { quantity });
    }
    let chunk_size = chunk_size.min(batch::n_samples(data)?.div_ceil(2));
    let hessian = FullBatchHessian::at(state.clone(), model, data, loss, chunk_size, memory);
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
pub(super) fn for_each_sample_group<M, B, F>(
    state: &ModelState,
    (model, data, loss): (&M, &B, &F),
    samples: &[usize],
    memory_mib: usize,
    mut of_group: impl FnMut(&HessianLanes) -> Result<()>,
) -> Result<()>
where
    M: Module,
    B: Batch,
    F: Fn(&M, B) -> Tensor<1>,
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
pub(super) struct LossAlong {
    state: ModelState,
    chunks: Vec<(f64, Arc<ForwardLoss>, Vec<DispatchTensor>)>,
}

impl LossAlong {
    pub fn of<M, B, F>(
        state: &ModelState,
        model: &M,
        data: &B,
        loss: &F,
        chunk_size: usize,
    ) -> Result<Self>
    where
        M: Module,
        B: Batch,
        F: Fn(&M, B) -> Tensor<1>,
    {
        let n = batch::n_samples(data)?;
        let (mut chunks, mut recorded) = (Vec::new(), None::<(usize, Arc<ForwardLoss>)>);
        for start in (0..n).step_by(chunk_size.max(1)) {
            let end = (start + chunk_size.max(1)).min(n);
            let part = batch::slice(data, start..end);
            let usable = recorded.filter(|(len, _)| B::TENSORS_ONLY && *len == end - start);
            let forward = match usable {
                Some((_, forward)) => forward,
                None => Arc::new(ForwardLoss::of(model, state, &part, loss)?),
            };
            let weight = (end - start) as f64 / n as f64;
            chunks.push((weight, forward.clone(), batch::tensors(part)));
            recorded = Some((end - start, forward));
        }
        Ok(Self { state: state.clone(), chunks })
    }

    /// L(params).
    pub fn at(&self, params: &ParamVector) -> Result<f64> {
        self.state.space().check(params.space())?;
        let state = self.state.with_params(params);
        let mut total = 0.0;
        for (number, (weight, forward, tensors)) in self.chunks.iter().enumerate() {
            total += weight * forward.at(&state.with_operator(number), tensors)?;
        }
        Ok(total)
    }
}
