//! An operator in the metric of a diagonal preconditioner.

use std::sync::Arc;

use super::LinearOperator;
use crate::error::{Error, Result};
use crate::params::{ParamBlock, ParamSpace, ParamVector, finite};

/// P^(-½) A P^(-½) for a positive diagonal P: symmetric, with the eigenvalues of P⁻¹A. With P of Adam's or
/// RMSProp's step θ ← θ − ηP⁻¹m its λ_max is the preconditioned sharpness (Cohen et al. 2022).
///
/// An eigenvector u stands for the direction P^(-½)u of parameter space. Cost of a product: one of A.
#[derive(Clone, Debug)]
pub struct PreconditionedOperator<A> {
    operator: A,
    inverse_root: ParamVector,
}

impl<A: LinearOperator> PreconditionedOperator<A> {
    /// `diagonal` is P, entry by entry. One read-back.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] or [`Error::SpaceMismatch`] for a vector of another space,
    /// [`Error::NonFinite`] for entries that are no numbers, [`Error::InvalidSetting`] for entries that
    /// are not positive, or so small that 1/√p overflows.
    pub fn new(operator: A, diagonal: &ParamVector) -> Result<Self> {
        operator.space().check(diagonal.space())?;
        let values = diagonal.to_values()?;
        for &value in &values {
            finite("an entry of the preconditioner", value)?;
            if value <= 0.0 {
                let (setting, expected) = ("diagonal", "positive in every entry");
                return Err(Error::InvalidSetting { setting, value: value.to_string(), expected });
            }
        }
        let roots: Vec<f64> = values.iter().map(|p| 1.0 / p.sqrt()).collect();
        let inverse_root = operator.space().from_values(&roots)?;
        Ok(Self { operator, inverse_root })
    }

    /// P^(-½)·v: eigenvectors of this operator as directions of parameter space.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] or [`Error::SpaceMismatch`] for a vector of another space.
    pub fn to_params(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        Ok(self.space().vector(v.tensor() * self.inverse_root.tensor()))
    }

    fn block_to_params(&self, block: &ParamBlock) -> Result<ParamBlock> {
        let scaled: Result<Vec<_>> = block.vectors().iter().map(|v| self.to_params(v)).collect();
        ParamBlock::from_vectors(&scaled?)
    }
}

impl<A: LinearOperator> LinearOperator for PreconditionedOperator<A> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.operator.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.to_params(&self.operator.apply(&self.to_params(v)?)?)
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.block_to_params(&self.operator.apply_block(&self.block_to_params(block)?)?)
    }

    fn n_applies(&self) -> usize {
        self.operator.n_applies()
    }
}
