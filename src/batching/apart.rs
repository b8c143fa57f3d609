//! k copies of which the wide tensors stay apart.
//!
//! Blocks of vectors are wide: k weights side by side would be copied together, copied apart, and too
//! large for an allocator to keep. So a tensor of at least `wide` elements is k tensors, operations that
//! read or make one are looped over the copies, and all the others run on k copies at once.

use std::collections::{BTreeSet, HashMap};

use burn_backend::DeviceSettings;
use burn_ir::{OperationIr, TensorId, TensorIr};

use super::Pass;
use super::copies::{Copies, with_axis};
use crate::ir::TensorGraph;
use crate::ir::emitter::Emitter;

/// A graph for k copies of some of its inputs. An input or output that is apart stands k times in a
/// row, without a leading axis.
#[derive(Clone, Debug)]
pub(crate) struct ApartGraph {
    pub graph: TensorGraph,
    pub inputs_apart: Vec<bool>,
    pub outputs_apart: Vec<bool>,
}

/// The graph for `k` copies of the inputs that `batched_inputs` marks.
pub(crate) fn batch_apart(
    graph: &TensorGraph,
    batched_inputs: &[bool],
    k: usize,
    wide: usize,
    settings: DeviceSettings,
) -> ApartGraph {
    let mut pass = Apart {
        pass: Pass {
            emit: Emitter::new(graph.next_id(), settings),
            k,
            copies: HashMap::new(),
            looped: BTreeSet::new(),
        },
        wide,
        apart: HashMap::new(),
    };
    let (mut inputs, mut inputs_apart) = (Vec::new(), Vec::new());
    for (input, batched) in graph.inputs.iter().zip(batched_inputs) {
        inputs_apart.push(*batched && pass.is_wide(input));
        if !batched {
            inputs.push(input.clone());
        } else if pass.is_wide(input) {
            let copies: Vec<TensorIr> = (0..k).map(|_| pass.pass.emit.fresh(input)).collect();
            inputs.extend(copies.clone());
            pass.apart.insert(input.id, copies);
        } else {
            let mut stacked = input.clone();
            stacked.shape = with_axis(k, &input.shape);
            inputs.push(stacked.clone());
            pass.pass.copies.insert(input.id, stacked);
        }
    }
    graph.ops.iter().for_each(|op| pass.push(op));
    let outputs = graph.outputs.iter().flat_map(|t| match pass.apart.get(&t.id) {
        Some(copies) => copies.clone(),
        None => vec![pass.pass.copies.get(&t.id).unwrap_or(t).clone()],
    });
    let outputs = outputs.collect();
    let outputs_apart = graph.outputs.iter().map(|t| pass.apart.contains_key(&t.id)).collect();
    let graph = TensorGraph { inputs, ops: pass.pass.emit.ops, outputs }.without_dead_code();
    ApartGraph { graph, inputs_apart, outputs_apart }
}

struct Apart {
    pass: Pass,
    wide: usize,
    /// The copies of each wide tensor.
    apart: HashMap<TensorId, Vec<TensorIr>>,
}

impl Apart {
    fn is_wide(&self, tensor: &TensorIr) -> bool {
        tensor.shape.num_elements() >= self.wide
    }

    fn push(&mut self, op: &OperationIr) {
        let reads_wide = op.inputs().any(|t| self.apart.contains_key(&t.id));
        let reads_copies = op.inputs().any(|t| self.pass.copies.contains_key(&t.id));
        let makes_wide = reads_copies && op.outputs().any(|t| self.is_wide(t));
        if reads_wide || makes_wide { self.push_looped(op) } else { self.pass.push(op) }
    }

    fn push_looped(&mut self, op: &OperationIr) {
        let mut results: Vec<Vec<TensorIr>> = vec![Vec::new(); op.outputs().count()];
        for copy in 0..self.pass.k {
            let inputs: Vec<TensorIr> = op.inputs().map(|t| self.one_of(t, copy)).collect();
            let mut cx = Copies::new(op, &mut self.pass.emit, 1, vec![None; inputs.len()]);
            for (results, y) in results.iter_mut().zip(cx.one_copy(&inputs)) {
                results.push(y);
            }
        }
        for (out, results) in op.outputs().zip(results) {
            if self.is_wide(out) {
                self.apart.insert(out.id, results);
                continue;
            }
            let emit = &mut self.pass.emit;
            let mut row = |y: &TensorIr| emit.reshape(y, with_axis(1, &y.shape));
            let rows: Vec<TensorIr> = results.iter().map(&mut row).collect();
            let stacked = if rows.len() == 1 { rows[0].clone() } else { emit.cat(rows, 0) };
            self.pass.copies.insert(out.id, stacked);
        }
    }

    fn one_of(&mut self, tensor: &TensorIr, copy: usize) -> TensorIr {
        if let Some(copies) = self.apart.get(&tensor.id) {
            return copies[copy].clone();
        }
        let Some(stacked) = self.pass.copies.get(&tensor.id).cloned() else {
            return tensor.clone();
        };
        let slice = self.pass.emit.slice(&stacked, 0, copy..copy + 1);
        self.pass.emit.reshape(&slice, tensor.shape.clone())
    }
}
