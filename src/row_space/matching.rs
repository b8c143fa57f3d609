//! Finds the weights that meet their data in matrix products, and nowhere else.
//!
//! A weight qualifies when its tangent V is read only as h·V or δ·Vᵀ with one h and one δ that do
//! not depend on V, its block of H·v is a sum of products hᵀA and Cᵀδ with the same h and δ, and so
//! is its gradient. Whatever is between (transposes, sums) is looked through; anything else, a
//! second use, a convolution, a penalty on the weight, leaves the weight dense.

use std::collections::{HashMap, HashSet};

use burn_ir::{
    BaseOperationIr, FloatOperationIr, NumericOperationIr, OperationIr, TensorId, TensorIr,
};

use crate::ir::emitter::Emitter;
use crate::linearize::JvpGraph;

/// A weight V = hᵀA + Cᵀδ. One side may be missing: the first layer has no C.
#[derive(Clone, Debug)]
pub(super) struct RowWeight {
    /// Its tangent `[m, n]`.
    pub tangent: TensorIr,
    /// h, and A.
    pub left: Option<Side>,
    /// δ, and C.
    pub right: Option<Side>,
}

/// h or δ of a weight, with what is computed with it.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// h `[r, m]` or δ `[s, n]`.
    pub rows: TensorIr,
    /// The results of all products h·V, or δ·Vᵀ.
    pub products: Vec<Product>,
    /// A or C of H·v; it has the shape of the image h·V or δ·Vᵀ.
    pub coordinates: TensorIr,
    /// A or C of the gradient; `None` is zero.
    pub gradient: Option<TensorIr>,
}

/// The result of a product that reads the weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub out: TensorId,
    /// It is the image's transpose.
    pub transposed: bool,
}

/// A matrix, or its transpose.
#[derive(Clone, Debug)]
struct Oriented {
    tensor: TensorIr,
    transposed: bool,
}

/// A product xᵀy that a weight's block is a sum of.
#[derive(Clone, Debug)]
struct Term {
    x: Oriented,
    y: Oriented,
}

/// A product that reads a weight's tangent V: rows·V, or rows·Vᵀ.
#[derive(Clone, Debug)]
struct Use {
    rows: Oriented,
    reads_transpose: bool,
    out: TensorIr,
    /// `out` is the transpose of the product.
    transposed: bool,
}

/// What is looked up while weights are matched.
pub(super) struct Search<'a> {
    graph: &'a JvpGraph,
    producers: HashMap<TensorId, &'a OperationIr>,
    readers: HashMap<TensorId, Vec<&'a OperationIr>>,
    /// Tensors that depend on the vector.
    unknown: HashSet<TensorId>,
}

impl<'a> Search<'a> {
    pub fn new(graph: &'a JvpGraph) -> Self {
        let (mut producers, mut readers) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        let inputs = graph.tangent_inputs.iter().flatten();
        let mut unknown: HashSet<TensorId> = inputs.map(|t| t.id).collect();
        let live = graph.graph.live_ops();
        for (op, _) in graph.graph.ops.iter().zip(live).filter(|(_, live)| *live) {
            producers.extend(op.outputs().map(|t| (t.id, op)));
            op.inputs().for_each(|t| readers.entry(t.id).or_default().push(op));
            if op.inputs().any(|t| unknown.contains(&t.id)) {
                unknown.extend(op.outputs().map(|t| t.id));
            }
        }
        Self { graph, producers, readers, unknown }
    }

    /// The weight of `param`, if it qualifies. Transposes that it needs are emitted.
    pub fn find(&self, param: usize, emit: &mut Emitter) -> Option<RowWeight> {
        let tangent = self.graph.tangent_inputs[param].clone()?;
        let product = self.graph.tangent_outputs[param].clone()?;
        let gradient = self.graph.graph.outputs[self.graph.gradients[param]?].clone();
        if tangent.shape.num_dims() != 2 || self.is_output(&tangent) {
            return None;
        }
        let mut uses = Vec::new();
        self.collect_uses(&Oriented { tensor: tangent.clone(), transposed: false }, &mut uses)?;
        let (mut terms, mut gradients) = (Vec::new(), Vec::new());
        self.collect_terms(&Oriented { tensor: product, transposed: false }, &mut terms)?;
        self.collect_terms(&Oriented { tensor: gradient, transposed: false }, &mut gradients)?;
        let mut found = Matched { search: self, emit, uses, terms, gradients };
        let left = found.side(false)?;
        let right = found.side(true)?;
        // A term without a side would be lost.
        (found.uses.is_empty() && found.terms.is_empty() && found.gradients.is_empty())
            .then_some(RowWeight { tangent, left, right })
    }

    fn is_output(&self, tensor: &TensorIr) -> bool {
        self.graph.graph.outputs.iter().any(|t| t.id == tensor.id)
    }

    fn is_known(&self, matrix: &Oriented) -> bool {
        !self.unknown.contains(&matrix.tensor.id)
    }

    fn is_vector(&self, matrix: &Oriented) -> bool {
        let root = self.root(matrix).tensor.id;
        self.graph.tangent_inputs.iter().flatten().any(|t| t.id == root)
    }

    /// The matrix that `matrix` is a view of.
    fn root(&self, matrix: &Oriented) -> Oriented {
        let mut root = matrix.clone();
        while let Some(OperationIr::BaseFloat(BaseOperationIr::SwapDims(d))) =
            self.producers.get(&root.tensor.id)
            && d.dim1 != d.dim2
        {
            root = Oriented { tensor: d.input.clone(), transposed: !root.transposed };
        }
        root
    }

    fn same(&self, a: &Oriented, b: &Oriented) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        a.tensor.id == b.tensor.id && a.transposed == b.transposed
    }

    /// Products that read `vector`; `None` when something else does.
    fn collect_uses(&self, vector: &Oriented, uses: &mut Vec<Use>) -> Option<()> {
        for op in self.readers.get(&vector.tensor.id).into_iter().flatten() {
            match op {
                OperationIr::BaseFloat(BaseOperationIr::SwapDims(d))
                    if d.dim1 != d.dim2 && !self.is_output(&d.out) =>
                {
                    let swapped =
                        Oriented { tensor: d.out.clone(), transposed: !vector.transposed };
                    self.collect_uses(&swapped, uses)?;
                }
                OperationIr::Float(_, FloatOperationIr::Matmul(d)) => {
                    let transposed = d.lhs.id == vector.tensor.id;
                    let factor = if transposed { &d.rhs } else { &d.lhs };
                    let rows = Oriented { tensor: factor.clone(), transposed };
                    if !self.is_known(&rows) {
                        return None;
                    }
                    let reads_transpose = vector.transposed != transposed;
                    uses.push(Use { rows, reads_transpose, out: d.out.clone(), transposed });
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// The products whose sum is `block`; `None` when it is something else.
    fn collect_terms(&self, block: &Oriented, terms: &mut Vec<Term>) -> Option<()> {
        let transposed = block.transposed;
        match self.producers.get(&block.tensor.id)? {
            OperationIr::BaseFloat(BaseOperationIr::SwapDims(d)) if d.dim1 != d.dim2 => {
                let input = Oriented { tensor: d.input.clone(), transposed: !transposed };
                self.collect_terms(&input, terms)
            }
            OperationIr::NumericFloat(_, NumericOperationIr::Add(d))
                if d.lhs.shape == d.out.shape && d.rhs.shape == d.out.shape =>
            {
                self.collect_terms(&Oriented { tensor: d.lhs.clone(), transposed }, terms)?;
                self.collect_terms(&Oriented { tensor: d.rhs.clone(), transposed }, terms)
            }
            OperationIr::Float(_, FloatOperationIr::Matmul(d)) if d.out.shape.num_dims() == 2 => {
                let (x, y) = if transposed { (&d.rhs, &d.lhs) } else { (&d.lhs, &d.rhs) };
                let oriented =
                    |tensor: &TensorIr, transposed| Oriented { tensor: tensor.clone(), transposed };
                let term = Term { x: oriented(x, !transposed), y: oriented(y, transposed) };
                // A product with a weight's vector itself is a use of that weight.
                let reads_vector = self.is_vector(&term.x) || self.is_vector(&term.y);
                terms.push(term);
                (!reads_vector).then_some(())
            }
            _ => None,
        }
    }
}

/// What a weight's sides are made of; sides take what is theirs.
struct Matched<'a> {
    search: &'a Search<'a>,
    emit: &'a mut Emitter,
    uses: Vec<Use>,
    terms: Vec<Term>,
    gradients: Vec<Term>,
}

impl Matched<'_> {
    /// The side with h (or with δ, if `right`); `Some(None)` when there is none, `None` when the
    /// weight does not qualify.
    #[allow(clippy::option_option)]
    fn side(&mut self, right: bool) -> Option<Option<Side>> {
        let search = self.search;
        // Of a term, the factor that is h or δ, and the coordinates.
        let split = |term: &Term| {
            let Term { x, y } = term.clone();
            if right { (y, x) } else { (x, y) }
        };
        let (uses, other) =
            self.uses.drain(..).partition::<Vec<_>, _>(|u| u.reads_transpose == right);
        self.uses = other;
        let known = |term: &Term| search.is_known(&split(term).0);
        let (terms, other) = self.terms.drain(..).partition::<Vec<_>, _>(known);
        self.terms = other;
        let Some(first) = uses.first() else {
            // Without a product that reads it, a side has no image.
            return terms.is_empty().then_some(None);
        };
        let rows = first.rows.clone();
        let is_row = |matrix: &Oriented| search.same(matrix, &rows);
        let all_same =
            uses.iter().all(|u| is_row(&u.rows)) && terms.iter().all(|t| is_row(&split(t).0));
        if !all_same || terms.is_empty() {
            return None;
        }
        let (gradients, other) =
            self.gradients.drain(..).partition::<Vec<_>, _>(|t| is_row(&split(t).0));
        self.gradients = other;
        let mut sum = |terms: &[Term]| {
            let mut terms = terms.iter().map(|term| split(term).1);
            let first = terms.next()?;
            let first = materialize(&first, self.emit);
            Some(terms.fold(first, |sum, term| {
                let term = materialize(&term, self.emit);
                self.emit.add(&sum, &term)
            }))
        };
        let (coordinates, gradient) = (sum(&terms)?, sum(&gradients));
        let rows = materialize(&rows, self.emit);
        let products = uses.iter().map(|u| Product { out: u.out.id, transposed: u.transposed });
        Some(Some(Side { rows, products: products.collect(), coordinates, gradient }))
    }
}

fn materialize(matrix: &Oriented, emit: &mut Emitter) -> TensorIr {
    if matrix.transposed { emit.transpose(&matrix.tensor) } else { matrix.tensor.clone() }
}
