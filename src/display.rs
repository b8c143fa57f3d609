//! A graph as text: one operation a line, with shapes, ids renumbered from 0 in order of
//! appearance, so that the text of equal graphs is equal.

use std::collections::HashMap;
use std::fmt::{self, Write};

use burn_ir::{TensorId, TensorIr};

use crate::ir::{TensorGraph, scalars};
use crate::tangent::op_name;

/// Writes `graph` as text; `names` gives the inputs' names.
pub(crate) fn write_graph(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    graph: &TensorGraph,
    names: &[String],
    outputs: &[&str],
) -> fmt::Result {
    let mut ids = Ids::default();
    writeln!(f, "{title}: {} operations", graph.ops.len())?;
    for (tensor, name) in graph.inputs.iter().zip(names) {
        writeln!(f, "  in  {} = {name}", ids.typed(tensor))?;
    }
    for op in &graph.ops {
        let outs: Vec<_> = op.outputs().map(|t| ids.typed(t)).collect();
        let ins: Vec<_> = op.inputs().map(|t| ids.short(t.id)).collect();
        let mut args = ins.join(", ");
        for scalar in scalars(op) {
            write!(args, ", {scalar:?}")?;
        }
        writeln!(f, "  {} = {}({args})", outs.join(", "), op_name(op))?;
    }
    for (index, tensor) in graph.outputs.iter().enumerate() {
        let name = outputs.get(index).or(outputs.last()).copied().unwrap_or("output");
        writeln!(f, "  out {} = {name}", ids.short(tensor.id))?;
    }
    Ok(())
}

#[derive(Default)]
struct Ids(HashMap<TensorId, usize>);

impl Ids {
    fn short(&mut self, id: TensorId) -> String {
        let next = self.0.len();
        format!("%{}", self.0.entry(id).or_insert(next))
    }

    fn typed(&mut self, tensor: &TensorIr) -> String {
        let id = self.short(tensor.id);
        format!("{id}: {:?}{:?}", tensor.dtype, tensor.shape.as_slice())
    }
}
