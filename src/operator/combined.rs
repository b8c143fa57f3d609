//! Sums, multiples and shifts of operators.

use std::cell::Cell;
use std::sync::Arc;

use super::LinearOperator;
use crate::error::{Error, Result};
use crate::params::{ParamBlock, ParamSpace, ParamVector, finite};

/// Σₖ wₖ Aₖ of operators on one space: a sum, a difference, a mean over mini-batches.
///
/// For operators of different types, let `A` be `Box<dyn LinearOperator>` or `&dyn LinearOperator`.
/// Cost of a product: one of each Aₖ.
#[derive(Clone, Debug)]
pub struct WeightedSum<A> {
    terms: Vec<(f64, A)>,
    n_applies: Cell<usize>,
}

impl<A: LinearOperator> WeightedSum<A> {
    /// The sum of all wₖ Aₖ.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for no terms, [`Error::NonFinite`] for a weight that is no number,
    /// [`Error::LengthMismatch`] or [`Error::SpaceMismatch`] for operators on different spaces.
    pub fn new(terms: Vec<(f64, A)>) -> Result<Self> {
        let first = terms.first().ok_or(Error::InvalidSetting {
            setting: "terms",
            value: "an empty sum".into(),
            expected: "at least one operator",
        })?;
        for (weight, operator) in &terms {
            finite("the weight of an operator", *weight)?;
            first.1.space().check(operator.space())?;
        }
        Ok(Self { terms, n_applies: Cell::new(0) })
    }

    /// The mean of operators, for example the Hessians of several mini-batches: for batches of one size
    /// and a loss that is a mean over samples, the Hessian of all of them together.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn mean(operators: Vec<A>) -> Result<Self> {
        let weight = 1.0 / operators.len().max(1) as f64;
        Self::new(operators.into_iter().map(|operator| (weight, operator)).collect())
    }

    /// The terms.
    pub fn terms(&self) -> &[(f64, A)] {
        &self.terms
    }
}

impl<A: LinearOperator> LinearOperator for WeightedSum<A> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.terms[0].1.space() // `new` takes at least one
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        let [(weight, first), rest @ ..] = &self.terms[..] else { return Ok(v.scale(0.0)) };
        let start = first.apply(v)?.scale(*weight);
        rest.iter().try_fold(start, |sum, (weight, a)| sum.axpy(*weight, &a.apply(v)?))
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        self.space().check(block.space())?;
        self.n_applies.set(self.n_applies.get() + block.len());
        let [(weight, first), rest @ ..] = &self.terms[..] else {
            return Ok(block.linear_combination(0.0, block, 0.0));
        };
        let first = first.apply_block(block)?;
        let start = first.linear_combination(*weight, &first, 0.0);
        rest.iter().try_fold(start, |sum, (weight, a)| {
            Ok(sum.linear_combination(1.0, &a.apply_block(block)?, *weight))
        })
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}

/// c·A. Cost of a product: one of A.
#[derive(Clone, Debug)]
pub struct ScaledOperator<A> {
    operator: A,
    factor: f64,
}

impl<A: LinearOperator> ScaledOperator<A> {
    /// `factor` · `operator`.
    pub fn new(operator: A, factor: f64) -> Self {
        Self { operator, factor }
    }
}

impl<A: LinearOperator> LinearOperator for ScaledOperator<A> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.operator.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        Ok(self.operator.apply(v)?.scale(self.factor))
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        let products = self.operator.apply_block(block)?;
        Ok(products.linear_combination(self.factor, &products, 0.0))
    }

    fn n_applies(&self) -> usize {
        self.operator.n_applies()
    }
}

/// A + c·I: with A the Hessian of a loss, that of the loss with c/2·‖θ‖² (weight decay) added. Cost of a
/// product: one of A.
#[derive(Clone, Debug)]
pub struct ShiftedOperator<A> {
    operator: A,
    shift: f64,
}

impl<A: LinearOperator> ShiftedOperator<A> {
    /// `operator` + `shift` · I.
    pub fn new(operator: A, shift: f64) -> Self {
        Self { operator, shift }
    }
}

impl<A: LinearOperator> LinearOperator for ShiftedOperator<A> {
    fn space(&self) -> &Arc<ParamSpace> {
        self.operator.space()
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.operator.apply(v)?.axpy(self.shift, v)
    }

    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        Ok(self.operator.apply_block(block)?.linear_combination(1.0, block, self.shift))
    }

    fn n_applies(&self) -> usize {
        self.operator.n_applies()
    }
}
