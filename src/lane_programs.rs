//! [`RowSpaceGraph`] -> [`LanePrograms`]: the product of K mini-batches at once, ready to run.
//!
//! A *lane* is one mini-batch with a vector of its own. Batch tensors carry a leading axis of K,
//! parameters do not; everything that depends on a batch tensor or on a vector has the axis. A vector
//! is one row of a `[K, width]` matrix: its parts, flat, one behind the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, DeviceSettings, Tensor};
use burn_backend::ops::FloatTensorOps;
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::{Dispatch, DispatchTensor};

use crate::batching::batch;
use crate::capture::Source;
use crate::error::Result;
use crate::ir::replay::Value;
use crate::params::ParamSpace;
use crate::program::Program;
use crate::row_space::{Part, Role, RowSpaceGraph, Stage};

/// The programs of K lanes.
#[derive(Debug)]
pub(crate) struct LanePrograms {
    pub k: usize,
    pub primal: Program,
    /// Which outputs of the primal part have the leading axis.
    pub has_axis: Vec<bool>,
    pub tangent: StageProgram,
    pub metric: StageProgram,
    /// From weights without the leading axis: one vector for all lanes.
    pub image: StageProgram,
    pub expansion: StageProgram,
}

/// A compiled [`Stage`].
#[derive(Debug)]
pub(crate) struct StageProgram {
    program: Program,
    reads: Vec<usize>,
    /// Parts or parameters that it reads and makes.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    /// Which outputs have the leading axis.
    has_axis: Vec<bool>,
}

/// Whether a value of this source differs from lane to lane.
pub(crate) fn is_per_lane(source: &Source) -> bool {
    match source {
        Source::Batch(_) | Source::Cotangent | Source::Noise { .. } => true,
        Source::Param(_) | Source::State(_) | Source::Constant(_) | Source::Fixed(_) => false,
    }
}

impl LanePrograms {
    /// Compiles the programs of `k` lanes; a single lane has no leading axis.
    pub fn compile(graph: &RowSpaceGraph, k: usize, settings: DeviceSettings) -> Self {
        let per_lane: Vec<bool> = graph.sources.iter().map(is_per_lane).collect();
        let (primal, has_axis) = match k {
            1 => (graph.primal.clone(), vec![false; graph.primal.outputs.len()]),
            k => {
                let batched = batch(&graph.primal, &per_lane, k, settings);
                (batched.graph, batched.batched_outputs)
            }
        };
        let stage = |stage: &Stage, of_lanes: bool| {
            let reads = stage.reads.iter().map(|&kept| has_axis[kept]);
            let free = stage.inputs.iter().map(|_| of_lanes);
            let axes: Vec<bool> = reads.chain(free).collect();
            let (graph, axes) = match k {
                1 => (stage.graph.clone(), vec![false; stage.outputs.len()]),
                k => {
                    let batched = batch(&stage.graph, &axes, k, settings);
                    (batched.graph, batched.batched_outputs)
                }
            };
            StageProgram {
                program: Program::compile(graph),
                reads: stage.reads.clone(),
                inputs: stage.inputs.clone(),
                outputs: stage.outputs.clone(),
                has_axis: axes,
            }
        };
        Self {
            k,
            primal: Program::compile(primal),
            tangent: stage(&graph.tangent, true),
            metric: stage(&graph.metric, true),
            image: stage(&graph.image, false),
            expansion: stage(&graph.expansion, true),
            has_axis,
        }
    }
}

impl StageProgram {
    /// Runs the stage; `free` are its inputs in order. Returns each output as `[K or 1, ..]` with
    /// what it is.
    pub fn run(
        &self,
        kept: &[DispatchTensor],
        free: impl Iterator<Item = DispatchTensor>,
        device: &Device,
    ) -> Result<Vec<(usize, LaneValue)>> {
        let reads = self.reads.iter().map(|&i| kept[i].clone());
        let outputs = self.program.run(reads.chain(free), device)?;
        let values = outputs.into_iter().zip(&self.has_axis);
        let values = values.map(|(tensor, &has_axis)| LaneValue { tensor, has_axis });
        Ok(self.outputs.iter().copied().zip(values).collect())
    }
}

/// A tensor with or without the leading axis.
#[derive(Clone, Debug)]
pub(crate) struct LaneValue {
    pub tensor: DispatchTensor,
    pub has_axis: bool,
}

/// The row-space product of a kind of loss, compiled for the numbers of lanes that were asked for.
#[derive(Debug)]
pub(crate) struct CompiledLanes {
    pub graph: RowSpaceGraph,
    settings: DeviceSettings,
    programs: Mutex<HashMap<usize, Arc<LanePrograms>>>,
}

impl CompiledLanes {
    pub fn new(graph: RowSpaceGraph, settings: DeviceSettings) -> Self {
        Self { graph, settings, programs: Mutex::default() }
    }

    /// Whether coordinates are the vectors themselves.
    pub fn is_dense(&self) -> bool {
        self.graph.parts.iter().all(|part| part.role == Role::Dense)
    }

    /// Memory that one lane takes at most: its primal pass, and vectors of a solver with a basis of
    /// sixteen.
    pub fn bytes_per_lane(&self) -> usize {
        let width: usize =
            self.graph.parts.iter().map(|part| part.shape.iter().product::<usize>()).sum();
        let number = self.graph.primal.outputs[0].dtype.size();
        let copies = if self.is_dense() { 1 } else { 2 };
        self.programs(1).primal.peak_bytes() + (16 * copies + 6) * width * number
    }

    /// The programs of `k` lanes, compiled at the first call.
    pub fn programs(&self, k: usize) -> Arc<LanePrograms> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let compile = || Arc::new(LanePrograms::compile(&self.graph, k, self.settings));
        programs.entry(k).or_insert_with(compile).clone()
    }
}

/// Where the parts of a vector are in a row of a `[K, width]` matrix.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub parts: Vec<Part>,
    offsets: Vec<usize>,
    pub width: usize,
}

impl Layout {
    pub fn new(parts: &[Part]) -> Self {
        let mut width = 0;
        let offset = |part: &Part| {
            let offset = width;
            width += part.shape.iter().product::<usize>();
            offset
        };
        let offsets = parts.iter().map(offset).collect();
        Self { parts: parts.to_vec(), offsets, width }
    }

    /// Whether coordinates are the vector itself.
    pub fn is_dense(&self) -> bool {
        self.parts.iter().all(|part| part.role == Role::Dense)
    }

    fn len(&self, part: usize) -> usize {
        self.parts[part].shape.iter().product()
    }

    /// Part number `part` of `vectors` `[K, width]` as `[K, len]`.
    pub fn columns(&self, vectors: &Tensor<2>, part: usize) -> Tensor<2> {
        if self.parts.len() == 1 {
            return vectors.clone();
        }
        vectors.clone().narrow(1, self.offsets[part], self.len(part))
    }

    /// Part number `part` of `vectors` in its shape; with the leading axis unless there is one lane.
    pub fn part(&self, vectors: &Tensor<2>, part: usize) -> DispatchTensor {
        let k = vectors.dims()[0];
        let lanes = (k > 1).then_some(k);
        let shape = lanes.into_iter().chain(self.parts[part].shape.iter().copied());
        let columns = self.columns(vectors, part).into_dispatch();
        Dispatch::float_reshape(columns, Shape::from(shape.collect::<Vec<_>>()))
    }

    /// Vectors `[k, width]` from one value or none (zero) for each part.
    pub fn join(&self, values: Vec<Option<LaneValue>>, k: usize, space: &ParamSpace) -> Tensor<2> {
        let columns = values.into_iter().enumerate().map(|(part, value)| {
            let len = self.len(part);
            let Some(LaneValue { tensor, has_axis }) = value else {
                return Tensor::zeros([k, len], (space.device(), space.dtype()));
            };
            let rows = if has_axis { k } else { 1 };
            let flat = Dispatch::float_reshape(tensor, Shape::from([rows, len]));
            let flat = Tensor::<2>::from_dispatch(flat);
            if rows == k { flat } else { flat.expand([k, len]) }
        });
        let columns: Vec<Tensor<2>> = columns.collect();
        match <[Tensor<2>; 1]>::try_from(columns) {
            Ok([only]) => only,
            Err(columns) => Tensor::cat(columns, 1),
        }
    }
}

/// Lane number `lane` of a value, without the leading axis.
pub(crate) fn lane_of(value: &LaneValue, lane: usize) -> DispatchTensor {
    let tensor = value.tensor.clone();
    if !value.has_axis {
        return tensor;
    }
    let shape: Vec<usize> = tensor.shape().iter().copied().skip(1).collect();
    let lane = Value::of(tensor.clone()).select(&[lane]);
    lane.map_or(tensor, |lane| lane.reshape(shape.into()).into_tensor())
}
