//! Eigensolvers: they see nothing but [`LinearOperator`].
//!
//! | solver | cost per step | use it for |
//! |---|---|---|
//! | [`Lanczos`] | 1 product, basis of m vectors | almost everything: fewest products |
//! | [`PowerIteration`] | k products, no basis | least memory; the textbook baseline |

mod krylov;
mod lanczos;
mod power_iteration;
mod small_eigen;

use burn::config::Config;

use crate::error::{Error, Result};
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, ParamSpace, ParamVector};

pub(crate) use lanczos::LaneResult;
pub use lanczos::{Lanczos, LanczosConfig};
pub use power_iteration::{PowerIteration, PowerIterationConfig};

/// Which eigenvalues are wanted.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Which {
    /// The largest ones on the number line: sharpness.
    LargestAlgebraic,
    /// The smallest ones on the number line.
    SmallestAlgebraic,
    /// Those of largest absolute value.
    LargestMagnitude,
}

/// Why a solver stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Every wanted pair reached the tolerance.
    Converged,
    /// `max_applies` products were computed first; the residuals say how far it got.
    MaxApplies,
}

/// An eigenvalue, its eigenvector, and how exactly they belong together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EigenPair {
    /// The Rayleigh quotient vᵀAv: between λ_min and λ_max, so a bound on either from inside.
    pub value: f64,
    /// v, of norm 1.
    pub vector: ParamVector,
    /// ‖Av − λv‖, from products that were computed, so good to their rounding, a few ε‖A‖: some
    /// eigenvalue lies within this distance of `value`.
    pub residual_norm: f64,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
}

/// What a solver found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EigenResult {
    /// The wanted pairs, the most wanted first.
    pub pairs: Vec<EigenPair>,
    /// Why the solver stopped.
    pub stop: StopReason,
    /// Products that this solve computed.
    pub n_applies: usize,
    /// The multiple of the identity that was added to bring the wanted end of the spectrum to the
    /// top; 0 when none was needed.
    pub shift: f64,
}

impl EigenResult {
    /// The most wanted pair.
    pub fn first(&self) -> &EigenPair {
        &self.pairs[0]
    }

    /// Whether every pair reached the tolerance.
    pub fn converged(&self) -> bool {
        self.stop == StopReason::Converged
    }

    /// The vectors, as a start for a later solve.
    ///
    /// # Errors
    /// Never for a result of a solver.
    pub fn vectors(&self) -> Result<ParamBlock> {
        let vectors: Vec<_> = self.pairs.iter().map(|p| p.vector.clone()).collect();
        ParamBlock::from_vectors(&vectors)
    }
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
