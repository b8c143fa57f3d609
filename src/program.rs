//! [`TensorGraph`] -> [`Program`]: ready to run on a device, with lifetimes known.
//!
//! Tensors get dense slots. The status that burn-ir keeps on each read is recomputed: a tensor is
//! moved out of its slot at its last use, so backends free it or work in place, and everything
//! else is a cheap clone of a handle.

use std::collections::{HashMap, HashSet};
use std::fmt;

use burn::tensor::Device;
use burn_dispatch::{Dispatch, DispatchTensor};
use burn_ir::{OperationIr, TensorId, TensorIr, TensorStatus};

use crate::error::{Error, Result, catch_panic};
use crate::ir::replay::{Replay, Value};
use crate::ir::{TensorGraph, rewrite_tensors};

/// A compiled graph: runs on any burn device.
#[derive(Clone)]
pub(crate) struct Program {
    inputs: Vec<TensorIr>,
    ops: Vec<Step>,
    outputs: Vec<TensorIr>,
    n_slots: usize,
}

/// One operation and the slots that nobody reads after it.
#[derive(Clone, Debug)]
struct Step {
    op: OperationIr,
    free: Vec<usize>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("n_ops", &self.n_ops()).finish_non_exhaustive()
    }
}

impl Program {
    /// Removes dead code, renumbers tensors to slots, finds last uses.
    pub fn compile(graph: TensorGraph) -> Self {
        let mut graph = graph.without_dead_code();
        let mut slots = Slots::default();
        graph.inputs.iter_mut().for_each(|t| slots.renumber(t));
        for op in &mut graph.ops {
            rewrite_tensors(op, |_, t| slots.renumber(t));
        }
        graph.outputs.iter_mut().for_each(|t| slots.renumber(t));

        let mut live: HashSet<TensorId> = graph.outputs.iter().map(|t| t.id).collect();
        let mut ops: Vec<Step> = Vec::with_capacity(graph.ops.len());
        for mut op in graph.ops.into_iter().rev() {
            ops.push(Step { free: mark_last_uses(&mut op, &mut live), op });
        }
        ops.reverse();
        Self { inputs: graph.inputs, ops, outputs: graph.outputs, n_slots: slots.0.len() }
    }

    /// The tensors that a run takes.
    pub fn inputs(&self) -> &[TensorIr] {
        &self.inputs
    }

    /// The most memory that the results of a run take at one moment. A view counts as a copy.
    pub fn peak_bytes(&self) -> usize {
        let bytes = |t: &TensorIr| t.shape.num_elements() * t.dtype.size();
        let mut sizes = vec![0; self.n_slots];
        let (mut now, mut peak) = (0, 0);
        for Step { op, free } in &self.ops {
            for output in op.outputs() {
                sizes[output.id.value() as usize] = bytes(output);
                now += bytes(output);
            }
            peak = now.max(peak);
            let moved = op.inputs().filter(|t| t.status == TensorStatus::ReadWrite);
            let moved = moved.map(|t| t.id.value() as usize);
            for slot in free.iter().copied().chain(moved) {
                now -= std::mem::take(&mut sizes[slot]);
            }
        }
        peak
    }

    /// Number of operations.
    pub fn n_ops(&self) -> usize {
        self.ops.len()
    }

    /// Runs the program; `inputs` in the order of the graph's inputs.
    ///
    /// # Errors
    /// [`Error::Execution`] when the backend panics.
    pub fn run(
        &self,
        inputs: impl IntoIterator<Item = DispatchTensor>,
        device: &Device,
    ) -> Result<Vec<DispatchTensor>> {
        let run = || {
            let mut replay = Replay::<Dispatch>::new(self.n_slots, device.as_dispatch().clone());
            for (tensor, value) in self.inputs.iter().zip(inputs) {
                replay.set(tensor, Value::of(value));
            }
            for step in &self.ops {
                replay.run(&step.op);
                step.free.iter().for_each(|&slot| replay.free(slot));
            }
            Ok(self.outputs.iter().map(|t| replay.get(t).into_tensor()).collect())
        };
        catch_panic(run, |message| Error::Execution { message })
    }
}

#[derive(Default)]
struct Slots(HashMap<TensorId, u64>);

impl Slots {
    fn renumber(&mut self, tensor: &mut TensorIr) {
        let next = self.0.len() as u64;
        tensor.id = TensorId::new(*self.0.entry(tensor.id).or_insert(next));
        tensor.status = TensorStatus::ReadOnly;
    }
}

/// Going backwards: marks reads of tensors that are not live afterwards as their last use, makes
/// the inputs live, and returns the slots to clear after `op` (outputs that nobody reads, and
/// tensors that it reads twice, which cannot be moved out at the first read).
fn mark_last_uses(op: &mut OperationIr, live: &mut HashSet<TensorId>) -> Vec<usize> {
    let mut free = Vec::new();
    for output in op.outputs() {
        if !live.remove(&output.id) {
            free.push(output.id.value() as usize);
        }
    }
    let reads: Vec<TensorId> = op.inputs().map(|t| t.id).collect();
    let n_reads = |id: TensorId| reads.iter().filter(|&&r| r == id).count();
    for (position, &id) in reads.iter().enumerate() {
        if !live.contains(&id) && n_reads(id) > 1 && reads[..position].iter().all(|&r| r != id) {
            free.push(id.value() as usize);
        }
    }
    rewrite_tensors(op, |position, tensor| {
        if position < reads.len() && !live.contains(&tensor.id) && n_reads(tensor.id) == 1 {
            tensor.status = TensorStatus::ReadWrite;
        }
    });
    live.extend(reads);
    free
}
