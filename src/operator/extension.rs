//! Operators from operators, as methods.

use super::{
    LinearOperator, ParamGroup, PreconditionedOperator, ProjectedOperator, RestrictedOperator,
    ScaledOperator, ShiftedOperator, Subspace, WeightedSum,
};
use crate::error::Result;
use crate::params::{ParamBlock, ParamVector};

/// Every operator composes. Methods take the operator itself, or a reference to it
/// (`(&hessian).scaled(2.0)`), and products of the result are products of the operator.
///
/// ```
/// use burn::tensor::{DType, Device};
/// use burn_sharpness::LinearOperator;
/// use burn_sharpness::operator::{DenseOperator, OperatorExt};
///
/// let rows = [vec![2.0, 1.0], vec![1.0, 3.0]];
/// let a = DenseOperator::from_rows(&rows, DType::F64, &Device::flex())?;
/// let b = (&a).scaled(2.0).shifted(1.0).plus(&a)?;
/// assert_eq!(b.to_dense()?, [[7.0, 3.0], [3.0, 10.0]]);
/// # Ok::<(), burn_sharpness::Error>(())
/// ```
pub trait OperatorExt: LinearOperator + Sized {
    /// A + B.
    ///
    /// # Errors
    /// [`LengthMismatch`](crate::Error::LengthMismatch) or
    /// [`SpaceMismatch`](crate::Error::SpaceMismatch) for operators on different spaces.
    fn plus<'a, B: LinearOperator + 'a>(
        self,
        other: B,
    ) -> Result<WeightedSum<Box<dyn LinearOperator + 'a>>>
    where
        Self: 'a,
    {
        WeightedSum::new(vec![(1.0, Box::new(self)), (1.0, Box::new(other))])
    }

    /// c·A.
    fn scaled(self, factor: f64) -> ScaledOperator<Self> {
        ScaledOperator::new(self, factor)
    }

    /// A + c·I.
    fn shifted(self, shift: f64) -> ShiftedOperator<Self> {
        ShiftedOperator::new(self, shift)
    }

    /// P A P, P the projection onto the span of `vectors`, which need not be orthonormal.
    ///
    /// # Errors
    /// As [`Subspace::spanned_by`] and [`ProjectedOperator::onto`].
    fn projected_onto(self, vectors: &ParamBlock) -> Result<ProjectedOperator<Self>> {
        ProjectedOperator::onto(self, Subspace::spanned_by(vectors)?)
    }

    /// (I − P) A (I − P), P the projection onto the span of `vectors`.
    ///
    /// # Errors
    /// As [`projected_onto`](Self::projected_onto).
    fn projected_away_from(self, vectors: &ParamBlock) -> Result<ProjectedOperator<Self>> {
        ProjectedOperator::away_from(self, Subspace::spanned_by(vectors)?)
    }

    /// P^(-½) A P^(-½) for a positive diagonal P.
    ///
    /// # Errors
    /// As [`PreconditionedOperator::new`].
    fn preconditioned(self, diagonal: &ParamVector) -> Result<PreconditionedOperator<Self>> {
        PreconditionedOperator::new(self, diagonal)
    }

    /// S A S, S the identity on a group of parameters and zero elsewhere.
    ///
    /// # Errors
    /// As [`RestrictedOperator::new`].
    fn restricted(self, group: ParamGroup) -> Result<RestrictedOperator<Self>> {
        RestrictedOperator::new(self, group)
    }
}

impl<A: LinearOperator> OperatorExt for A {}
