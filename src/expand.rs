//! [`LossGraph`] -> [`LossGraph`]: operations that no rule serves in one step, written out in
//! operations that have one.
//!
//! This is the only place for it. Layer normalization, attention, grid sampling, unfolding and the
//! CTC loss are written out by burn's own Autodiff, untracked, on the capture backend: what training
//! differentiates is then what is measured. Deformable convolution, whose gradient burn has as one
//! operation, is written as bilinear sampling and a matrix product; a grouped convolution of which
//! burn's default gradient is wrong as one of rank two; products of elements, whose gradient burn has
//! right only as a value, as multiplications. Here also a batch normalization in training gets the
//! statistics of the batch.

mod conv1d;
mod deformable;
mod products;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use burn::tensor::DType;
use burn_backend::AutodiffBackend;
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps, ModuleOps};
use burn_capture::{CaptureBackend, CaptureDevice};
use burn_ir::{BatchNormOpIr, ModuleOperationIr, OperationIr, TensorId};

use crate::capture::{LossGraph, PooledDevice, Recorded, Source, Tracked, graph_of, ir_of};
use crate::error::{Error, Result, UnsupportedOp, catch_panic};
use crate::ir::TensorGraph;
use crate::ir::replay::{Replay, Value};
use crate::tangent::{check_supported, is_expanded, op_name};

impl LossGraph {
    /// Writes out what no rule serves in one step; a graph without such operations stays as it is.
    ///
    /// # Errors
    /// [`Error::UnsupportedOps`] with every operation that has no rule, [`Error::NotDifferentiable`]
    /// when burn fails at an operation.
    pub fn expand(&self) -> Result<Self> {
        check_supported(&self.graph)?;
        let needed = |op: &OperationIr| {
            is_expanded(op) || self.uses_batch_statistics(op) || conv1d::leaves_an_end_unread(op)
        };
        if !self.graph.ops.iter().any(needed) {
            return Ok(self.clone());
        }
        let device = PooledDevice::take(self.settings);
        let mut placeholders = HashMap::new();
        let mut outputs = Vec::new();
        let captured = catch_panic(
            || {
                let capture = device.capture_device();
                let scope = |scope: burn_capture::CaptureScope| {
                    let mut replay = Replay::<Recorded>::of(self, &capture, &mut placeholders);
                    for op in &self.graph.ops {
                        match op {
                            OperationIr::Module(ModuleOperationIr::BatchNorm(d))
                                if self.uses_batch_statistics(op) =>
                            {
                                batch_norm(&mut replay, d);
                            }
                            OperationIr::Module(ModuleOperationIr::DeformableConv2d(d)) => {
                                deformable::run(&mut replay, d, self.settings);
                            }
                            OperationIr::Module(ModuleOperationIr::Conv1d(d))
                                if conv1d::leaves_an_end_unread(op) =>
                            {
                                conv1d::run(&mut replay, d);
                            }
                            OperationIr::NumericFloat(_, product) if is_expanded(op) => {
                                products::run(&mut replay, product);
                            }
                            op => replay.run(op),
                        }
                    }
                    outputs.push(ir_of(&Recorded::inner(replay.loss(&self.graph))));
                    scope.complete([], [])
                };
                let captured = capture.capture_scope(scope);
                captured.map_err(|e| Error::Capture { message: e.to_string() })
            },
            |message| Error::NotDifferentiable { message },
        )?;
        let (graph, sources) = graph_of(captured, &placeholders, outputs, Source::Fixed);
        Ok(Self { graph, sources, ..self.clone() })
    }

    /// Whether a batch normalization uses the statistics of the batch, which couples its samples.
    pub(crate) fn has_batch_statistics(&self) -> bool {
        let inputs = self.graph.inputs.iter().zip(&self.sources);
        let of_batch = inputs.filter(|(_, source)| matches!(source, Source::Batch(_)));
        let mut of_batch: HashSet<TensorId> = of_batch.map(|(t, _)| t.id).collect();
        self.graph.ops.iter().any(|op| {
            let computed = match op {
                OperationIr::Module(ModuleOperationIr::BatchNorm(d)) => {
                    of_batch.contains(&d.mean.id)
                }
                _ => false,
            };
            if op.inputs().any(|t| of_batch.contains(&t.id)) {
                of_batch.extend(op.outputs().map(|t| t.id));
            }
            computed || self.uses_batch_statistics(op)
        })
    }

    /// Operations whose gradient burn computes wrongly on some backends, where a comparison with
    /// burn's gradient fails for that reason.
    pub(crate) fn wrong_in_burn(&self) -> Vec<UnsupportedOp> {
        let describe = |(index, op): (usize, &OperationIr)| {
            conv1d::leaves_an_end_unread(op).then(|| UnsupportedOp {
                name: op_name(op),
                index,
                shapes: op.inputs().map(|t| t.shape.as_slice().to_vec()).collect(),
                reason: conv1d::WRONG_IN_BURN,
            })
        };
        self.graph.ops.iter().enumerate().filter_map(describe).collect()
    }

    /// Whether this normalization belongs to a module in training: its recorded mean is the running
    /// mean of one.
    fn uses_batch_statistics(&self, op: &OperationIr) -> bool {
        let OperationIr::Module(ModuleOperationIr::BatchNorm(d)) = op else { return false };
        let position = self.graph.inputs.iter().position(|t| t.id == d.mean.id);
        position.is_some_and(|p| match self.sources[p] {
            Source::State(i) => self.training_means.contains(&i),
            _ => false,
        })
    }
}

/// Batch normalization with the statistics of the batch, of which the running ones are no part.
fn batch_norm(r: &mut Replay<Recorded>, d: &BatchNormOpIr) {
    let (x, gamma, beta) = (r.float(&d.x), r.float(&d.gamma), r.float(&d.beta));
    let normalized = Recorded::batch_norm_train(x, gamma, beta, d.epsilon.elem());
    r.set_float(&d.out, normalized.output);
}

impl Replay<Recorded> {
    /// A replay of `forward` on a capture device, its inputs placeholders that are not tracked.
    pub(crate) fn of(
        forward: &LossGraph,
        device: &CaptureDevice,
        placeholders: &mut HashMap<TensorId, Source>,
    ) -> Self {
        let graph = &forward.graph;
        let mut replay = Self::new(graph.next_id() as usize, *device);
        for (input, source) in graph.inputs.iter().zip(&forward.sources) {
            let (shape, dtype) = (input.shape.clone(), input.dtype);
            let (id, value) = if dtype.is_float() {
                let tensor = CaptureBackend::float_empty(shape, device, dtype.into());
                (tensor.id(), Value::Float(Recorded::from_inner(tensor)))
            } else if let DType::Bool(_) = dtype {
                let tensor = CaptureBackend::bool_empty(shape, device, dtype.into());
                (tensor.id(), Value::Bool(tensor))
            } else {
                let tensor = CaptureBackend::int_empty(shape, device, dtype.into());
                (tensor.id(), Value::Int(tensor))
            };
            placeholders.insert(id, source.clone());
            replay.set(input, value);
        }
        replay
    }

    /// The first output of `graph`.
    pub(crate) fn loss(&mut self, graph: &TensorGraph) -> Tracked {
        let loss = self.get(&graph.outputs[0]).into_float();
        loss.expect("the loss is a float tensor")
    }
}
