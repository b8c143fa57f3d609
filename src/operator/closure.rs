//! An operator of your own: a closure that multiplies.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::LinearOperator;
use crate::error::Result;
use crate::params::{ParamSpace, ParamVector};

/// A symmetric operator made of a function v -> A·v.
pub struct ClosureOperator<F> {
    space: Arc<ParamSpace>,
    product: F,
    n_applies: Cell<usize>,
}

impl<F: Fn(&ParamVector) -> Result<ParamVector>> ClosureOperator<F> {
    /// An operator on `space`; `product` must be linear and symmetric.
    pub fn new(space: Arc<ParamSpace>, product: F) -> Self {
        Self { space, product, n_applies: Cell::new(0) }
    }
}

impl<F> fmt::Debug for ClosureOperator<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosureOperator").field("space", &self.space).finish_non_exhaustive()
    }
}

impl<F: Fn(&ParamVector) -> Result<ParamVector>> LinearOperator for ClosureOperator<F> {
    fn space(&self) -> &Arc<ParamSpace> {
        &self.space
    }

    fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
        self.space().check(v.space())?;
        self.n_applies.set(self.n_applies.get() + 1);
        (self.product)(v)
    }

    fn n_applies(&self) -> usize {
        self.n_applies.get()
    }
}
