//! An operator seen through a projection.

use std::sync::Arc;

use super::LinearOperator;
use crate::error::{Error, Result};
use crate::params::{ParamBlock, ParamSpace, ParamVector};

/// The span of some vectors, by an orthonormal basis V: P = V Vᵀ projects onto it.
#[derive(Clone, Debug)]
pub struct Subspace {
    basis: ParamBlock,
}

impl Subspace {
    /// The span of `vectors`, orthonormalized by Gram-Schmidt, each vector twice. Two read-backs per
    /// vector.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for vectors that depend on those before them to rounding,
    /// [`Error::NonFinite`] for vectors that are no numbers.
    pub fn spanned_by(vectors: &ParamBlock) -> Result<Self> {
        let mut basis: Option<ParamBlock> = None;
        for vector in vectors.vectors() {
            let (unit, norm) = vector.normalized()?;
            let Some(known) = &basis else {
                basis = Some(ParamBlock::from_vectors(&[independent(unit, norm)?])?);
                continue;
            };
            let (rest, left) = known.project_out(&unit).normalized()?;
            // What rounding leaves of a dependent vector is not orthogonal to the others.
            let floor = 32.0 * vector.space().epsilon() * (known.len() as f64).sqrt();
            let rest = independent(rest, if left > floor { norm } else { 0.0 })?;
            basis = Some(known.pushed(&known.project_out(&rest).normalized()?.0));
        }
        let basis = basis.map_or_else(|| ParamBlock::from_vectors(&[]), Ok)?;
        Ok(Self { basis })
    }

    /// The orthonormal basis.
    pub fn basis(&self) -> &ParamBlock {
        &self.basis
    }

    /// (I − P)·v.
    fn away(&self, v: &ParamVector) -> ParamVector {
        self.basis.project_out(v)
    }

    /// P·v.
    fn onto(&self, v: &ParamVector) -> Result<ParamVector> {
        v.axpy(-1.0, &self.away(v))
    }
}

fn independent(unit: ParamVector, norm: f64) -> Result<ParamVector> {
    if norm > 0.0 {
        return Ok(unit);
    }
    let (setting, expected) = ("vectors", "linearly independent");
    let value = "a vector in the span of those before it".into();
    Err(Error::InvalidSetting { setting, value, expected })
}

/// P A P or (I − P) A (I − P): what A does within a subspace, or beside it. Everything else is in its
/// null space, so that an end of the spectrum on the other side of zero becomes zero. Cost of
/// a product: one of A.
#[derive(Clone, Debug)]
pub struct ProjectedOperator<A> {
    operator: A,
    subspace: Subspace,
    is_onto: bool,
}

impl<A: LinearOperator> ProjectedOperator<A> {
    /// P A P.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] or [`Error::SpaceMismatch`] for a subspace of another space.
    pub fn onto(operator: A, subspace: Subspace) -> Result<Self> {
        operator.space().check(subspace.basis.space())?;
        Ok(Self { operator, subspace, is_onto: true })
    }

    /// (I − P) A (I − P): deflation.
    ///
    /// # Errors
    /// As [`onto`](Self::onto).
    pub fn away_from(operator: A, subspace: Subspace) -> Result<Self> {
        Ok(Self { is_onto: false, ..Self::onto(operator, subspace)? })
    }

    fn project(&self, v: &ParamVector) -> Result<ParamVector> {
        if self.is_onto { self.subspace.onto(v) } else { Ok(self.subspace.away(v)) }
    }

    fn project_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        let projected: Result<Vec<_>> = block.vectors().iter().map(|v| self.project(v)).collect();
        ParamBlock::from_vectors(&projected?)
    }
}

impl<A: LinearOperator> LinearOperator for ProjectedOperator<A> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.operator.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.project(&self.operator.apply(&self.project(v)?)?)
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.space().check(block.space())?;
        self.project_block(&self.operator.apply_block(&self.project_block(block)?)?)
    }

    fn n_applies(&self) -> usize {
        self.operator.n_applies()
    }
}
