//! [`TensorGraph`] -> [`TensorGraph`]: the same values by fewer operations.
//!
//! Recorded programs repeat themselves: burn's reverse pass transposes what the forward pass has
//! transposed, multiplies by tensors of ones, and the tangent rules write out again what the
//! gradient has computed. One pass walks the graph forwards and appends each operation to a new
//! one, unless a rule knows a shorter form of it ([`views`], [`arithmetic`]) or it is there already
//! ([`rewriter`]). A second pass brings matrix products to rank 2 ([`products`]). Both are linear in
//! the number of operations. [`fuse_products`] is apart: it trades operations for memory traffic,
//! and hides structure from whoever reads products.

mod arithmetic;
mod fuse;
mod products;
mod rewriter;
#[cfg(test)]
mod tests;
mod views;

use crate::ir::TensorGraph;
use rewriter::{Rule, rewrite};

/// Rules whose result has the same bits, up to the sign of zeros.
const EXACT: &[Rule] = &[views::shorten, arithmetic::shorten];

/// In addition those that order the sums of matrix products differently.
const CANONICAL: &[Rule] = &[views::shorten, arithmetic::shorten, products::flatten];

/// A smaller graph with the same inputs, and outputs of the same number, order, shapes and dtypes.
/// An output may be an input, or the same tensor as another output.
pub(crate) fn simplify(graph: TensorGraph) -> TensorGraph {
    // Twice, because the rules for products look at who reads a tensor, which dead code hides.
    rewrite(rewrite(graph, EXACT), CANONICAL)
}

/// Writes sums of two thin products as one product where that saves memory traffic (see [`fuse`]).
pub(crate) fn fuse_products(graph: TensorGraph) -> TensorGraph {
    rewrite(graph, &[views::shorten, fuse::fuse])
}
