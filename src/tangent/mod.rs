//! Forward mode: [`push_forward`] carries tangents through a graph, one rule per operation.
//!
//! For a program y = f(x) it appends operations that compute ẏ = f′(x)·ẋ (the Jacobian-vector
//! product; Baydin et al. 2018, section 3.1). Applied to a gradient graph, ẏ is the
//! Hessian-vector product of Pearlmutter (1994). An absent tangent is a symbolic zero: no
//! operation is emitted for it.

mod rule;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use burn_backend::DeviceSettings;
use burn_ir::{OperationIr, TensorId, TensorIr};

use crate::error::{Error, Result, UnsupportedOp};
use crate::ir::TensorGraph;
use crate::ir::emitter::{Constant, Emitter};
use rule::RuleCx;
pub(crate) use rule::{Rule, Tangent};
pub(crate) use rules::{Row, op_name, tables, with_bias};

/// The result of [`push_forward`].
#[derive(Debug)]
pub(crate) struct PushedForward {
    /// The primal operations and, after each, its tangent operations.
    pub ops: Vec<OperationIr>,
    /// ẋ of each requested input, in order.
    pub tangent_inputs: Vec<TensorIr>,
    /// ẏ of each output of the graph; `None` is a symbolic zero.
    pub tangent_outputs: Vec<Tangent>,
    /// Constants that tangent operations read.
    pub constants: Vec<Constant>,
    /// Names of the operations whose rule was asked for a tangent.
    pub differentiated: BTreeSet<String>,
}

/// Every operation of `graph` that has no rule, with position and shapes: found before anything
/// is emitted.
pub(crate) fn unsupported_ops(graph: &TensorGraph) -> Vec<UnsupportedOp> {
    operations_with(graph, rule::unsupported_reason)
}

/// Fails with the list of operations that have no rule.
pub(crate) fn check_supported(graph: &TensorGraph) -> Result<()> {
    fail_with(unsupported_ops(graph))
}

/// Fails with the list of operations that have no rule or are still to be written out.
fn check_written_out(graph: &TensorGraph) -> Result<()> {
    let whole = |op: &OperationIr| is_expanded(op).then_some("expand the graph of the loss first");
    fail_with(operations_with(graph, |op| rule::unsupported_reason(op).or_else(|| whole(op))))
}

fn operations_with(
    graph: &TensorGraph,
    reason: impl Fn(&OperationIr) -> Option<&'static str>,
) -> Vec<UnsupportedOp> {
    let describe = |(index, op): (usize, &OperationIr)| {
        Some(UnsupportedOp {
            name: op_name(op),
            index,
            shapes: op.inputs().map(|t| t.shape.as_slice().to_vec()).collect(),
            reason: reason(op)?,
        })
    };
    graph.ops.iter().enumerate().filter_map(describe).collect()
}

fn fail_with(ops: Vec<UnsupportedOp>) -> Result<()> {
    if ops.is_empty() { Ok(()) } else { Err(Error::UnsupportedOps(ops)) }
}

/// Whether an operation is written out before it is differentiated.
pub(crate) fn is_expanded(op: &OperationIr) -> bool {
    matches!(rules::row(op).rule, Rule::Expanded)
}

/// Carries tangents of the inputs `wrt` (positions in `graph.inputs`) to the outputs.
pub(crate) fn push_forward(
    graph: &TensorGraph,
    wrt: &[usize],
    settings: DeviceSettings,
) -> Result<PushedForward> {
    check_written_out(graph)?;
    let mut emit = Emitter::new(graph.next_id(), settings);
    let mut tangents: HashMap<TensorId, TensorIr> = HashMap::new();
    let (mut tangent_inputs, mut differentiated) = (Vec::new(), BTreeSet::new());
    for &position in wrt {
        let input = &graph.inputs[position];
        let tangent = emit.fresh(input);
        tangents.insert(input.id, tangent.clone());
        tangent_inputs.push(tangent);
    }
    for op in &graph.ops {
        emit.ops.push(op.clone());
        let dx: Vec<Tangent> = op.inputs().map(|t| tangents.get(&t.id).cloned()).collect();
        if dx.iter().all(Option::is_none) {
            continue;
        }
        differentiated.insert(op_name(op));
        let tangent = rule::apply(&mut RuleCx::new(op, dx, &mut emit));
        if let (Some(tangent), Some(out)) = (tangent, op.outputs().next()) {
            debug_assert_eq!(tangent.shape, out.shape, "tangent of {}", op_name(op));
            tangents.insert(out.id, tangent);
        }
    }
    let tangent_of = |t: &TensorIr| tangents.get(&t.id).cloned();
    Ok(PushedForward {
        tangent_outputs: graph.outputs.iter().map(tangent_of).collect(),
        ops: emit.ops,
        tangent_inputs,
        constants: emit.constants,
        differentiated,
    })
}
