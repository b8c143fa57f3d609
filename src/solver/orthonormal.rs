//! Orthonormal blocks, by classical Gram-Schmidt twice (Giraud et al. 2005): orthogonal to rounding,
//! however close to dependent the vectors are.

use burn::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::error::Result;
use crate::params::{ParamBlock, ParamVector, inner, read};

/// What a vector adds to an orthonormal basis: vector = Σ coefficients·basis + norm·unit.
struct Addition {
    unit: ParamVector,
    coefficients: Vec<f64>,
    norm: f64,
}

/// `None` for a vector that depends on the basis, to rounding.
fn addition(basis: &[ParamVector], vector: &ParamVector) -> Result<Option<Addition>> {
    let (mut unit, mut norm) = vector.normalized()?;
    let mut coefficients = vec![0.0; basis.len()];
    if norm == 0.0 {
        return Ok(None);
    }
    // A basis without vectors has nothing to remove.
    let Ok(block) = ParamBlock::from_vectors(basis) else {
        return Ok(Some(Addition { unit, coefficients, norm }));
    };
    // What is left after the first pass may be rounding; if the second halves it again, it is.
    for least in [8.0 * vector.space().epsilon(), 0.5] {
        let found = block.inner_products(&ParamBlock::from_vectors(&[unit.clone()])?)?;
        let projection = block.combine(std::slice::from_ref(&found)).vector(0);
        let (rest, left) = unit.axpy(-1.0, &projection)?.normalized()?;
        if left <= least {
            return Ok(None);
        }
        coefficients.iter_mut().zip(found).for_each(|(sum, c)| *sum += norm * c);
        (unit, norm) = (rest, norm * left);
    }
    Ok(Some(Addition { unit, coefficients, norm }))
}

/// Unit vectors that span, together with the orthonormal `basis`, what it and `vectors` span: those
/// that depend on earlier ones leave nothing.
pub(super) fn extension(
    basis: &[ParamVector],
    vectors: &[ParamVector],
) -> Result<Vec<ParamVector>> {
    let mut all = basis.to_vec();
    for vector in vectors {
        if let Some(found) = addition(&all, vector)? {
            all.push(found.unit);
        }
    }
    Ok(all.split_off(basis.len()))
}

/// Q and the columns of R with vectors = Q·R; a vector that depends on earlier ones gives a random
/// direction, with a zero on the diagonal of R. At most as many vectors as dimensions.
pub(crate) fn qr(block: &ParamBlock) -> Result<(ParamBlock, Vec<Vec<f64>>)> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(block.len() as u64);
    let (mut q, mut r) = (Vec::new(), Vec::new());
    for vector in block.vectors() {
        let mut found = addition(&q, &vector)?;
        let mut column = match &found {
            Some(found) => found.coefficients.clone(),
            // All of it is in the span.
            None => match ParamBlock::from_vectors(&q) {
                Ok(basis) => basis.inner_products(&ParamBlock::from_vectors(&[vector])?)?,
                Err(_) => Vec::new(),
            },
        };
        column.push(found.as_ref().map_or(0.0, |found| found.norm));
        r.push(column);
        while found.is_none() {
            found = addition(&q, &block.space().random(&mut rng))?;
        }
        q.extend(found.map(|found| found.unit));
    }
    Ok((ParamBlock::from_vectors(&q)?, r))
}

/// An orthonormal basis of the vectors; those that depend on earlier ones are replaced by random ones.
pub(super) fn orthonormal(block: &ParamBlock) -> Result<ParamBlock> {
    Ok(qr(block)?.0)
}

/// `k` start vectors: those of `start`, then random ones.
pub(super) fn start_block(
    space: &std::sync::Arc<crate::params::ParamSpace>,
    start: Option<&ParamBlock>,
    k: usize,
    seed: u64,
) -> Result<ParamBlock> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut vectors = start.map(ParamBlock::vectors).unwrap_or_default();
    vectors.truncate(k);
    while vectors.len() < k {
        vectors.push(space.random(&mut rng));
    }
    ParamBlock::from_vectors(&vectors)
}

/// The norm of each vector. One read-back.
pub(super) fn norms(block: &ParamBlock) -> Result<Vec<f64>> {
    let squares = block.vectors().iter().map(|v| inner(&v.tensor(), &v.tensor())).collect();
    Ok(read(Tensor::cat(squares, 0))?.into_iter().map(f64::sqrt).collect())
}
