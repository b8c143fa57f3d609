//! Power iteration on one vector or on a block of k (subspace iteration with Rayleigh-Ritz).
//!
//! V ← orthonormal basis of A·V; the eigenpairs of V A Vᵀ (k x k) are the estimates (Parlett,
//! chapter 14). It converges to the eigenvalues of largest *magnitude*, at the rate
//! |λ_{k+1}/λ_k| per step. For an algebraic end it works on ±A, and when the other end wins it
//! goes on with ±A + σI, σ the largest magnitude seen, and reports the shift.

use burn::config::Config;

use super::orthonormal::{orthonormal, start_block};
use super::small_eigen::symmetric_eigen;
use super::{EigenPair, EigenResult, EigenSolver, StopReason, Which, check_settings, tolerance};
use crate::error::{Error, Result};
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, finite};

/// Settings of [`PowerIteration`].
#[derive(Config, Debug)]
pub struct PowerIterationConfig {
    /// Which end of the spectrum.
    #[config(default = "Which::LargestAlgebraic")]
    pub which: Which,
    /// Number k of eigenpairs, found together as a block.
    #[config(default = 1)]
    pub num_eigenvalues: usize,
    /// Converged when ‖Av − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-3)]
    pub rel_tol: f64,
    /// The most products that one solve may compute.
    #[config(default = 1000)]
    pub max_applies: usize,
    /// Seed of the start vectors.
    #[config(default = 0)]
    pub seed: u64,
}

impl PowerIterationConfig {
    /// The solver.
    pub fn init(&self) -> PowerIteration {
        PowerIteration { config: self.clone() }
    }
}

/// Power iteration: see the [table of solvers](crate::solver).
#[derive(Clone, Debug)]
pub struct PowerIteration {
    config: PowerIterationConfig,
}

/// Steps before the sign of an estimate is trusted enough to shift.
const SETTLING_STEPS: usize = 4;

impl EigenSolver for PowerIteration {
    fn solve(
        &self,
        operator: &dyn LinearOperator,
        start: Option<&ParamBlock>,
    ) -> Result<EigenResult> {
        let PowerIterationConfig { num_eigenvalues: k, rel_tol, max_applies, which, seed } =
            self.config;
        check_settings(operator.space(), start, k, rel_tol, max_applies)?;
        if which == Which::BothEnds {
            return Err(Error::InvalidSetting {
                setting: "which",
                value: "BothEnds".into(),
                expected: "one end for power iteration; Lanczos and LOBPCG find both",
            });
        }
        let applies_before = operator.n_applies();
        let used = || operator.n_applies() - applies_before;
        // What is iterated is sign·A + shift.
        let sign = if which == Which::SmallestAlgebraic { -1.0 } else { 1.0 };
        let mut shift = 0.0;
        let mut block = orthonormal(&start_block(operator.space(), start, k, seed)?)?;
        let (mut step, mut norm) = (0, 0.0);
        loop {
            let products = operator.apply_block(&block)?;
            let ritz = Ritz::of(&block, &products, which, norm, rel_tol)?;
            (norm, step) = (ritz.norm, step + 1);
            let may_shift = which != Which::LargestMagnitude && shift == 0.0;
            let noise = tolerance(0.0, 0.0, norm, operator.space().epsilon());
            let negative = ritz.pairs.iter().any(|p| sign * p.value < -noise);
            let done = ritz.pairs.iter().all(|p| p.converged);
            let spent = used() + k > max_applies;
            // Converged to the other end is no result.
            let found = done && !(may_shift && negative);
            if spent || found {
                let stop = if found { StopReason::Converged } else { StopReason::MaxApplies };
                let (pairs, n_applies) = (ritz.pairs, used());
                let (next, shift) = (None, sign * shift);
                return Ok(EigenResult { which, pairs, next, stop, n_applies, shift });
            }
            let settled = done || step >= SETTLING_STEPS;
            let stalled = used() > max_applies / 2;
            if may_shift && ((settled && negative) || stalled) {
                shift = ritz.norm;
                // The wanted end has died out of the block: bring it back.
                block = stirred(&ritz.block, operator, seed)?;
            } else {
                block = orthonormal(&ritz.shifted_products(sign, shift))?;
            }
        }
    }
}

/// Ritz pairs of a block, in the wanted order.
struct Ritz {
    pairs: Vec<EigenPair>,
    /// The vectors of `pairs` and their products.
    block: ParamBlock,
    products: ParamBlock,
    /// The largest ‖Av‖ so far: a lower bound of the operator's norm.
    norm: f64,
}

impl Ritz {
    fn of(
        block: &ParamBlock,
        products: &ParamBlock,
        which: Which,
        mut norm: f64,
        rel_tol: f64,
    ) -> Result<Self> {
        let (k, epsilon) = (block.len(), block.space().epsilon());
        let gram = block.inner_products(products)?;
        let eigen = symmetric_eigen(k, |i, j| 0.5 * (gram[i * k + j] + gram[j * k + i]))?;
        let order = eigen.order(which);
        let rotation: Vec<_> = order.iter().map(|&i| eigen.vectors[i].clone()).collect();
        let (block, products) = (block.combine(&rotation), products.combine(&rotation));
        for product in products.vectors() {
            norm = norm.max(finite("a product of the operator", product.norm()?)?);
        }
        let pair = |(row, &i): (usize, &usize)| {
            let (vector, value) = (block.vector(row), eigen.values[i]);
            let residual_norm = products.vector(row).axpy(-value, &vector)?.norm()?;
            let tolerance = tolerance(rel_tol, value, norm, epsilon);
            Ok(EigenPair { value, vector, residual_norm, converged: residual_norm <= tolerance })
        };
        let pairs = order.iter().enumerate().map(pair).collect::<Result<_>>()?;
        Ok(Self { pairs, block, products, norm })
    }

    /// (sign·A + shift) V.
    fn shifted_products(&self, sign: f64, shift: f64) -> ParamBlock {
        self.products.linear_combination(sign, &self.block, shift)
    }
}

/// The block plus a tenth of random directions, orthonormal.
fn stirred(block: &ParamBlock, operator: &dyn LinearOperator, seed: u64) -> Result<ParamBlock> {
    let random =
        orthonormal(&start_block(operator.space(), None, block.len(), seed.wrapping_add(1))?)?;
    orthonormal(&block.linear_combination(1.0, &random, 0.1))
}
