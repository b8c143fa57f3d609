//! Lanczos iteration with full reorthogonalization and explicit restarts.
//!
//! Builds an orthonormal basis Q of the Krylov space span{v, Av, A²v, ...} with A Q = Q H + r eᵀ, H the
//! coefficients of all products, tridiagonal up to rounding; eigenpairs (θ, s) of its symmetric part
//! give Ritz pairs (θ, Qs) of A (Parlett, The Symmetric Eigenvalue Problem, chapter 13). [`Krylov`] does
//! that for several operators side by side. Cost of a step: one product, two passes over the basis as
//! matrix products, one read-back.

use burn::config::Config;
use burn::tensor::Tensor;

use super::krylov::{Krylov, LaneEigen, dots};
use super::{EigenPair, EigenResult, EigenSolver, StopReason, Which, check_settings, tolerance};
use crate::error::Result;
use crate::operator::{LaneVectors, Lanes, LinearOperator, SingleLane};
use crate::params::{ParamBlock, ParamVector, finite};

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
    /// The most products that one solve may compute. The product of a start in a smaller frame, and a
    /// second solve on all of the space where that is needed, come on top.
    #[config(default = 200)]
    pub max_applies: usize,
    /// Steps before convergence counts. A start that is nearly an eigenvector, such as the top one of
    /// an earlier Hessian, has a small residual at once, whether or not it still is the wanted one;
    /// a few steps let any other direction in the start grow.
    #[config(default = 8)]
    pub min_steps: usize,
    /// Basis vectors kept before a restart from the best ones: the memory is this many vectors, which
    /// in a smaller frame are coordinates and images instead of vectors of the size of the model. At
    /// least 2k + 2 are used.
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
///
/// An operator that has [lanes](LinearOperator::lanes) is solved in their frame; a start v is then
/// replaced by A·v, at the price of one product, so that all coordinates are those of products.
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
        check_settings(operator.space(), start, k, rel_tol, max_applies)?;
        let start = start.map(sum).transpose()?;
        if let Some(lanes) = operator.lanes()? {
            let found = self.solve_one(lanes, start.as_ref())?;
            let values = found.pairs.iter().map(|p| (p.value, p.converged));
            if !self.needs_all_of_space(values, found.n_applies) {
                return Ok(found);
            }
            let whole = self.solve_on_all_of_space(operator, start.as_ref())?;
            return Ok(EigenResult { n_applies: found.n_applies + whole.n_applies, ..whole });
        }
        self.solve_on_all_of_space(operator, start.as_ref())
    }
}

/// What was found for one lane.
pub(crate) struct LaneResult {
    /// The wanted pairs: eigenvalue, residual norm, whether it is within the tolerance.
    pub values: Vec<(f64, f64, bool)>,
    /// Coordinates `[1, width]` of their vectors.
    pub vectors: Vec<Tensor<2>>,
    pub n_applies: usize,
}

impl Lanczos {
    /// Whether a result in a smaller frame, eigenvalues and whether they converged, is not the answer:
    /// outside the frame A is zero, and zero may be what is wanted; and a basis may be closed by the
    /// rounding of a frame whose coordinates are far from unique.
    pub(crate) fn needs_all_of_space(
        &self,
        mut found: impl Iterator<Item = (f64, bool)>,
        n_applies: usize,
    ) -> bool {
        found.any(|(value, converged)| {
            let beyond = match self.config.which {
                Which::LargestAlgebraic => value < 0.0,
                Which::SmallestAlgebraic => value > 0.0,
                Which::LargestMagnitude => false,
            };
            beyond || (!converged && n_applies < self.config.max_applies)
        })
    }

    /// The solve in vectors of the space itself.
    pub(crate) fn solve_on_all_of_space(
        &self,
        operator: &dyn LinearOperator,
        start: Option<&ParamVector>,
    ) -> Result<EigenResult> {
        self.solve_one(&SingleLane(operator), start)
    }

    fn solve_one(&self, lanes: &dyn Lanes, start: Option<&ParamVector>) -> Result<EigenResult> {
        let seeds = [self.config.seed];
        let mut n_applies = 0;
        let images = match start {
            None => lanes.images(&lanes.random(&seeds))?,
            Some(start) => lanes.images_of(start)?,
        };
        let start = if lanes.is_dense() { images } else { lanes.apply(&images)? };
        n_applies += usize::from(!lanes.is_dense());
        let start = LaneVectors::new(lanes, start)?;
        let mut found = self.solve_lanes(lanes, start, &seeds)?;
        let LaneResult { values, vectors, n_applies: steps } = found.remove(0);
        let pair = |((value, residual_norm, converged), vector): (_, Tensor<2>)| {
            let vector = lanes.expand(&vector, 0)?;
            Ok(EigenPair { value, vector, residual_norm, converged })
        };
        let pairs = values.into_iter().zip(vectors).map(pair).collect::<Result<Vec<_>>>()?;
        let done = pairs.iter().all(|p| p.converged);
        let stop = if done { StopReason::Converged } else { StopReason::MaxApplies };
        Ok(EigenResult { pairs, stop, n_applies: n_applies + steps, shift: 0.0 })
    }

    /// Solves all lanes side by side from `start`. A lane that has converged stays as it is, and
    /// leaves the working set with others.
    pub(crate) fn solve_lanes(
        &self,
        lanes: &dyn Lanes,
        start: LaneVectors,
        seeds: &[u64],
    ) -> Result<Vec<LaneResult>> {
        let LanczosConfig { num_eigenvalues: k, rel_tol, max_applies, .. } = self.config;
        check_settings(lanes.space(), None, k, rel_tol, max_applies)?;
        let norms = dots(&start, &start)?;
        let start = match norms.iter().all(|norm| *norm > 0.0) {
            true => start,
            false => {
                // A zero start, for example the product of an operator that annihilates it.
                norms.iter().try_for_each(|n| finite("a start vector", *n).map(|_| ()))?;
                LaneVectors::new(lanes, lanes.random(seeds))?
            }
        };
        let mut run = Run {
            config: &self.config,
            results: (0..seeds.len()).map(|_| None).collect(),
            active: (0..seeds.len()).collect(),
            n_applies: 0,
            seeds,
        };
        let krylov = Krylov::new(lanes);
        run.solve(lanes, krylov, start.normalized())?;
        Ok(run.results.into_iter().flatten().collect())
    }
}

/// A solve of several lanes under way.
struct Run<'a> {
    config: &'a LanczosConfig,
    results: Vec<Option<LaneResult>>,
    /// For each lane that is worked on, its number.
    active: Vec<usize>,
    /// Products so far, in each active lane.
    n_applies: usize,
    seeds: &'a [u64],
}

/// A lane whose solve ends: its pairs, and the coefficients of their vectors.
struct Ended {
    values: Vec<(f64, f64, bool)>,
    coefficients: Vec<Vec<f64>>,
    n_applies: usize,
}

impl Run<'_> {
    fn capacity(&self, lanes: &dyn Lanes) -> usize {
        let LanczosConfig { max_basis, num_eigenvalues, .. } = *self.config;
        max_basis.max(2 * num_eigenvalues + 2).min(lanes.space().n_params())
    }

    /// Builds bases from `unit` vectors until every lane has ended. Lanes without work cost as much as
    /// others, so they leave when a quarter of the lanes is done.
    fn solve(
        &mut self,
        lanes: &dyn Lanes,
        mut krylov: Krylov,
        mut unit: LaneVectors,
    ) -> Result<()> {
        let capacity = self.capacity(lanes);
        let mut ended: Vec<Option<Ended>> = self.active.iter().map(|_| None).collect();
        loop {
            let rest = krylov.step(lanes, &unit)?;
            self.n_applies += 1;
            let mut closed = Vec::new();
            for (lane, ended) in ended.iter_mut().enumerate().filter(|(_, e)| e.is_none()) {
                let found = krylov.eigen(lane)?;
                *ended = self.end(&found, krylov.len(), lanes);
                closed.extend((found.is_closed && ended.is_none()).then_some(lane));
            }
            let open: Vec<usize> = (0..ended.len()).filter(|&i| ended[i].is_none()).collect();
            let is_full = krylov.len() == capacity;
            if is_full && !open.is_empty() {
                unit = self.restart(lanes, &krylov, &open)?;
            } else if let Some(next) = self.next(lanes, &mut krylov, &rest, &closed, &open)? {
                unit = next;
            } else {
                // No direction is left: what there is of pairs is exact.
                for lane in open {
                    ended[lane] = Some(self.pairs(&krylov.eigen(lane)?, lanes));
                }
                self.collect(lanes, &krylov, &ended);
                return Ok(());
            }
            if !is_full && 4 * open.len() > 3 * ended.len() {
                continue;
            }
            self.collect(lanes, &krylov, &ended);
            self.active = open.iter().map(|&lane| self.active[lane]).collect();
            let fewer = lanes.select(&open)?;
            krylov = match is_full {
                true => Krylov::new(&*fewer),
                false => krylov.select(&open),
            };
            return self.solve(&*fewer, krylov, unit.select(&open));
        }
    }

    /// The wanted pairs of a lane.
    fn pairs(&self, found: &LaneEigen, lanes: &dyn Lanes) -> Ended {
        let LanczosConfig { num_eigenvalues, rel_tol, which, .. } = *self.config;
        let LaneEigen { eigen, residuals, beta, .. } = found;
        let (epsilon, scale) = (lanes.space().epsilon(), eigen.norm().max(*beta));
        let wanted = eigen.order(which).into_iter().take(num_eigenvalues);
        let pair = |i: usize| {
            let (value, residual) = (eigen.values[i], residuals[i]);
            let converged = residual <= tolerance(rel_tol, value, scale, epsilon);
            ((value, residual, converged), eigen.vectors[i].clone())
        };
        let (values, coefficients) = wanted.map(pair).unzip();
        Ended { values, coefficients, n_applies: self.n_applies }
    }

    /// The pairs of a lane if its solve ends after `m` vectors: converged, out of products, or in
    /// possession of a basis that A maps into itself.
    fn end(&self, found: &LaneEigen, m: usize, lanes: &dyn Lanes) -> Option<Ended> {
        let LanczosConfig { num_eigenvalues: k, max_applies, min_steps, .. } = *self.config;
        let pairs = self.pairs(found, lanes);
        let is_closed = found.is_closed || m == lanes.space().n_params();
        let is_complete = m >= min_steps && pairs.values.iter().all(|v| v.2);
        let is_spent = self.n_applies >= max_applies;
        ((m >= k && (is_complete || is_closed)) || is_spent).then_some(pairs)
    }

    /// The next unit vectors of the open lanes; `None` when there are none.
    fn next(
        &self,
        lanes: &dyn Lanes,
        krylov: &mut Krylov,
        rest: &LaneVectors,
        closed: &[usize],
        open: &[usize],
    ) -> Result<Option<LaneVectors>> {
        if open.is_empty() {
            return Ok(None);
        }
        if closed.is_empty() {
            return Ok(Some(rest.normalized()));
        }
        // Several pairs are wanted and the basis is closed before there are as many: a new direction.
        closed.iter().for_each(|&lane| krylov.close(lane));
        let seeds: Vec<u64> =
            self.active.iter().map(|&lane| self.seeds[lane] ^ krylov.len() as u64).collect();
        let random = LaneVectors::new(lanes, lanes.random(&seeds))?.normalized();
        let fresh = krylov.orthogonal_to(lanes, random.coordinates)?;
        let norms = dots(&fresh, &fresh)?;
        let exhausted = closed.iter().any(|&lane| norms[lane] <= lanes.space().epsilon());
        Ok((!exhausted).then(|| fresh.normalized()))
    }

    /// Start vectors of new bases: the sum of the wanted Ritz vectors.
    fn restart(&self, lanes: &dyn Lanes, krylov: &Krylov, open: &[usize]) -> Result<LaneVectors> {
        let mut starts = vec![Vec::new(); self.active.len()];
        for &lane in open {
            let eigen = krylov.eigen(lane)?.eigen;
            let wanted = eigen.order(self.config.which);
            let wanted = wanted.iter().take(self.config.num_eigenvalues);
            let mut sum = vec![0.0; krylov.len()];
            for &i in wanted {
                sum.iter_mut().zip(&eigen.vectors[i]).for_each(|(sum, s)| *sum += s);
            }
            starts[lane] = sum;
        }
        Ok(krylov.combine(lanes, &starts).normalized())
    }

    /// Writes the results of the lanes that have ended.
    fn collect(&mut self, lanes: &dyn Lanes, krylov: &Krylov, ended: &[Option<Ended>]) {
        let of_pair = |pair: usize| {
            let list = |ended: &Option<Ended>| {
                let lists = ended.as_ref().map(|ended| &ended.coefficients);
                lists.and_then(|lists| lists.get(pair)).cloned().unwrap_or_default()
            };
            krylov.combine(lanes, &ended.iter().map(list).collect::<Vec<_>>()).coordinates
        };
        let vectors: Vec<Tensor<2>> = (0..self.config.num_eigenvalues).map(of_pair).collect();
        for (lane, ended) in ended.iter().enumerate() {
            // What is open runs on in a smaller set.
            let Some(Ended { values, n_applies, .. }) = ended else { continue };
            let row = |block: &Tensor<2>| block.clone().narrow(0, lane, 1);
            let vectors = vectors.iter().take(values.len()).map(row).collect();
            let result = LaneResult { values: values.clone(), vectors, n_applies: *n_applies };
            self.results[self.active[lane]] = Some(result);
        }
    }
}

/// The sum of the rows: a start vector with a part of each.
fn sum(block: &ParamBlock) -> Result<ParamVector> {
    Ok(block.combine(&[vec![1.0; block.len()]]).vector(0))
}
