//! [`LinearOperator`]: a symmetric matrix that is known by its products. Solvers see nothing else.

mod closure;
mod combined;
mod dense;
mod extension;
mod finite_difference;
mod fisher;
mod full_batch;
mod gauss_newton;
mod gradient_covariance;
mod group;
mod hessian;
mod hessian_lanes;
mod jacobian;
mod lanes;
#[cfg(feature = "optim")]
mod optimizer_state;
mod preconditioned;
mod predictive;
mod projected;

use std::rc::Rc;
use std::sync::Arc;

use crate::error::Result;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

pub use closure::ClosureOperator;
pub use combined::{ScaledOperator, ShiftedOperator, WeightedSum};
pub use dense::DenseOperator;
pub use extension::OperatorExt;
pub use finite_difference::FiniteDifferenceHessian;
pub use fisher::FisherOperator;
pub use full_batch::{ChunkMemory, FullBatchHessian};
pub use gauss_newton::GaussNewtonOperator;
pub use gradient_covariance::GradientCovariance;
pub use group::{ParamGroup, RestrictedOperator};
pub use hessian::HessianOperator;
pub use hessian_lanes::HessianLanes;
pub use jacobian::{JacobianOperator, NtkOperator};
pub use lanes::{LaneVectors, Lanes};
pub(crate) use lanes::{SingleLane, row_dots};
#[cfg(feature = "optim")]
pub use optimizer_state::{OptimizerState, StepRule};
pub use preconditioned::PreconditionedOperator;
pub use predictive::Predictive;
pub use projected::{ProjectedOperator, Subspace};

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

macro_rules! forward_to_operator {
    ($($pointer:ty),+) => {$(
        impl<A: LinearOperator + ?Sized> LinearOperator for $pointer {
            fn space(&self) -> &Arc<ParamSpace> {
                (**self).space()
            }

            fn apply(&self, v: &ParamVector) -> Result<ParamVector> {
                (**self).apply(v)
            }

            fn apply_block(&self, block: &ParamBlock) -> Result<ParamBlock> {
                (**self).apply_block(block)
            }

            fn n_applies(&self) -> usize {
                (**self).n_applies()
            }

            fn lanes(&self) -> Result<Option<&dyn Lanes>> {
                (**self).lanes()
            }
        }
    )+};
}
forward_to_operator!(&A, Box<A>, Rc<A>, Arc<A>);
