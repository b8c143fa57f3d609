//! Lanczos iteration with full reorthogonalization and explicit restarts.
//!
//! Builds an orthonormal basis Q of the Krylov space span{v, Av, A²v, ...} with A Q = Q T + r eᵀ,
//! T tridiagonal; eigenpairs (θ, s) of T give Ritz pairs (θ, Qs) of A with residual |r|·|s_last|
//! (Parlett, The Symmetric Eigenvalue Problem, chapter 13). Each new vector is orthogonalized
//! against the whole basis twice, so no spurious copies of eigenvalues appear (Paige 1976).
//! Cost of a step: one product, four passes over the basis as matrix products, one read-back.

use burn::config::Config;
use burn::tensor::Tensor;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::small_eigen::{SmallEigen, symmetric_eigen};
use super::{EigenPair, EigenResult, EigenSolver, StopReason, Which, check_settings, tolerance};
use crate::error::{Error, Result};
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, ParamVector, finite, inner, read};

/// Settings of [`Lanczos`].
#[derive(Config, Debug)]
pub struct LanczosConfig {
    /// Which end of the spectrum.
    #[config(default = "Which::LargestAlgebraic")]
    pub which: Which,
    /// Number k of eigenpairs.
    #[config(default = 1)]
    pub num_eigenvalues: usize,
    /// Converged when ‖Av − λv‖ ≤ `rel_tol`·|λ|.
    #[config(default = 1e-3)]
    pub rel_tol: f64,
    /// The most products that one solve may compute.
    #[config(default = 200)]
    pub max_applies: usize,
    /// Steps before convergence counts. A start that is nearly an eigenvector, such as the top one of
    /// an earlier Hessian, has a small residual at once, whether or not it still is the wanted one;
    /// a few steps let any other direction in the start grow.
    #[config(default = 8)]
    pub min_steps: usize,
    /// Basis vectors kept before a restart from the best ones: the memory is this many vectors of
    /// the size of the model. At least 2k + 2 are used.
    #[config(default = 48)]
    pub max_basis: usize,
    /// Seed of the start vector.
    #[config(default = 0)]
    pub seed: u64,
}

impl LanczosConfig {
    /// The solver.
    pub fn init(&self) -> Lanczos {
        Lanczos { config: self.clone() }
    }
}

/// The Lanczos method: see the [table of solvers](crate::solver).
///
/// With `num_eigenvalues` > 1 an eigenvalue of multiplicity m is found m times only as far as
/// rounding or breakdowns bring its further copies into the Krylov space.
#[derive(Clone, Debug)]
pub struct Lanczos {
    config: LanczosConfig,
}

impl EigenSolver for Lanczos {
    fn solve(
        &self,
        operator: &dyn LinearOperator,
        start: Option<&ParamBlock>,
    ) -> Result<EigenResult> {
        let LanczosConfig { num_eigenvalues: k, rel_tol, max_applies, .. } = self.config;
        check_settings(operator, start, k, rel_tol, max_applies)?;
        let applies_before = operator.n_applies();
        let used = || operator.n_applies() - applies_before;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.config.seed);
        let mut start = match start {
            Some(block) => sum(block)?,
            None => operator.space().random(&mut rng),
        };
        loop {
            // One product is kept back for each pair, to measure its residual.
            let budget = max_applies.saturating_sub(used() + k).max(1);
            let krylov = self.expand(operator, &start, budget, &mut rng)?;
            let pairs = self.measure(operator, &krylov)?;
            let done = pairs.iter().all(|p| p.converged);
            if done || max_applies < used() + 2 * k + 2 {
                let stop = if done { StopReason::Converged } else { StopReason::MaxApplies };
                return Ok(EigenResult { pairs, stop, n_applies: used(), shift: 0.0 });
            }
            let vectors: Vec<_> = pairs.iter().map(|p| p.vector.clone()).collect();
            start = sum(&ParamBlock::from_vectors(&vectors)?)?;
        }
    }
}

/// An orthonormal basis, and the eigenpairs of A in it.
struct Krylov {
    basis: Basis,
    eigen: SmallEigen,
}

impl Lanczos {
    /// Builds a basis from `start` until the wanted Ritz pairs look converged, the basis is full,
    /// the budget is spent or the space is exhausted.
    fn expand(
        &self,
        operator: &dyn LinearOperator,
        start: &ParamVector,
        budget: usize,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Result<Krylov> {
        let LanczosConfig { num_eigenvalues: k, rel_tol, max_basis, min_steps, which, .. } =
            self.config;
        let epsilon = operator.space().epsilon();
        let capacity = max_basis.max(2 * k + 2).min(budget).min(operator.dim());
        let (mut q, norm) = start.normalized()?;
        if norm == 0.0 {
            q = operator.space().random(rng).normalized()?.0;
        }
        let mut basis = Basis::new(&q, capacity);
        let (mut alpha, mut beta) = (Vec::new(), Vec::<f64>::new());
        loop {
            let w = operator.apply(&q)?;
            let (a, b, next) = orthogonalize(&w, &q, &basis)?;
            alpha.push(a);
            let m = alpha.len();
            let entry = |i: usize, j: usize| match i - j {
                0 => alpha[i],
                1 => beta[j],
                _ => 0.0,
            };
            let eigen = symmetric_eigen(m, entry)?;
            let scale = eigen.norm().max(b);
            // A basis that A maps into itself: rounding is all that is left of the next vector.
            let breakdown = b <= 32.0 * epsilon * scale;
            let looks_converged = m >= k.max(min_steps)
                && eigen.order(which).iter().take(k).all(|&i| {
                    let estimate = b * eigen.vectors[i][m - 1].abs();
                    estimate <= 0.5 * tolerance(rel_tol, eigen.values[i], scale, epsilon)
                });
            if m == capacity || (m >= k && (breakdown || looks_converged)) {
                return Ok(Krylov { basis, eigen });
            }
            q = if breakdown {
                match fresh_direction(operator, &basis, rng)? {
                    Some(direction) => direction,
                    None => return Ok(Krylov { basis, eigen }),
                }
            } else {
                next.scale(1.0 / b)
            };
            beta.push(if breakdown { 0.0 } else { b });
            basis.push(&q);
        }
    }

    /// The wanted Ritz pairs with measured residuals: one product each.
    fn measure(&self, operator: &dyn LinearOperator, krylov: &Krylov) -> Result<Vec<EigenPair>> {
        let Krylov { basis, eigen } = krylov;
        let epsilon = operator.space().epsilon();
        let wanted = eigen.order(self.config.which).into_iter().take(self.config.num_eigenvalues);
        let pair = |i: usize| {
            let vector = basis.block().combine(std::slice::from_ref(&eigen.vectors[i])).vector(0);
            let (vector, _) = vector.normalized()?;
            let product = operator.apply(&vector)?;
            let value = finite("an eigenvalue", vector.dot(&product)?)?;
            let residual_norm = product.axpy(-value, &vector)?.norm()?;
            let tolerance = tolerance(self.config.rel_tol, value, eigen.norm(), epsilon);
            Ok(EigenPair { value, vector, residual_norm, converged: residual_norm <= tolerance })
        };
        wanted.map(pair).collect()
    }
}

/// (α, β, r): α = qᵀw and r = w orthogonalized against the basis twice, β = ‖r‖. One read-back.
fn orthogonalize(
    w: &ParamVector,
    q: &ParamVector,
    basis: &Basis,
) -> Result<(f64, f64, ParamVector)> {
    let alpha = inner(&q.tensor(), &w.tensor());
    let block = basis.block();
    let r = block.project_out(&block.project_out(w));
    let beta2 = inner(&r.tensor(), &r.tensor());
    let scalars = read(Tensor::cat(vec![alpha, beta2], 0))?;
    let [alpha, beta2] = scalars[..] else {
        return Err(Error::NonFinite { quantity: "a product of the operator", value: f64::NAN });
    };
    let alpha = finite("a product of the operator", alpha)?;
    Ok((alpha, finite("a product of the operator", beta2)?.sqrt(), r))
}

/// A random unit vector orthogonal to the basis; `None` when the basis spans the space.
fn fresh_direction(
    operator: &dyn LinearOperator,
    basis: &Basis,
    rng: &mut Xoshiro256PlusPlus,
) -> Result<Option<ParamVector>> {
    let (random, _) = operator.space().random(rng).normalized()?;
    let block = basis.block();
    let rest = block.project_out(&block.project_out(&random));
    let (direction, norm) = rest.normalized()?;
    Ok((norm > operator.space().epsilon().sqrt()).then_some(direction))
}

/// The sum of the rows: a start vector with a part of each.
fn sum(block: &ParamBlock) -> Result<ParamVector> {
    Ok(block.combine(&[vec![1.0; block.len()]]).vector(0))
}

/// Rows of a growing matrix: the memory doubles when it is full, rows are written in place.
struct Basis {
    rows: Tensor<2>,
    len: usize,
    capacity: usize,
    first: ParamVector,
}

impl Basis {
    fn new(first: &ParamVector, capacity: usize) -> Self {
        let mut basis = Self {
            rows: Self::empty(first, capacity.min(8)),
            len: 0,
            capacity,
            first: first.clone(),
        };
        basis.push(first);
        basis
    }

    fn empty(like: &ParamVector, rows: usize) -> Tensor<2> {
        let space = like.space();
        Tensor::zeros([rows, like.len()], (space.device(), space.dtype()))
    }

    fn push(&mut self, vector: &ParamVector) {
        let [room, n] = self.rows.dims();
        if self.len == room {
            let more = room.min(self.capacity - room);
            let more = Self::empty(&self.first, more);
            self.rows = Tensor::cat(vec![std::mem::replace(&mut self.rows, more.clone()), more], 0);
        }
        let row = vector.tensor().unsqueeze_dim::<2>(0);
        let rows = std::mem::replace(&mut self.rows, row.clone());
        self.rows = rows.slice_assign([self.len..self.len + 1, 0..n], row);
        self.len += 1;
    }

    fn block(&self) -> ParamBlock {
        ParamBlock::from_rows(self.first.space(), self.rows.clone().narrow(0, 0, self.len))
    }
}
