//! [`LinearOperator`]: a symmetric matrix that is known by its products. Solvers see nothing else.

mod closure;
mod dense;
mod full_batch;
mod hessian;
mod hessian_lanes;
mod lanes;

use std::sync::Arc;

use crate::error::Result;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

pub use closure::ClosureOperator;
pub use dense::DenseOperator;
pub use full_batch::{ChunkMemory, FullBatchHessian};
pub use hessian::HessianOperator;
pub use hessian_lanes::HessianLanes;
pub use lanes::{LaneVectors, Lanes};
pub(crate) use lanes::{SingleLane, row_dots};

/// A symmetric linear operator A on a parameter space.
pub trait LinearOperator {
    /// The space that it acts on.
    fn space(&self) -> &Arc<ParamSpace>;

    /// A·v. Cost: one product.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`](crate::Error::LengthMismatch) or
    /// [`Error::SpaceMismatch`](crate::Error::SpaceMismatch) for a vector of another space, and
    /// what the computation itself can raise.
    fn apply(&self, v: &ParamVector) -> Result<ParamVector>;

    /// A·v for each vector v of a block. Cost: k products.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
        let products: Result<Vec<_>> = block.vectors().iter().map(|v| self.apply(v)).collect();
        ParamBlock::from_vectors(&products?)
    }

    /// Products computed so far, one per vector.
    fn n_applies(&self) -> usize;

    /// The operator as one lane of vectors in a smaller frame, if it has one: solvers then work in
    /// that frame.
    ///
    /// # Errors
    /// What the computation itself can raise.
    fn lanes(&self) -> Result<Option<&dyn Lanes>> {
        Ok(None)
    }

    /// Number of rows and columns.
    fn dim(&self) -> usize {
        self.space().n_params()
    }

    /// The matrix, row by row: one product per column, so for small operators only.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn to_dense(&self) -> Result<Vec<Vec<f64>>> {
        let n = self.dim();
        let column = |j: usize| {
            let mut unit = vec![0.0; n];
            unit[j] = 1.0;
            self.apply(&self.space().from_values(&unit)?)?.to_values()
        };
        let columns = (0..n).map(column).collect::<Result<Vec<_>>>()?;
        Ok((0..n).map(|i| columns.iter().map(|c| c[i]).collect()).collect())
    }
}
