//! Lanczos iteration with reorthogonalization where it is needed, and thick restarts.
//!
//! Builds an orthonormal basis Q of the Krylov space span{v, Av, A²v, ...} with A Q = Q H + r eᵀ, H the
//! coefficients of all products, tridiagonal up to rounding; eigenpairs (θ, s) of its symmetric part
//! give Ritz pairs (θ, Qs) of A (Parlett, The Symmetric Eigenvalue Problem, chapter 13). [`Krylov`] does
//! that for several operators side by side. Cost of a step: one product, two passes over the basis as
//! matrix products (the estimators' solves do without them at first), one read-back.
//!
//! A full basis is replaced by the best half of its Ritz vectors, and the iteration goes on with the same
//! next vector (Wu and Simon, Thick-restart Lanczos, SIAM J. Matrix Anal. Appl. 22, 2000): the space that
//! is searched is that of an implicitly restarted iteration, at no product.

use burn::config::Config;
use burn::tensor::Tensor;

use super::judge::{Found, Judge, Probing, Verdict};
use super::krylov::{Krylov, dots, mixed};
use super::small_eigen::SmallEigen;
use super::{EigenPair, EigenResult, EigenSolver, Which, check_settings};
use crate::error::{Error, Result};
use crate::operator::{LaneVectors, Lanes, LinearOperator, SingleLane};
use crate::params::{ParamBlock, ParamSpace, ParamVector, finite};

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
    /// Basis vectors before a restart from the best half: the memory is this many vectors, and half as
    /// many again during a restart; in a smaller frame they are coordinates and images instead of
    /// vectors of the size of the model. At least 2k + 2 are used.
    #[config(default = 48)]
    pub max_basis: usize,
    /// τ: all eigenvalues beyond it are wanted, `num_eigenvalues` at most. Beyond is above it, for
    /// [`Which::SmallestAlgebraic`] below it, for [`Which::LargestMagnitude`] of larger magnitude. See
    /// [`all_beyond`](Self::all_beyond).
    #[config(default = "None")]
    pub threshold: Option<f64>,
    /// Steps of a second look. When all wanted pairs have converged, the basis goes on from a random
    /// vector that is orthogonal to it for this many steps; if the wanted values have changed by then,
    /// the solve goes on, and looks again. See [`probe_failure`](Self::probe_failure).
    #[config(default = 0)]
    pub probe_steps: usize,
    /// Seed of the start vector, and of the random vectors of second looks.
    #[config(default = 0)]
    pub seed: u64,
}

impl LanczosConfig {
    /// All eigenvalues beyond a threshold τ, `at_most` of them, with second looks of eight steps.
    ///
    /// The solve is complete when every pair beyond τ has converged, the first Ritz value that is not
    /// beyond it stays there with its residual, and a second look has brought no further one: copies of a
    /// multiple eigenvalue, which one start vector does not see, are found by it one at a time. It ends
    /// with [`StopReason::MoreBeyondThreshold`](super::StopReason::MoreBeyondThreshold) when more than `at_most` are beyond τ, which is certain:
    /// the j-th largest Ritz value is at most the j-th largest eigenvalue. That there are no more is as
    /// certain as [`probe_failure`](Self::probe_failure) says.
    pub fn all_beyond(threshold: f64, at_most: usize) -> Self {
        Self::new()
            .with_threshold(Some(threshold))
            .with_num_eigenvalues(at_most)
            .with_probe_steps(8)
    }

    /// A bound of the probability that a second look misses an eigenvalue whose vector is orthogonal to
    /// all that was found before, in a space of `n` dimensions:
    ///
    /// ```text
    /// P ≤ 1.648·√n·exp(−√ε·(2j − 1)),   j = probe_steps,   ε = (μ − λ)/(μ − μ_min)
    /// ```
    ///
    /// for a hidden eigenvalue μ that lies above the wanted one λ by the fraction ε = `relative_gap` of
    /// the spread of what is left of A outside the basis (Kuczyński and Woźniakowski, SIAM J. Matrix
    /// Anal. Appl. 13, 1992, for normally distributed start vectors). In a frame
    /// smaller than the space random vectors are normal in coordinates only: there it is an estimate.
    /// Cost of a look: `probe_steps` products.
    pub fn probe_failure(&self, n: usize, relative_gap: f64) -> f64 {
        let exponent = relative_gap.max(0.0).sqrt() * (2.0 * self.probe_steps as f64 - 1.0);
        (1.648 * (n as f64).sqrt() * (-exponent).exp()).min(1.0)
    }

    /// The solver.
    pub fn init(&self) -> Lanczos {
        Lanczos { config: self.clone() }
    }
}

/// The Lanczos method: see the [table of solvers](crate::solver).
///
/// With `num_eigenvalues` > 1 an eigenvalue of multiplicity m is found m times only as far as
/// rounding, breakdowns or second looks (`probe_steps`) bring its further copies into the basis. Where
/// the basis is small and copies are many, [`Lobpcg`](super::Lobpcg) is the better method.
///
/// An operator that has [lanes](LinearOperator::lanes) is solved in their frame; a start v is then
/// replaced by A·v, at the price of one product, so that all coordinates are those of products. Where the frame
/// does not have all that is wanted, such as more pairs than it has dimensions, a second solve is in all of the space.
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
        self.check(operator.space(), start)?;
        let start = start.map(sum).transpose()?;
        if let Some(lanes) = operator.lanes()? {
            let found = self.solve_one(lanes, start.as_ref())?;
            let values = found.pairs.iter().map(|p| (p.value, p.converged));
            // A frame of few dimensions has few pairs: the others have the eigenvalue zero, outside it.
            let LanczosConfig { threshold, num_eigenvalues, .. } = self.config;
            let is_short = threshold.is_none() && found.pairs.len() < num_eigenvalues;
            if !is_short && !self.needs_all_of_space(values, found.n_applies) {
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
    /// The wanted pairs, and the first one behind them if there is one: eigenvalue, residual norm,
    /// whether it is within the tolerance.
    pub values: Vec<(f64, f64, bool)>,
    /// Coordinates `[1, width]` of their vectors; that of the last is left out unless it was asked for.
    pub vectors: Vec<Tensor<2>>,
    pub n_applies: usize,
    /// Whether the solve ended for another reason than `max_applies`.
    pub is_complete: bool,
}

impl Lanczos {
    fn check(&self, space: &ParamSpace, start: Option<&ParamBlock>) -> Result<()> {
        let LanczosConfig { num_eigenvalues, rel_tol, max_applies, which, threshold, .. } =
            self.config;
        // With a threshold the number of pairs is a limit.
        let k = threshold.map_or(num_eigenvalues, |_| num_eigenvalues.min(1));
        check_settings(space, start, k, rel_tol, max_applies)?;
        let fail =
            |setting, value, expected| Err(Error::InvalidSetting { setting, value, expected });
        match threshold {
            Some(_) if which == Which::BothEnds => {
                fail("which", "BothEnds".into(), "one end or `LargestMagnitude` with a threshold")
            }
            Some(threshold) if !threshold.is_finite() => {
                fail("threshold", threshold.to_string(), "a finite number")
            }
            _ => Ok(()),
        }
    }

    /// Whether a result in a smaller frame, eigenvalues and whether they converged, is not the answer:
    /// outside the frame A is zero, and zero may be what is wanted; and a basis may be closed by the
    /// rounding of a frame whose coordinates are far from unique.
    pub(crate) fn needs_all_of_space(
        &self,
        found: impl Iterator<Item = (f64, bool)>,
        n_applies: usize,
    ) -> bool {
        let LanczosConfig { which, threshold, max_applies, .. } = self.config;
        let zero_is_wanted =
            threshold.is_some_and(|threshold| which.is_beyond(0.0, threshold, 0.0));
        let misses = |(number, (value, converged)): (usize, (f64, bool))| {
            let beyond = match which {
                Which::LargestAlgebraic => value < 0.0,
                Which::SmallestAlgebraic => value > 0.0,
                Which::LargestMagnitude => false,
                Which::BothEnds if number % 2 == 0 => value < 0.0,
                Which::BothEnds => value > 0.0,
            };
            beyond || (!converged && n_applies < max_applies)
        };
        zero_is_wanted || found.enumerate().any(misses)
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
        let mut found = self.solve_lanes(lanes, start, &seeds, true)?;
        let LaneResult { values, vectors, n_applies: steps, is_complete } = found.remove(0);
        let pair = |((value, residual_norm, converged), vector): (_, Tensor<2>)| {
            let vector = lanes.expand(&vector, 0)?;
            Ok(EigenPair { value, vector, residual_norm, converged })
        };
        let judge = Judge { config: &self.config, space: lanes.space() };
        let n_wanted = judge.n_wanted(values.iter().map(|v| v.0));
        let stop = judge.stop(&values, is_complete);
        let pairs = values.into_iter().zip(vectors).map(pair);
        let mut pairs = pairs.collect::<Result<Vec<_>>>()?;
        let next = pairs.split_off(n_wanted).pop();
        let (which, n_applies) = (self.config.which, n_applies + steps);
        Ok(EigenResult { which, pairs, next, stop, n_applies, shift: 0.0 })
    }

    /// Solves all lanes side by side from `start`. A lane that has converged stays as it is, and
    /// leaves the working set with others. `with_next`: vectors also of the pairs behind the wanted ones.
    pub(crate) fn solve_lanes(
        &self,
        lanes: &dyn Lanes,
        start: LaneVectors,
        seeds: &[u64],
        with_next: bool,
    ) -> Result<Vec<LaneResult>> {
        self.check(lanes.space(), None)?;
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
            judge: Judge { config: &self.config, space: lanes.space() },
            results: (0..seeds.len()).map(|_| None).collect(),
            probing: vec![Probing::default(); seeds.len()],
            active: (0..seeds.len()).collect(),
            n_applies: 0,
            seeds,
            with_next,
        };
        let krylov = run.basis(lanes);
        run.solve(lanes, krylov, start.normalized())?;
        Ok(run.results.into_iter().flatten().collect())
    }
}

/// A solve of several lanes under way.
struct Run<'a> {
    judge: Judge<'a>,
    results: Vec<Option<LaneResult>>,
    /// Second looks of all lanes.
    probing: Vec<Probing>,
    /// For each lane that is worked on, its number.
    active: Vec<usize>,
    /// Products so far, in each active lane.
    n_applies: usize,
    seeds: &'a [u64],
    /// Whether the vectors of the pairs behind the wanted ones are wanted, too.
    with_next: bool,
}

/// A lane whose solve ends.
struct Ended {
    found: Found,
    n_applies: usize,
    is_complete: bool,
}

impl Run<'_> {
    fn capacity(&self) -> usize {
        let LanczosConfig { max_basis, num_eigenvalues, .. } = *self.judge.config;
        // With a threshold the number of pairs is a limit, and may be any number.
        let least = num_eigenvalues.saturating_mul(2).saturating_add(2);
        max_basis.max(least).min(self.judge.space.n_params())
    }

    /// Bases without vectors. For one pair and nothing behind it they need not be orthogonal to more than
    /// √ε: there is no other vector that it must be orthogonal to, and a copy of it would not be taken for
    /// another pair.
    fn basis(&self, lanes: &dyn Lanes) -> Krylov {
        let LanczosConfig { num_eigenvalues, threshold, .. } = *self.judge.config;
        let krylov = Krylov::new(lanes);
        let is_single = threshold.is_none() && num_eigenvalues == 1 && !self.with_next;
        if is_single { krylov.semi_orthogonal() } else { krylov }
    }

    /// Builds bases from `unit` vectors until every lane has ended. Lanes without work cost as much as
    /// others, so they leave when a quarter of the lanes is done, and before a restart.
    fn solve(
        &mut self,
        lanes: &dyn Lanes,
        mut krylov: Krylov,
        mut unit: LaneVectors,
    ) -> Result<()> {
        let mut ended: Vec<Option<Ended>> = self.active.iter().map(|_| None).collect();
        loop {
            let ahead = krylov.step(lanes, &unit)?;
            self.n_applies += 1;
            let turning = self.judge_all(&krylov, &mut ended)?;
            let (was_turned, turns) = (krylov.is_turned(), !turning.is_empty());
            unit = self.next(lanes, &mut krylov, ahead, turning, &mut ended)?;
            let open: Vec<usize> = (0..ended.len()).filter(|&i| ended[i].is_none()).collect();
            // A second look needs room, so that a restart comes before it and not within.
            let room = self.capacity() - krylov.len();
            let is_full =
                room == 0 || (turns && !was_turned && room < self.judge.config.probe_steps);
            let leave = open.len() < ended.len() && (is_full || 4 * open.len() <= 3 * ended.len());
            if !leave && is_full {
                unit = self.restart(lanes, &mut krylov, unit, was_turned)?;
            }
            if !leave {
                continue;
            }
            self.collect(lanes, &krylov, ended)?;
            if open.is_empty() {
                return Ok(());
            }
            self.active = open.iter().map(|&lane| self.active[lane]).collect();
            let fewer = lanes.select(&open)?;
            let (mut krylov, mut unit) = (krylov.select(&open), unit.select(&open));
            if is_full {
                unit = self.restart(&*fewer, &mut krylov, unit, was_turned)?;
            }
            return self.solve(&*fewer, krylov, unit);
        }
    }

    /// Ends the lanes that have what is wanted; which others turn to a random direction.
    fn judge_all(&mut self, krylov: &Krylov, ended: &mut [Option<Ended>]) -> Result<Vec<usize>> {
        let (n_applies, mut turning) = (self.n_applies, Vec::new());
        for (lane, ended) in ended.iter_mut().enumerate().filter(|(_, e)| e.is_none()) {
            let eigen = krylov.eigen(lane)?;
            let found = self.judge.pairs(&eigen);
            let probing = &mut self.probing[self.active[lane]];
            let sizes = (n_applies, krylov.len());
            match self.judge.verdict(&found, sizes, eigen.is_closed, probing) {
                Verdict::Complete => {
                    *ended = Some(Ended { found, n_applies, is_complete: true });
                }
                Verdict::Spent => *ended = Some(Ended { found, n_applies, is_complete: false }),
                Verdict::Turn => turning.push(lane),
                Verdict::Onward => {}
            }
        }
        Ok(turning)
    }

    /// The next unit vectors: what is left of the products, and in the lanes at `turning` random
    /// directions. A lane that has no direction left ends: what there is of pairs is exact.
    fn next(
        &self,
        lanes: &dyn Lanes,
        krylov: &mut Krylov,
        ahead: LaneVectors,
        turning: Vec<usize>,
        ended: &mut [Option<Ended>],
    ) -> Result<LaneVectors> {
        if turning.is_empty() {
            return Ok(ahead);
        }
        krylov.turn(&turning);
        // One stream for each product, whatever is left of the basis.
        let stream = (self.n_applies as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
        let seeds: Vec<u64> = self.active.iter().map(|&lane| self.seeds[lane] ^ stream).collect();
        let random = LaneVectors::new(lanes, lanes.random(&seeds))?.normalized();
        let fresh = krylov.orthogonal_to(lanes, random.coordinates)?;
        let norms = dots(&fresh, &fresh)?;
        for &lane in &turning {
            if norms[lane] <= lanes.space().epsilon() {
                krylov.complete(lane);
                let found = self.judge.pairs(&krylov.eigen(lane)?);
                let n_applies = self.n_applies;
                ended[lane] = Some(Ended { found, n_applies, is_complete: true });
            }
        }
        let is_turning = |lane| f64::from(u8::from(turning.contains(&lane)));
        let is_turning: Vec<f64> = (0..norms.len()).map(is_turning).collect();
        Ok(mixed(&ahead, &fresh.normalized(), is_turning))
    }

    /// Makes room; returns the next unit vectors. A thick restart keeps the best half of the Ritz
    /// vectors. After a turn the basis starts anew, from the sum of the wanted Ritz vectors.
    fn restart(
        &self,
        lanes: &dyn Lanes,
        krylov: &mut Krylov,
        unit: LaneVectors,
        was_turned: bool,
    ) -> Result<LaneVectors> {
        let (m, mut n_kept) = (krylov.len(), 1);
        let mut kept = Vec::new();
        for lane in 0..self.active.len() {
            let found = krylov.eigen(lane)?;
            n_kept = n_kept.max(self.judge.pairs(&found).n_wanted);
            let order = found.eigen.order(self.judge.config.which);
            kept.push((found.eigen, order));
        }
        n_kept = if was_turned { n_kept } else { (n_kept + m) / 2 };
        kept.iter_mut().for_each(|(_, order)| order.truncate(n_kept));
        if !was_turned {
            krylov.restart(&kept);
            return Ok(unit);
        }
        let sum = |(eigen, order): &(SmallEigen, Vec<usize>)| -> Vec<f64> {
            (0..m).map(|row| order.iter().map(|&i| eigen.vectors[i][row]).sum()).collect()
        };
        let start = krylov.combine(&kept.iter().map(sum).collect::<Vec<_>>());
        *krylov = Krylov::new(lanes);
        Ok(LaneVectors::new(lanes, start)?.normalized())
    }

    /// Writes the results of the lanes that have ended.
    fn collect(
        &mut self,
        lanes: &dyn Lanes,
        krylov: &Krylov,
        ended: Vec<Option<Ended>>,
    ) -> Result<()> {
        let lists = |ended: &Option<Ended>| -> Vec<Vec<f64>> {
            let Some(Ended { found, .. }) = ended else { return Vec::new() };
            let n = if self.with_next { found.coefficients.len() } else { found.n_wanted };
            found.coefficients[..n].to_vec()
        };
        let lists: Vec<_> = ended.iter().map(lists).collect();
        let most = lists.iter().map(Vec::len).max().unwrap_or(0);
        let of_pair = |pair: usize| {
            let list = |lists: &Vec<Vec<f64>>| lists.get(pair).cloned().unwrap_or_default();
            let lists = lists.iter().map(list).collect::<Vec<_>>();
            let vectors = krylov.combine(&lists);
            if self.with_next {
                return Ok(vectors);
            }
            // Of a basis that is orthogonal to √ε only, norms are 1 only to that.
            Ok(LaneVectors::new(lanes, vectors)?.normalized().coordinates)
        };
        let vectors: Vec<Tensor<2>> = (0..most).map(of_pair).collect::<Result<_>>()?;
        for (lane, ended) in ended.into_iter().enumerate() {
            // What is open runs on in a smaller set.
            let Some(Ended { found, n_applies, is_complete }) = ended else { continue };
            let Found { values, .. } = found;
            let row = |block: &Tensor<2>| block.clone().narrow(0, lane, 1);
            let vectors = vectors.iter().take(values.len()).map(row).collect();
            let result = LaneResult { values, vectors, n_applies, is_complete };
            self.results[self.active[lane]] = Some(result);
        }
        Ok(())
    }
}

/// The sum of the rows: a start vector with a part of each.
fn sum(block: &ParamBlock) -> Result<ParamVector> {
    Ok(block.combine(&[vec![1.0; block.len()]]).vector(0))
}
