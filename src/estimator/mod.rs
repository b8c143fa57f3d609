//! Estimators: model + data + loss -> a number with its error and its cost.

mod batch_sharpness;
mod full_batch_sharpness;
mod minibatch_sharpness;
mod monte_carlo;
mod sampling;
mod sharpness;
mod statistics;

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::error::Result;
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, ParamSpace, ParamVector};
use crate::solver::{EigenSolver, LanczosConfig};

pub use batch_sharpness::{BatchSharpness, BatchSharpnessConfig, BatchSharpnessMeasurement};
pub use full_batch_sharpness::{FullBatchSharpness, FullBatchSharpnessConfig};
pub use minibatch_sharpness::{
    MiniBatchSharpness, MiniBatchSharpnessConfig, MiniBatchSharpnessMeasurement,
};
pub use sampling::{Draws, Sampling, draw_batches};
pub use sharpness::Sharpness;
pub use statistics::{Estimate, student_t_95};

/// λ_max of one Hessian, with what it took to find it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopEigenvalue {
    /// The Rayleigh quotient vᵀHv: a lower bound of λ_max.
    pub value: f64,
    /// ‖Hv − λv‖: some eigenvalue lies within this distance of `value`.
    pub residual_norm: f64,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
    /// Hessian-vector products; one with a full-batch Hessian counts once, whatever its chunks.
    pub n_hvps: usize,
    /// The eigenvector v, of norm 1.
    pub vector: ParamVector,
    /// The loss at which the Hessian was taken.
    pub loss: f64,
    /// Wall time of the whole measurement.
    pub elapsed: Duration,
}

/// The last eigenvector, from which the next solve starts.
#[derive(Clone, Debug, Default)]
struct WarmStart {
    vector: Option<ParamVector>,
    n_starts: u64,
}

impl WarmStart {
    /// The sum of the last eigenvector, the gradient and a random vector, each of norm 1: an old
    /// eigenvector alone may still be one, but no longer the top one, and no method leaves an exact
    /// eigenvector by itself. The gradient lies mostly in the span of the top ones.
    fn start(
        &mut self,
        space: &Arc<ParamSpace>,
        gradient: &ParamVector,
        seed: u64,
    ) -> Result<Option<ParamBlock>> {
        let Some(vector) = &self.vector else { return Ok(None) };
        if space.check(vector.space()).is_err() {
            return Ok(None); // of another model
        }
        self.n_starts += 1;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(self.n_starts));
        let (random, _) = space.random(&mut rng).normalized()?;
        let (gradient, _) = gradient.normalized()?;
        let start = vector.axpy(1.0, &random)?.axpy(1.0, &gradient)?;
        Ok(Some(ParamBlock::from_vectors(&[start])?))
    }
}

/// λ_max of `operator` by Lanczos, from the warm start, which is renewed.
fn top_eigenvalue(
    operator: &dyn LinearOperator,
    gradient: &ParamVector,
    solver: &LanczosConfig,
    warm: &mut WarmStart,
) -> Result<crate::solver::EigenResult> {
    let start = warm.start(operator.space(), gradient, solver.seed)?;
    let result = solver.init().solve(operator, start.as_ref())?;
    warm.vector = Some(result.first().vector.clone());
    Ok(result)
}
