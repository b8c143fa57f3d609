//! Where row-space vectors pay: multiply-adds and memory traffic of one solver step, by shape.

use super::matching::RowWeight;

/// Products that share one primal pass, over which the Gram matrices are paid.
const PRODUCTS: f64 = 10.0;

/// Multiply-adds that take as long as one element of a vector that streams through memory: of the
/// order of 8 on processors and of 30 on GPUs.
const ELEMENT: f64 = 8.0;

/// How often a solver step reads or writes a vector: a basis of ten vectors, by its coordinates and by
/// its images, is read once each, and a dozen operations are on single vectors.
const PASSES: f64 = 40.0;

/// Whether coordinates (A, C) of this weight are cheaper than its block.
pub(super) fn pays(weight: &RowWeight) -> bool {
    let (m, n) = (weight.tangent.shape[0] as f64, weight.tangent.shape[1] as f64);
    let r = weight.left.as_ref().map_or(0.0, |side| side.rows.shape[0] as f64);
    let s = weight.right.as_ref().map_or(0.0, |side| side.rows.shape[0] as f64);
    // h·V, δ·Vᵀ, hᵀA and Cᵀδ.
    let dense = 2.0 * (r + s) * m * n + PASSES * ELEMENT * m * n;
    // (hhᵀ)A, (δδᵀ)C, and through r x s matrices (hCᵀ)δ and (δAᵀ)h.
    let products = r * r * n + s * s * m + 2.0 * r * s * (m + n);
    let grams = (r * r * m + s * s * n) / PRODUCTS;
    let coordinates = r * n + s * m;
    products + grams + PASSES * ELEMENT * coordinates < dense
}
