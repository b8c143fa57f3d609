//! [`batch`]: a program for k independent copies of some of its inputs, as one program.
//!
//! A tensor that depends on a batched input gets a leading axis of length k; what does not is
//! computed once. One row per operation says how it runs on k copies (as `vmap` does in JAX):
//! most run as they are on one more axis, products and convolutions fold the copies into rows or
//! channels, and what has no batched form is looped over the copies.

mod apart;
mod axes;
mod conv;
mod copies;
mod indexing;
mod lane;
mod matmul;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use burn_backend::DeviceSettings;
use burn_ir::{OperationIr, TensorId, TensorIr};

use crate::ir::emitter::Emitter;
use crate::ir::{TensorGraph, rewrite_tensors};
use crate::tangent::op_name;
pub(crate) use apart::batch_apart;
use copies::{Copies, with_axis};

/// A graph for `k` independent copies of some of its inputs, which get a leading axis of length k.
#[derive(Clone, Debug)]
pub(crate) struct BatchedGraph {
    pub graph: TensorGraph,
    /// Which outputs have the leading axis; the others do not depend on a batched input.
    pub batched_outputs: Vec<bool>,
    /// Names of operations that are looped over the k copies, because they have no batched form.
    pub looped: BTreeSet<String>,
}

/// The graph for `k` copies of the inputs that `batched_inputs` marks.
pub(crate) fn batch(
    graph: &TensorGraph,
    batched_inputs: &[bool],
    k: usize,
    settings: DeviceSettings,
) -> BatchedGraph {
    let mut pass = Pass {
        emit: Emitter::new(graph.next_id(), settings),
        k,
        copies: HashMap::new(),
        looped: BTreeSet::new(),
    };
    let mut inputs = graph.inputs.clone();
    for (input, _) in inputs.iter_mut().zip(batched_inputs).filter(|(_, batched)| **batched) {
        input.shape = with_axis(k, &input.shape);
        pass.copies.insert(input.id, input.clone());
    }
    graph.ops.iter().for_each(|op| pass.push(op));
    let outputs = graph.outputs.iter().map(|t| pass.copies.get(&t.id).unwrap_or(t).clone());
    let (outputs, ops) = (outputs.collect(), pass.emit.ops);
    debug_assert!(pass.emit.constants.is_empty(), "a batched graph has the inputs of the graph");
    BatchedGraph {
        batched_outputs: graph.outputs.iter().map(|t| pass.copies.contains_key(&t.id)).collect(),
        graph: TensorGraph { inputs, ops, outputs }.without_dead_code(),
        looped: pass.looped,
    }
}

/// The graph under construction.
struct Pass {
    emit: Emitter,
    k: usize,
    /// For each tensor of the graph that is batched, the one with the leading axis.
    copies: HashMap<TensorId, TensorIr>,
    looped: BTreeSet<String>,
}

impl Pass {
    /// Appends what `op` becomes.
    fn push(&mut self, op: &OperationIr) {
        let batched = op.inputs().map(|t| self.copies.get(&t.id).cloned()).collect();
        let mut cx = Copies::new(op, &mut self.emit, self.k, batched);
        if !cx.any_batched() {
            return cx.push_once();
        }
        let outputs = lane::apply(&mut cx).unwrap_or_else(|| {
            self.looped.insert(op_name(op));
            lane::looped(&mut cx)
        });
        for (before, after) in op.outputs().zip(outputs) {
            debug_assert_eq!(after.shape, with_axis(self.k, &before.shape), "{}", op_name(op));
            self.copies.insert(before.id, after);
        }
    }
}

/// `op` with these inputs and, for its outputs, fresh tensors of these shapes.
fn push_as(
    emit: &mut Emitter,
    mut op: OperationIr,
    inputs: &[TensorIr],
    shapes: &[burn_backend::Shape],
) -> Vec<TensorIr> {
    let mut outputs = Vec::with_capacity(shapes.len());
    rewrite_tensors(&mut op, |position, tensor| match inputs.get(position) {
        Some(input) => *tensor = input.clone(),
        None => {
            *tensor = emit.fresh(tensor);
            tensor.shape = shapes[position - inputs.len()].clone();
            outputs.push(tensor.clone());
        }
    });
    emit.ops.push(op);
    outputs
}
