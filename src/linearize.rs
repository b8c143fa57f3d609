//! [`GradientGraph`] -> [`JvpGraph`] -> [`LinearizedGraph`]: the Hessian-vector product, split
//! into a part that is paid once per point and a part that is paid once per vector.
//!
//! `push_forward` carries parameter tangents v through the gradient: the outputs' tangents are
//! H·v (forward over reverse; Pearlmutter 1994). `linearize` separates what depends on v from what
//! does not (as partial evaluation does in JAX's `linearize`):
//!
//! ```text
//! primal : (parameters, batch)  -> (loss, gradient, residuals)
//! tangent: (residuals, v)       -> H v
//! ```

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use burn::tensor::DeviceSettings;
use burn_ir::{TensorId, TensorIr};

use crate::capture::{Source, param_inputs, source_names};
use crate::display::write_graph;
use crate::error::Result;
use crate::gradient::GradientGraph;
use crate::ir::TensorGraph;
use crate::simplify::simplify;
use crate::tangent::{PushedForward, Tangent, push_forward};

/// The gradient and, interleaved with it, the operations on tangents.
#[derive(Clone, Debug)]
pub struct JvpGraph {
    /// All operations; inputs are the gradient's, then one tangent per parameter in use; outputs
    /// are the gradient's, then the tangents that are not zero.
    pub(crate) graph: TensorGraph,
    pub(crate) sources: Vec<Source>,
    pub(crate) gradients: Vec<Option<usize>>,
    /// For each parameter its tangent input; `None`: the loss does not use it.
    pub(crate) tangent_inputs: Vec<Option<TensorIr>>,
    /// For each parameter, the tangent of its gradient.
    pub(crate) tangent_outputs: Vec<Tangent>,
    pub(crate) settings: DeviceSettings,
    pub(crate) differentiated: BTreeSet<String>,
}

impl GradientGraph {
    /// Appends the operations that compute the tangent of the gradient.
    ///
    /// # Errors
    /// [`UnsupportedOps`](crate::Error::UnsupportedOps) with every operation of the reverse pass
    /// that has no rule.
    pub fn push_forward(&self) -> Result<JvpGraph> {
        let inputs = param_inputs(&self.sources, self.gradients.len());
        let wrt: Vec<usize> = inputs.iter().flatten().copied().collect();
        let pushed = push_forward(&self.graph, &wrt, self.settings)?;
        let PushedForward { ops, tangent_inputs, tangent_outputs, constants, differentiated } =
            pushed;

        let mut remaining = tangent_inputs.clone().into_iter();
        let per_param = inputs.iter().map(|i| i.and_then(|_| remaining.next())).collect();
        let of_param = |output: &Option<usize>| output.and_then(|o| tangent_outputs[o].clone());
        let per_gradient: Vec<Tangent> = self.gradients.iter().map(of_param).collect();

        let mut graph = TensorGraph { ops, ..self.graph.clone() };
        let mut sources = self.sources.clone();
        for (tensor, data) in constants {
            graph.inputs.push(tensor);
            sources.push(Source::Fixed(data));
        }
        graph.inputs.extend(tangent_inputs);
        graph.outputs.extend(per_gradient.iter().flatten().cloned());
        Ok(JvpGraph {
            graph,
            sources,
            gradients: self.gradients.clone(),
            tangent_inputs: per_param,
            tangent_outputs: per_gradient,
            settings: self.settings,
            differentiated,
        })
    }
}

impl JvpGraph {
    pub(crate) fn graph(&self) -> &TensorGraph {
        &self.graph
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Which parameters have a tangent input.
    pub(crate) fn uses_tangent(&self) -> Vec<bool> {
        self.tangent_inputs.iter().map(Option::is_some).collect()
    }

    /// Which parameters have a tangent output.
    pub(crate) fn has_product(&self) -> Vec<bool> {
        self.tangent_outputs.iter().map(Option::is_some).collect()
    }

    /// Names of the operations through which tangents went, for example `float.Matmul`.
    pub fn differentiated_ops(&self) -> &BTreeSet<String> {
        &self.differentiated
    }
}

impl fmt::Display for JvpGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = source_names(&self.sources);
        let used = (0..).zip(&self.tangent_inputs).filter(|(_, t)| t.is_some());
        names.extend(used.map(|(i, _)| format!("tangent of parameter {i}")));
        let n_gradients = self.gradients.iter().flatten().count();
        let mut outputs = vec!["loss"];
        outputs.extend(vec!["gradient"; n_gradients]);
        outputs.push("tangent of gradient");
        write_graph(f, "JvpGraph", &self.graph, &names, &outputs)
    }
}

/// The two programs of a Hessian-vector product.
#[derive(Clone, Debug)]
pub struct LinearizedGraph {
    /// Outputs: loss, gradients in use, residuals.
    pub(crate) primal: TensorGraph,
    /// Inputs: residuals, tangents in use. Outputs: tangents of gradients that are not zero.
    pub(crate) tangent: TensorGraph,
    pub(crate) sources: Vec<Source>,
    pub(crate) gradients: Vec<Option<usize>>,
    pub(crate) n_residuals: usize,
    /// Which parameters have a tangent input.
    pub(crate) uses_tangent: Vec<bool>,
    /// Which parameters have a tangent output.
    pub(crate) has_product: Vec<bool>,
    pub(crate) settings: DeviceSettings,
}

impl JvpGraph {
    /// The same graph by fewer operations, primal and tangent ones together.
    pub(crate) fn simplified(&self) -> Self {
        let graph = simplify(self.graph.clone());
        let n_outputs = 1 + self.gradients.iter().flatten().count();
        let mut products = graph.outputs[n_outputs..].iter().cloned();
        let present = self.tangent_outputs.iter();
        let tangent_outputs = present.map(|t| t.as_ref().and_then(|_| products.next())).collect();
        Self { graph, tangent_outputs, ..self.clone() }
    }

    /// Splits what depends on the tangents from what does not, after simplifying both together.
    pub fn linearize(&self) -> LinearizedGraph {
        let n_outputs = 1 + self.gradients.iter().flatten().count();
        let graph = simplify(self.graph.clone());
        let (primal, tangent, n_residuals) = split(&graph, self.sources.len(), n_outputs);
        LinearizedGraph {
            primal,
            tangent,
            sources: self.sources.clone(),
            gradients: self.gradients.clone(),
            n_residuals,
            uses_tangent: self.uses_tangent(),
            has_product: self.has_product(),
            settings: self.settings,
        }
    }
}

/// Splits a graph whose inputs are `n_primal` known ones, then free ones, into what depends on known
/// ones alone and the rest. Outputs of the former: `n_outputs` of the whole, then the residuals, whose
/// number is returned; the latter reads them, then the free inputs.
pub(crate) fn split(
    graph: &TensorGraph,
    n_primal: usize,
    n_outputs: usize,
) -> (TensorGraph, TensorGraph, usize) {
    let (known, free) = graph.inputs.split_at(n_primal);
    let mut unknown: HashSet<TensorId> = free.iter().map(|t| t.id).collect();
    let (mut primal_ops, mut tangent_ops) = (Vec::new(), Vec::new());
    for op in &graph.ops {
        if op.inputs().any(|t| unknown.contains(&t.id)) {
            unknown.extend(op.outputs().map(|t| t.id));
            tangent_ops.push(op.clone());
        } else {
            primal_ops.push(op.clone());
        }
    }
    let (outputs, products) = graph.outputs.split_at(n_outputs);
    let (inputs, products) = (Vec::new(), products.to_vec());
    let tangent = TensorGraph { inputs, ops: tangent_ops, outputs: products };
    let mut tangent = tangent.without_dead_code();
    let residuals = residuals(&tangent, &unknown);
    tangent.inputs = residuals.iter().chain(free).cloned().collect();
    let outputs = outputs.iter().chain(&residuals).cloned().collect();
    let primal = TensorGraph { inputs: known.to_vec(), ops: primal_ops, outputs };
    (primal.without_dead_code(), tangent, residuals.len())
}

/// What the tangent operations and outputs read of the primal part, in order of first use.
fn residuals(tangent: &TensorGraph, unknown: &HashSet<TensorId>) -> Vec<TensorIr> {
    let mut seen = HashSet::new();
    let reads = tangent.ops.iter().flat_map(|op| op.inputs()).chain(&tangent.outputs);
    let known = reads.filter(|t| !unknown.contains(&t.id));
    known.filter(|t| seen.insert(t.id)).cloned().collect()
}

impl fmt::Display for LinearizedGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = source_names(&self.sources);
        let n_gradients = self.gradients.iter().flatten().count();
        let mut outputs = vec!["loss"];
        outputs.extend(vec!["gradient"; n_gradients]);
        outputs.push("residual");
        write_graph(f, "primal part", &self.primal, &names, &outputs)?;
        let mut names: Vec<_> = (0..self.n_residuals).map(|i| format!("residual {i}")).collect();
        let used = self.uses_tangent.iter().enumerate().filter(|(_, used)| **used);
        names.extend(used.map(|(i, _)| format!("tangent of parameter {i}")));
        write_graph(f, "tangent part", &self.tangent, &names, &["product"])
    }
}
