//! [`JvpGraph`] -> [`RowSpaceGraph`]: the Hessian-vector product on vectors that live in the row
//! space of a mini-batch. Exact, not an approximation.
//!
//! A dense layer with input h `[r, m]` and output cotangent δ `[s, n]` meets its weight in products
//! only: h·W forward, δ·Wᵀ backward, and hᵀδ for the gradient. Every product H·v then has the weight
//! block
//!
//! ```text
//! V = hᵀA + Cᵀδ,    A = δ̇ [r, n],  C = ḣ [s, m]
//! ```
//!
//! so a Krylov space stays in that form after one product, and what is kept of a vector are its
//! *coordinates*: (A, C) for such a weight, the block itself for every other parameter. The tangent
//! pass reads V only as h·V and δ·Vᵀ, the *image* of the vector:
//!
//! ```text
//! h·V  = (h hᵀ) A + (h Cᵀ) δ
//! δ·Vᵀ = (δ Aᵀ) h + (δ δᵀ) C
//! ```
//!
//! which costs products with sample-by-sample Gram matrices instead of products with the weight.
//! The map M from coordinates to images is also the inner product, ⟨v, w⟩ = ⟨coordinates of v,
//! image of w⟩, and the tangent pass T maps images to coordinates: H = T·M in coordinates.
//!
//! [`matching`] finds the weights for which this holds; [`cost`] decides where it pays.

mod cost;
mod matching;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use burn_backend::Shape;
use burn_ir::{OperationIr, TensorId, TensorIr};

use crate::capture::Source;
use crate::ir::emitter::Emitter;
use crate::ir::{TensorGraph, rewrite_tensors};
use crate::linearize::JvpGraph;
use crate::simplify::simplify;
use matching::{RowWeight, Search};

/// What a part of a vector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The whole block of a parameter.
    Dense,
    /// A of V = hᵀA + Cᵀδ; its image is h·V.
    Left,
    /// C of V = hᵀA + Cᵀδ; its image is δ·Vᵀ.
    Right,
}

/// One tensor of the coordinates of a vector, and of its image, which has the same shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub param: usize,
    pub role: Role,
    pub shape: Vec<usize>,
    /// Its elements in the gradient: an output of the primal part; `None` is zero.
    pub gradient: Option<usize>,
    /// A typical norm of the rows that multiply it (h or δ), one number: an output of the primal part.
    pub scale: Option<usize>,
}

/// A program of the split product.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stage {
    /// Inputs: values kept by the primal part, then parts of a vector.
    pub graph: TensorGraph,
    /// Which outputs of the primal part it reads.
    pub reads: Vec<usize>,
    /// What its free inputs are: parts (or parameters, where the stage says so).
    pub inputs: Vec<usize>,
    /// What its outputs are.
    pub outputs: Vec<usize>,
}

/// A Hessian-vector product in the row space of a mini-batch.
#[derive(Clone, Debug)]
pub(crate) struct RowSpaceGraph {
    /// Outputs: the loss, then what the stages read.
    pub primal: TensorGraph,
    pub sources: Vec<Source>,
    pub parts: Vec<Part>,
    /// T: images of parts -> coordinates of H·v.
    pub tangent: Stage,
    /// M: coordinates -> images, for parts that are not dense.
    pub metric: Stage,
    /// Weights (by parameter) -> images, for parts that are not dense.
    pub image: Stage,
    /// Coordinates -> weights (by parameter), for parameters that are not dense.
    pub expansion: Stage,
}

/// Tensors of the parts that stages read and make.
#[derive(Default)]
struct Ends {
    inputs: Vec<(usize, TensorIr)>,
    outputs: Vec<(usize, TensorIr)>,
}

/// The graph under construction.
struct Builder {
    emit: Emitter,
    parts: Vec<Part>,
    /// For each part, its tensor in the gradient and its scale.
    known: Vec<(Option<TensorIr>, Option<TensorIr>)>,
    renamed: HashMap<TensorId, TensorIr>,
    tangent: Ends,
    metric: Ends,
    image: Ends,
    expansion: Ends,
}

impl JvpGraph {
    /// Splits the product as [`linearize`](Self::linearize) does, on vectors in the row space of the
    /// mini-batch for every weight where that holds and, unless `everywhere`, where it pays.
    pub(crate) fn row_space(&self, everywhere: bool) -> RowSpaceGraph {
        let graph = self.simplified();
        let mut emit = Emitter::new(graph.graph.next_id(), graph.settings);
        let search = Search::new(&graph);
        let mut weight = |param: usize| {
            let weight = search.find(param, &mut emit)?;
            (everywhere || cost::pays(&weight)).then_some(weight)
        };
        let weights: Vec<Option<RowWeight>> = (0..graph.gradients.len()).map(&mut weight).collect();
        let mut builder = Builder::new(emit);
        for (param, weight) in weights.iter().enumerate() {
            match weight {
                Some(weight) => builder.row_weight(param, weight),
                None => builder.dense(&graph, param),
            }
        }
        builder.finish(&graph)
    }
}

impl Builder {
    fn new(emit: Emitter) -> Self {
        Self {
            emit,
            parts: Vec::new(),
            known: Vec::new(),
            renamed: HashMap::new(),
            tangent: Ends::default(),
            metric: Ends::default(),
            image: Ends::default(),
            expansion: Ends::default(),
        }
    }

    fn part(&mut self, param: usize, role: Role, like: &TensorIr) -> usize {
        let shape = like.shape.as_slice().to_vec();
        self.parts.push(Part { param, role, shape, gradient: None, scale: None });
        self.known.push((None, None));
        self.parts.len() - 1
    }

    /// A parameter that keeps its block: the tangent pass is unchanged.
    fn dense(&mut self, graph: &JvpGraph, param: usize) {
        let gradient = graph.gradients[param].map(|g| graph.graph.outputs[g].clone());
        let (input, output) = (&graph.tangent_inputs[param], &graph.tangent_outputs[param]);
        let Some(like) = input.as_ref().or(gradient.as_ref()) else { return };
        let part = self.part(param, Role::Dense, like);
        self.known[part].0 = gradient;
        self.tangent.inputs.extend(input.clone().map(|t| (part, t)));
        self.tangent.outputs.extend(output.clone().map(|t| (part, t)));
    }

    /// A weight V = hᵀA + Cᵀδ: the products that read it become inputs, the factors of its block of
    /// H·v become outputs.
    fn row_weight(&mut self, param: usize, weight: &RowWeight) {
        let vector = self.emit.fresh(&weight.tangent);
        self.image.inputs.push((param, vector.clone()));
        let left = weight.left.as_ref().map(|side| self.side(param, Role::Left, side));
        let right = weight.right.as_ref().map(|side| self.side(param, Role::Right, side));
        self.images(&vector, &left, &right);
        let mut block = None;
        if let Some(Side { rows, coordinates, .. }) = &left {
            let transposed = self.emit.transpose(rows);
            block = Some(self.emit.matmul(&transposed, coordinates));
        }
        if let Some(Side { rows, coordinates, .. }) = &right {
            let transposed = self.emit.transpose(coordinates);
            let term = self.emit.matmul(&transposed, rows);
            block = Some(block.map_or(term.clone(), |block| self.emit.add(&block, &term)));
        }
        self.expansion.outputs.extend(block.map(|block| (param, block)));
    }

    /// One side of a row weight: its part, and what the stages read and make of it.
    fn side(&mut self, param: usize, role: Role, found: &matching::Side) -> Side {
        let image = self.emit.fresh(&found.coordinates);
        let part = self.part(param, role, &image);
        let coordinates = self.emit.fresh(&image);
        // ‖h‖² as a product of a row and a column: h² would be a copy of the whole batch.
        let n = found.rows.shape.num_elements();
        let row = self.emit.reshape(&found.rows, Shape::from([1, n]));
        let column = self.emit.reshape(&found.rows, Shape::from([n, 1]));
        let square = self.emit.matmul(&row, &column);
        let mean = self.emit.mul_scalar(&square, 1.0 / found.rows.shape[0] as f64);
        self.known[part] = (found.gradient.clone(), Some(self.emit.sqrt(&mean)));
        for product in &found.products {
            let image =
                if product.transposed { self.emit.transpose(&image) } else { image.clone() };
            self.renamed.insert(product.out, image);
        }
        self.tangent.inputs.push((part, image));
        self.tangent.outputs.push((part, found.coordinates.clone()));
        self.metric.inputs.push((part, coordinates.clone()));
        self.expansion.inputs.push((part, coordinates.clone()));
        Side { part, rows: found.rows.clone(), coordinates }
    }

    /// h·V and δ·Vᵀ: from the coordinates, through Gram matrices, and from a dense V.
    fn images(&mut self, vector: &TensorIr, left: &Option<Side>, right: &Option<Side>) {
        let transposed_vector = self.emit.transpose(vector);
        for (side, other, vector) in [(left, right, vector), (right, left, &transposed_vector)] {
            let Some(side) = side else { continue };
            let image = self.emit.matmul(&side.rows, vector);
            self.image.outputs.push((side.part, image));
            let transposed = self.emit.transpose(&side.rows);
            let gram = self.emit.matmul(&side.rows, &transposed);
            let mut image = self.emit.matmul(&gram, &side.coordinates);
            if let Some(other) = other {
                let transposed = self.emit.transpose(&other.coordinates);
                let mixed = self.emit.matmul(&side.rows, &transposed);
                let term = self.emit.matmul(&mixed, &other.rows);
                image = self.emit.add(&image, &term);
            }
            self.metric.outputs.push((side.part, image));
        }
    }

    /// Splits everything into the primal part and the stages, after simplifying all of it together.
    fn finish(mut self, graph: &JvpGraph) -> RowSpaceGraph {
        let n_primal_inputs = graph.sources.len();
        let mut inputs = graph.graph.inputs[..n_primal_inputs].to_vec();
        let mut unknown = HashSet::new();
        for (_, input) in self.ends().iter().flat_map(|ends| &ends.inputs) {
            unknown.insert(input.id);
            inputs.push(input.clone());
        }
        let known = self.known.iter().flat_map(|(gradient, scale)| [gradient, scale]);
        let mut outputs = vec![graph.graph.outputs[0].clone()];
        outputs.extend(known.flatten().cloned());
        outputs.extend(self.ends().iter().flat_map(|e| e.outputs.iter().map(|(_, t)| t.clone())));
        let ops = self.renamed_ops(graph, &mut outputs);
        let joint = simplify(TensorGraph { inputs, ops, outputs });

        let mut outputs = joint.outputs.into_iter();
        let mut next = || outputs.next().expect("as many outputs as before");
        let mut kept = Kept { outputs: vec![next()] };
        for (part, (gradient, scale)) in self.parts.iter_mut().zip(&self.known) {
            part.gradient = gradient.as_ref().map(|_| kept.position(&next()));
            part.scale = scale.as_ref().map(|_| kept.position(&next()));
        }
        for ends in [&mut self.tangent, &mut self.metric, &mut self.image, &mut self.expansion] {
            ends.outputs.iter_mut().for_each(|(_, tensor)| *tensor = next());
        }
        let (mut primal_ops, mut stage_ops) = (Vec::new(), Vec::new());
        for op in joint.ops {
            if op.inputs().any(|t| unknown.contains(&t.id)) {
                unknown.extend(op.outputs().map(|t| t.id));
                stage_ops.push(op);
            } else {
                primal_ops.push(op);
            }
        }
        let [tangent, metric, image, expansion] =
            self.ends().map(|ends| kept.stage(&stage_ops, &unknown, ends));
        let inputs = joint.inputs[..n_primal_inputs].to_vec();
        let primal = TensorGraph { inputs, ops: primal_ops, outputs: kept.outputs };
        RowSpaceGraph {
            primal: primal.without_dead_code(),
            sources: graph.sources.clone(),
            parts: self.parts,
            tangent,
            metric,
            image,
            expansion,
        }
    }

    fn ends(&self) -> [&Ends; 4] {
        [&self.tangent, &self.metric, &self.image, &self.expansion]
    }

    /// The operations of `graph` with the products of row weights replaced by their images, and the
    /// emitted ones. `outputs` are renamed alike.
    fn renamed_ops(&mut self, graph: &JvpGraph, outputs: &mut [TensorIr]) -> Vec<OperationIr> {
        let (emitted, renamed) = (std::mem::take(&mut self.emit.ops), &self.renamed);
        let is_replaced = |op: &OperationIr| op.outputs().any(|t| renamed.contains_key(&t.id));
        let original = graph.graph.ops.iter().filter(|op| !is_replaced(op));
        let mut ops: Vec<OperationIr> = original.cloned().chain(emitted).collect();
        let rename = |tensor: &mut TensorIr| {
            if let Some(image) = renamed.get(&tensor.id) {
                *tensor = image.clone();
            }
        };
        ops.iter_mut().for_each(|op| rewrite_tensors(op, |_, tensor| rename(tensor)));
        outputs.iter_mut().for_each(rename);
        in_order(ops)
    }
}

/// A side of a row weight while stages are emitted: h and A, or δ and C.
struct Side {
    part: usize,
    rows: TensorIr,
    coordinates: TensorIr,
}

/// `ops` sorted so that every operation comes after those that it reads; otherwise as they are.
fn in_order(ops: Vec<OperationIr>) -> Vec<OperationIr> {
    let producers: HashMap<TensorId, usize> =
        (0..).zip(&ops).flat_map(|(i, op)| op.outputs().map(move |t| (t.id, i))).collect();
    let mut placed = vec![false; ops.len()];
    let mut order = Vec::with_capacity(ops.len());
    for start in 0..ops.len() {
        let mut stack = vec![start];
        while let Some(&i) = stack.last() {
            let read = ops[i].inputs().filter_map(|t| producers.get(&t.id)).find(|&&j| !placed[j]);
            match read {
                Some(&j) if !placed[i] => stack.push(j),
                _ => {
                    if !placed[i] {
                        placed[i] = true;
                        order.push(i);
                    }
                    stack.pop();
                }
            }
        }
    }
    let mut ops: Vec<Option<OperationIr>> = ops.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| ops[i].take()).collect()
}

/// Outputs of the primal part, each once.
struct Kept {
    outputs: Vec<TensorIr>,
}

impl Kept {
    fn position(&mut self, tensor: &TensorIr) -> usize {
        self.outputs.iter().position(|t| t.id == tensor.id).unwrap_or_else(|| {
            self.outputs.push(tensor.clone());
            self.outputs.len() - 1
        })
    }

    /// The program that makes `ends.outputs` of `ends.inputs`.
    fn stage(&mut self, ops: &[OperationIr], unknown: &HashSet<TensorId>, ends: &Ends) -> Stage {
        let outputs = ends.outputs.iter().map(|(_, t)| t.clone()).collect();
        let graph = TensorGraph { inputs: Vec::new(), ops: ops.to_vec(), outputs };
        let mut graph = graph.without_dead_code();
        let mut seen = HashSet::new();
        let reads = graph.ops.iter().flat_map(|op| op.inputs()).chain(&graph.outputs);
        let residuals: Vec<TensorIr> =
            reads.filter(|t| !unknown.contains(&t.id) && seen.insert(t.id)).cloned().collect();
        let reads = residuals.iter().map(|t| self.position(t)).collect();
        let free = ends.inputs.iter().map(|(_, t)| t.clone());
        graph.inputs = residuals.into_iter().chain(free).collect();
        Stage {
            graph,
            reads,
            inputs: ends.inputs.iter().map(|(i, _)| *i).collect(),
            outputs: ends.outputs.iter().map(|(i, _)| *i).collect(),
        }
    }
}
