//! Puts graphs together: one reads what another one made.

use std::collections::HashMap;

use burn_ir::{TensorId, TensorIr, TensorStatus};

use super::emitter::Emitter;
use super::{TensorGraph, rewrite_tensors};

impl Emitter {
    /// Appends the operations of `graph`, whose inputs become `inputs`; every other tensor gets a fresh
    /// id. Returns its outputs.
    pub fn append(&mut self, graph: &TensorGraph, inputs: &[TensorIr]) -> Vec<TensorIr> {
        debug_assert_eq!(graph.inputs.len(), inputs.len());
        let known = graph.inputs.iter().map(|t| t.id).zip(inputs.iter().cloned());
        let mut known: HashMap<TensorId, TensorIr> = known.collect();
        for op in &graph.ops {
            let mut op = op.clone();
            rewrite_tensors(&mut op, |_, tensor| {
                let mapped = known.entry(tensor.id).or_insert_with(|| self.fresh(tensor));
                tensor.id = mapped.id;
                tensor.status = TensorStatus::ReadOnly;
            });
            self.ops.push(op);
        }
        graph.outputs.iter().map(|t| known.get(&t.id).unwrap_or(t).clone()).collect()
    }
}
