//! The only place that knows the shapes of burn-ir's types.
//!
//! A [`TensorGraph`] is a straight-line program over burn-ir operations: inputs, operations in
//! execution order, outputs. [`Emitter`](emitter::Emitter) appends to one,
//! [`replay`](replay::Replay) runs one on any burn backend.

mod append;
pub(crate) mod emitter;
pub(crate) mod replay;

use std::collections::{HashMap, HashSet};

use burn_ir::{IrVisitorMut, OperationIr, ScalarIr, TensorId, TensorIr, TensorStatus};

/// A straight-line tensor program: every operation reads inputs or earlier results.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TensorGraph {
    pub inputs: Vec<TensorIr>,
    pub ops: Vec<OperationIr>,
    pub outputs: Vec<TensorIr>,
}

impl TensorGraph {
    /// For each operation, whether an output depends on it.
    pub fn live_ops(&self) -> Vec<bool> {
        let mut live: HashSet<TensorId> = self.outputs.iter().map(|t| t.id).collect();
        let mut keep = vec![false; self.ops.len()];
        for (op, keep) in self.ops.iter().zip(keep.iter_mut()).rev() {
            if op.outputs().any(|t| live.contains(&t.id)) {
                *keep = true;
                live.extend(op.inputs().map(|t| t.id));
            }
        }
        keep
    }

    /// Removes every operation that no output depends on; order is kept.
    pub fn without_dead_code(mut self) -> Self {
        let mut keep = self.live_ops().into_iter();
        self.ops.retain(|_| keep.next().unwrap_or(false));
        self
    }

    /// The part of the graph that its first output depends on.
    pub fn first_output_alone(mut self) -> Self {
        self.outputs.truncate(1);
        self.without_dead_code()
    }

    /// The graph with ids 0, 1, 2, ... in order of appearance and read-only inputs, so that equal
    /// programs are equal values. Inputs that nothing reads are dropped, with their `labels`.
    pub fn with_dense_ids<L>(mut self, labels: &mut Vec<L>) -> Self {
        let mut used: HashSet<TensorId> = self.outputs.iter().map(|t| t.id).collect();
        used.extend(self.ops.iter().flat_map(|op| op.inputs()).map(|t| t.id));
        let mut keep =
            self.inputs.iter().map(|t| used.contains(&t.id)).collect::<Vec<_>>().into_iter();
        labels.retain(|_| keep.next().unwrap_or(true));
        self.inputs.retain(|t| used.contains(&t.id));

        let mut ids = HashMap::new();
        let mut renumber = |tensor: &mut TensorIr| {
            let next = TensorId::new(ids.len() as u64);
            tensor.id = *ids.entry(tensor.id).or_insert(next);
            tensor.status = TensorStatus::ReadOnly;
        };
        self.inputs.iter_mut().for_each(&mut renumber);
        for op in &mut self.ops {
            rewrite_tensors(op, |_, tensor| renumber(tensor));
        }
        self.outputs.iter_mut().for_each(&mut renumber);
        self
    }

    /// The first id that is free in this graph.
    pub fn next_id(&self) -> u64 {
        let ids = self.inputs.iter().map(|t| t.id.value());
        let nodes = self.ops.iter().flat_map(|op| op.nodes());
        ids.chain(nodes.map(|t| t.id.value())).max().map_or(0, |id| id + 1)
    }
}

/// True for tensors that carry a tangent: 32- and 64-bit floats (and the half types).
pub(crate) fn is_float(tensor: &TensorIr) -> bool {
    tensor.dtype.is_float()
}

/// Rewrites the tensors of `op` in burn-ir's order: inputs first, then outputs. `rewrite` is
/// told the position among inputs and outputs together.
pub(crate) fn rewrite_tensors(op: &mut OperationIr, rewrite: impl FnMut(usize, &mut TensorIr)) {
    struct Visitor<F> {
        position: usize,
        rewrite: F,
    }
    impl<F: FnMut(usize, &mut TensorIr)> IrVisitorMut for Visitor<F> {
        fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
            (self.rewrite)(self.position, tensor);
            self.position += 1;
        }
    }
    op.visit_mut(&mut Visitor { position: 0, rewrite });
}

/// The scalar arguments of `op`, in burn-ir's order.
pub(crate) fn scalars(op: &OperationIr) -> Vec<ScalarIr> {
    struct Visitor(Vec<ScalarIr>);
    impl IrVisitorMut for Visitor {
        fn visit_scalar_mut(&mut self, scalar: &mut ScalarIr) {
            self.0.push(*scalar);
        }
    }
    let mut visitor = Visitor(Vec::new());
    op.clone().visit_mut(&mut visitor);
    visitor.0
}
