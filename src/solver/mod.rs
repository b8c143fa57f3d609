//! Eigensolvers: they see nothing but [`LinearOperator`].
//!
//! | solver | cost per step | use it for |
//! |---|---|---|
//! | [`Lanczos`] | 1 product, basis of m vectors | almost everything: fewest products |
//! | [`Lobpcg`] | 1 product per vector that has not converged, 6 vectors each | several eigenvalues in bounded memory, multiple ones too |
//! | [`PowerIteration`] | k products, no basis | least memory; the textbook baseline |

mod drift;
mod hessenberg;
mod judge;
mod krylov;
mod lanczos;
mod lobpcg;
mod orthonormal;
mod power_iteration;
mod result;
mod small_eigen;
#[cfg(test)]
mod tests;

use burn::config::Config;

use crate::error::{Error, Result};
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, ParamSpace};

pub(crate) use krylov::Krylov;
pub(crate) use lanczos::LaneResult;
pub use lanczos::{Lanczos, LanczosConfig};
pub use lobpcg::{Lobpcg, LobpcgConfig};
pub(crate) use orthonormal::qr;
pub use power_iteration::{PowerIteration, PowerIterationConfig};
pub use result::{EigenPair, EigenResult, StopReason};

/// Which eigenvalues are wanted.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Which {
    /// The largest ones on the number line: sharpness.
    LargestAlgebraic,
    /// The smallest ones on the number line.
    SmallestAlgebraic,
    /// Those of largest absolute value.
    LargestMagnitude,
    /// The largest, the smallest, the second largest, the second smallest, and so on: two pairs are
    /// both ends of the spectrum, from one run.
    BothEnds,
}

/// A method that finds eigenpairs of a symmetric operator.
pub trait EigenSolver {
    /// Finds the wanted pairs of `operator`, from `start` or from seeded random vectors.
    ///
    /// A good start saves products. One that is orthogonal to a wanted eigenvector hides it, and an
    /// old eigenvector may be just that: add a random vector to it, as the estimators do.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a product is not finite, [`Error::InvalidSetting`], and what the
    /// operator raises. Not converging is a result.
    fn solve(
        &self,
        operator: &dyn LinearOperator,
        start: Option<&ParamBlock>,
    ) -> Result<EigenResult>;
}

/// Residuals that count as converged: relative to |λ|, and never below the rounding of a product.
///
/// A product in a dtype with precision ε is off by a few ε‖A‖ in every direction, so a residual
/// below 32ε‖A‖ is noise; this is what ends the search for an eigenvalue that is (nearly) zero.
pub(crate) fn tolerance(rel_tol: f64, value: f64, norm: f64, epsilon: f64) -> f64 {
    (rel_tol * value.abs()).max(32.0 * epsilon * norm)
}

/// Checks the settings that all solvers share, and that the start fits the operator.
pub(crate) fn check_settings(
    space: &ParamSpace,
    start: Option<&ParamBlock>,
    k: usize,
    rel_tol: f64,
    max_applies: usize,
) -> Result<()> {
    let fail =
        |setting, value: String, expected| Err(Error::InvalidSetting { setting, value, expected });
    if let Some(block) = start {
        space.check(block.space())?;
    }
    if k == 0 || k > space.n_params() {
        return fail("num_eigenvalues", k.to_string(), "from 1 to the number of parameters");
    }
    if !(rel_tol > 0.0 && rel_tol < 1.0) {
        return fail("rel_tol", rel_tol.to_string(), "between 0 and 1");
    }
    if max_applies < k + 1 {
        return fail("max_applies", max_applies.to_string(), "more than the number of eigenvalues");
    }
    Ok(())
}
