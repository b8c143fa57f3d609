//! Locally optimal block conjugate gradients without preconditioner (LOBPCG, Knyazev 2001).
//!
//! Each iteration takes the best block X from the span of three: the block itself, its residuals W and its
//! last steps P (Rayleigh-Ritz on at most 3b vectors). Products are computed of W alone: those of X and P
//! are combinations of products that are there. P is made orthogonal to X by its coefficients (Hetmaniuk
//! and Lehoucq 2006), W to X and P by Gram-Schmidt twice, and the Rayleigh-Ritz problem takes the Gram
//! matrix of the trial vectors as it is, without directions that rounding fills (Stathopoulos and Wu
//! 2002; Duersch et al. 2018): the three are never close to dependent, which is what breaks the
//! textbook method near convergence.
//!
//! A pair that has converged stays in X, where it goes on to improve and keeps others away (soft
//! locking), but gets no more products: b iterations of a block cost less and less.

use burn::config::Config;
use burn::tensor::Tensor;

use super::orthonormal::{extension, norms, orthonormal, start_block};
use super::small_eigen::symmetric_eigen;
use super::{EigenPair, EigenResult, EigenSolver, StopReason, Which, check_settings, tolerance};
use crate::error::{Error, Result};
use crate::operator::LinearOperator;
use crate::params::{ParamBlock, ParamVector, inner, read};

/// Settings of [`Lobpcg`].
#[derive(Config, Debug)]
pub struct LobpcgConfig {
    /// Which end of the spectrum.
    #[config(default = "Which::LargestAlgebraic")]
    pub which: Which,
    /// Number k of eigenpairs.
    #[config(default = 1)]
    pub num_eigenvalues: usize,
    /// Vectors in the block besides the wanted ones: the rate of convergence is that of the gap behind
    /// the whole block, and a multiple eigenvalue is found as often as the block has room. Each costs a
    /// product per iteration until it has converged too.
    #[config(default = 0)]
    pub guard_vectors: usize,
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

impl LobpcgConfig {
    /// The solver.
    pub fn init(&self) -> Lobpcg {
        Lobpcg { config: self.clone() }
    }
}

/// LOBPCG: see the [table of solvers](crate::solver).
///
/// Cost: b = k + `guard_vectors` products at the start (twice as many for
/// [`Which::LargestMagnitude`], which looks for k at both ends), then one per vector that has not
/// converged and iteration. Memory: 6b vectors and, for the length of an iteration, as many again.
#[derive(Clone, Debug)]
pub struct Lobpcg {
    config: LobpcgConfig,
}

impl EigenSolver for Lobpcg {
    fn solve(
        &self,
        operator: &dyn LinearOperator,
        start: Option<&ParamBlock>,
    ) -> Result<EigenResult> {
        let LobpcgConfig { num_eigenvalues: k, guard_vectors, rel_tol, max_applies, which, seed } =
            self.config;
        let space = operator.space();
        check_settings(space, start, k, rel_tol, max_applies)?;
        let per_end = if which == Which::LargestMagnitude { 2 } else { 1 };
        let b = (per_end * k.saturating_add(guard_vectors)).min(space.n_params());
        if max_applies <= b {
            let (setting, value) = ("max_applies", max_applies.to_string());
            let expected = "more than the number of vectors in the block";
            return Err(Error::InvalidSetting { setting, value, expected });
        }
        let before = operator.n_applies();
        let used = || operator.n_applies() - before;
        let x = orthonormal(&start_block(space, start, b, seed)?)?;
        let ax = operator.apply_block(&x)?;
        let mut state = State::new(&self.config, b, x.vectors(), ax.vectors())?;
        loop {
            let pairs = state.pairs(rel_tol)?;
            let active: Vec<usize> = (0..b).filter(|&i| !pairs[i].converged).collect();
            if self.is_done(&pairs) {
                return Ok(self.result(pairs, StopReason::Converged, used()));
            }
            let w = state.directions(&pairs, &active, seed ^ used() as u64)?;
            if w.is_empty() {
                return Ok(self.result(pairs, StopReason::Stalled, used()));
            }
            if used() + w.len() > max_applies {
                return Ok(self.result(pairs, StopReason::MaxApplies, used()));
            }
            let aw = operator.apply_block(&ParamBlock::from_vectors(&w)?)?;
            state.improve(w, aw.vectors(), &active)?;
        }
    }
}

impl Lobpcg {
    /// Positions of the pairs of a block, the most wanted first.
    fn order(&self, pairs: &[EigenPair]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        if self.config.which == Which::LargestMagnitude {
            order.sort_by(|&a, &b| pairs[b].value.abs().total_cmp(&pairs[a].value.abs()));
        }
        order
    }

    fn is_done(&self, pairs: &[EigenPair]) -> bool {
        let LobpcgConfig { num_eigenvalues: k, which, .. } = self.config;
        let order = self.order(pairs);
        let (wanted, others) = order.split_at(k.min(order.len()));
        // Of the other end nothing may come that is larger.
        let least = wanted.last().map_or(0.0, |&i| pairs[i].value.abs());
        let is_settled = |&i: &usize| {
            let pair = &pairs[i];
            pair.converged || pair.value.abs() + pair.residual_norm < least
        };
        wanted.iter().all(|&i| pairs[i].converged)
            && (which != Which::LargestMagnitude || others.iter().all(is_settled))
    }

    fn result(&self, pairs: Vec<EigenPair>, stop: StopReason, n_applies: usize) -> EigenResult {
        let LobpcgConfig { num_eigenvalues: k, which, .. } = self.config;
        let order = self.order(&pairs);
        let mut pairs: Vec<_> = order.iter().take(k + 1).map(|&i| pairs[i].clone()).collect();
        let next = pairs.split_off(k.min(pairs.len())).pop();
        EigenResult { which, pairs, next, stop, n_applies, shift: 0.0 }
    }
}

/// The block X and its last steps P, with products.
struct State {
    which: Which,
    b: usize,
    values: Vec<f64>,
    x: Vec<ParamVector>,
    ax: Vec<ParamVector>,
    p: Vec<ParamVector>,
    ap: Vec<ParamVector>,
    /// The largest Ritz value by magnitude so far: a lower bound of ‖A‖.
    norm: f64,
}

impl State {
    fn new(
        config: &LobpcgConfig,
        b: usize,
        x: Vec<ParamVector>,
        ax: Vec<ParamVector>,
    ) -> Result<Self> {
        // The largest magnitudes are at the ends.
        let which = match config.which {
            Which::LargestMagnitude => Which::BothEnds,
            which => which,
        };
        let (values, p, ap) = (Vec::new(), Vec::new(), Vec::new());
        let mut state = Self { which, b, values, x: Vec::new(), ax: Vec::new(), p, ap, norm: 0.0 };
        state.improve(x, ax, &[])?;
        Ok(state)
    }

    /// The Ritz pairs of X, with residuals.
    fn pairs(&mut self, rel_tol: f64) -> Result<Vec<EigenPair>> {
        let products = norms(&ParamBlock::from_vectors(&self.ax)?)?;
        self.norm = products.into_iter().fold(self.norm, f64::max);
        let rest = |i: usize| self.ax[i].axpy(-self.values[i], &self.x[i]);
        let rests = (0..self.b).map(rest).collect::<Result<Vec<_>>>()?;
        let residuals = norms(&ParamBlock::from_vectors(&rests)?)?;
        let epsilon = self.x[0].space().epsilon();
        let pair = |(i, residual_norm): (usize, f64)| {
            let (value, vector) = (self.values[i], self.x[i].clone());
            let converged = residual_norm <= tolerance(rel_tol, value, self.norm, epsilon);
            EigenPair { value, vector, residual_norm, converged }
        };
        Ok(residuals.into_iter().enumerate().map(pair).collect())
    }

    /// The residuals of the active pairs, orthonormal among themselves and to X and P; a random vector
    /// where rounding is all that they are.
    fn directions(
        &self,
        pairs: &[EigenPair],
        active: &[usize],
        seed: u64,
    ) -> Result<Vec<ParamVector>> {
        let basis = [self.x.clone(), self.p.clone()].concat();
        let rest = |&i: &usize| self.ax[i].axpy(-pairs[i].value, &self.x[i]);
        let rests = active.iter().map(rest).collect::<Result<Vec<_>>>()?;
        let found = extension(&basis, &rests)?;
        if !found.is_empty() {
            return Ok(found);
        }
        let random = start_block(self.x[0].space(), None, 1, seed)?;
        extension(&basis, &random.vectors())
    }

    /// Takes the best block from the span of X, the new vectors and P, and what moved as the new P.
    fn improve(
        &mut self,
        w: Vec<ParamVector>,
        aw: Vec<ParamVector>,
        active: &[usize],
    ) -> Result<()> {
        let n_x = self.x.len();
        let trial = [self.x.clone(), w, self.p.clone()].concat();
        let products = [self.ax.clone(), aw, self.ap.clone()].concat();
        let ritz = Ritz::of(&trial, &products, self.which, self.b)?;
        let steps = ritz.steps(n_x, active);
        self.norm = self.norm.max(ritz.norm);
        let (trial, products) =
            (ParamBlock::from_vectors(&trial)?, ParamBlock::from_vectors(&products)?);
        let combine = |coefficients: &[Vec<f64>]| {
            (trial.combine(coefficients).vectors(), products.combine(coefficients).vectors())
        };
        (self.x, self.ax) = combine(&ritz.best);
        (self.p, self.ap) = combine(&steps);
        self.values = ritz.values;
        Ok(())
    }
}

/// The best b Ritz pairs of trial vectors.
struct Ritz {
    values: Vec<f64>,
    /// Coefficients in the trial vectors.
    best: Vec<Vec<f64>>,
    /// The Gram matrix of the trial vectors.
    gram: Symmetric,
    norm: f64,
}

impl Ritz {
    fn of(trial: &[ParamVector], products: &[ParamVector], which: Which, b: usize) -> Result<Self> {
        let n = trial.len();
        let [gram, energy] = inner_products(trial, products)?;
        // G = D⁻¹UΛUᵀD⁻¹: the columns of D·U·Λ^(−1/2) are orthonormal combinations.
        let scale: Vec<f64> = (0..n).map(|i| gram.at(i, i).sqrt().recip()).collect();
        let scaled = symmetric_eigen(n, |i, j| gram.at(i, j) * scale[i] * scale[j])?;
        let least = 64.0 * trial[0].space().epsilon();
        let is_kept = |&i: &usize| scaled.values[i] > least;
        let column = |i: usize| -> Vec<f64> {
            let vector = scaled.vectors[i].iter().zip(&scale);
            vector.map(|(u, d)| u * d / scaled.values[i].sqrt()).collect()
        };
        let columns: Vec<Vec<f64>> = (0..n).filter(is_kept).map(column).collect();
        let images: Vec<Vec<f64>> = columns.iter().map(|c| energy.times(c)).collect();
        let small = symmetric_eigen(columns.len(), |i, j| dot(&columns[i], &images[j]))?;
        let order: Vec<usize> = small.order(which).into_iter().take(b).collect();
        let combination = |&i: &usize| combined(&columns, &small.vectors[i]);
        Ok(Self {
            values: order.iter().map(|&i| small.values[i]).collect(),
            best: order.iter().map(combination).collect(),
            gram,
            norm: small.norm(),
        })
    }

    /// Coefficients of the steps of the active vectors, orthonormal among themselves and to the best: the
    /// part of each that is not from the first `n_x` trial vectors.
    fn steps(&self, n_x: usize, active: &[usize]) -> Vec<Vec<f64>> {
        let mut basis = self.best.clone();
        let images = |basis: &[Vec<f64>]| basis.iter().map(|c| self.gram.times(c)).collect();
        let mut dual: Vec<Vec<f64>> = images(&basis);
        for step in active.iter().filter_map(|&i| self.best.get(i)) {
            let mut step = step.clone();
            step.iter_mut().take(n_x).for_each(|c| *c = 0.0);
            let before = dot(&step, &self.gram.times(&step)).max(0.0).sqrt();
            for _ in 0..2 {
                for (vector, dual) in basis.iter().zip(&dual) {
                    let along = dot(dual, &step);
                    step.iter_mut().zip(vector).for_each(|(s, v)| *s -= along * v);
                }
            }
            let norm = dot(&step, &self.gram.times(&step)).max(0.0).sqrt();
            if norm > 1e-8 * before && norm > 0.0 {
                step.iter_mut().for_each(|c| *c /= norm);
                dual.push(self.gram.times(&step));
                basis.push(step);
            }
        }
        basis.split_off(self.best.len())
    }
}

/// A small symmetric matrix by its lower triangle.
struct Symmetric {
    n: usize,
    entries: Vec<f64>,
}

impl Symmetric {
    fn at(&self, i: usize, j: usize) -> f64 {
        let (i, j) = (i.max(j), i.min(j));
        self.entries[i * (i + 1) / 2 + j]
    }

    fn times(&self, vector: &[f64]) -> Vec<f64> {
        let row = |i: usize| vector.iter().enumerate().map(|(j, v)| self.at(i, j) * v).sum();
        (0..self.n).map(row).collect()
    }
}

/// ⟨sᵢ, sⱼ⟩ and ⟨sᵢ, A·sⱼ⟩. One read-back.
fn inner_products(trial: &[ParamVector], products: &[ParamVector]) -> Result<[Symmetric; 2]> {
    let n = trial.len();
    let lower = |others: &[ParamVector]| {
        let row = |i: usize| (0..=i).map(move |j| (i, j));
        let dot = |(i, j): (usize, usize)| inner(&trial[i].tensor(), &others[j].tensor());
        (0..n).flat_map(row).map(dot).collect::<Vec<_>>()
    };
    let mut entries = read(Tensor::cat([lower(trial), lower(products)].concat(), 0))?;
    let energy = entries.split_off(n * (n + 1) / 2);
    Ok([entries, energy].map(|entries| Symmetric { n, entries }))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Σ weights·columns.
fn combined(columns: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; columns.first().map_or(0, Vec::len)];
    for (column, weight) in columns.iter().zip(weights) {
        sum.iter_mut().zip(column).for_each(|(sum, c)| *sum += weight * c);
    }
    sum
}
