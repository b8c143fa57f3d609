//! What solvers find: eigenpairs, and how exactly they are known.

use super::Which;
use crate::error::Result;
use crate::params::{ParamBlock, ParamVector};

/// Why a solver stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Every wanted pair reached the tolerance, and so far as the method can tell there are no others.
    Converged,
    /// `max_applies` products were computed first; the residuals say how far it got.
    MaxApplies,
    /// Every returned pair reached the tolerance, but more eigenvalues are beyond the threshold than
    /// may be returned: raise `num_eigenvalues`.
    MoreBeyondThreshold,
    /// No direction is left, but a pair did not reach the tolerance: products are less exact than the
    /// tolerance, or A is not symmetric.
    Stalled,
}

/// An eigenvalue, its eigenvector, and how exactly they belong together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EigenPair {
    /// The Rayleigh quotient vᵀAv: between λ_min and λ_max, so a bound on either from inside.
    pub value: f64,
    /// v, of norm 1.
    pub vector: ParamVector,
    /// ‖Av − λv‖, from products that were computed, so good to their rounding, a few ε‖A‖, and for
    /// Lanczos again as much at each restart: some eigenvalue lies within this distance of `value`. After a second look of Lanczos, and after its
    /// restarts where A is not symmetric, an upper bound of it (after a look to √ε of the tolerance).
    pub residual_norm: f64,
    /// Whether the residual is within the tolerance.
    pub converged: bool,
}

impl EigenPair {
    /// value ± residual: for a symmetric A some eigenvalue is in here, without any assumption (Parlett,
    /// theorem 4.5.1). Which one, it does not say.
    pub fn interval(&self) -> (f64, f64) {
        (self.value - self.residual_norm, self.value + self.residual_norm)
    }

    /// The quadratic bound of Kato and Temple, *under the assumption* that exactly one eigenvalue λ is
    /// between `below` and `above` (infinite where there is none on that side):
    ///
    /// ```text
    /// θ − r²/(above − θ) ≤ λ ≤ θ + r²/(θ − below)
    /// ```
    ///
    /// with the value θ and the residual r (Kato 1949; Temple 1933). `None` when
    /// θ is not between them.
    pub fn interval_given_gap(&self, below: f64, above: f64) -> Option<(f64, f64)> {
        let Self { value, residual_norm, .. } = *self;
        let square = residual_norm.powi(2);
        let is_between = below < value && value < above;
        is_between.then(|| (value - square / (above - value), value + square / (value - below)))
    }
}

/// What a solver found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EigenResult {
    /// Which eigenvalues were wanted.
    pub which: Which,
    /// The wanted pairs, the most wanted first. Beyond a threshold there may be none.
    pub pairs: Vec<EigenPair>,
    /// The first pair behind the wanted ones, where the method has it for free: no tolerance was asked
    /// of it. It tells how far the wanted ones are separate.
    pub next: Option<EigenPair>,
    /// Why the solver stopped.
    pub stop: StopReason,
    /// Products that this solve computed.
    pub n_applies: usize,
    /// The multiple of the identity that was added to bring the wanted end of the spectrum to the
    /// top; 0 when none was needed.
    pub shift: f64,
}

impl EigenResult {
    /// The most wanted pair. Where nothing is beyond a threshold: the one that comes nearest.
    pub fn first(&self) -> &EigenPair {
        // Every basis has at least one vector, so that there is one or the other.
        self.pairs.first().or(self.next.as_ref()).expect("a result has a pair")
    }

    /// The pair of the largest value: λ_max, where it was wanted.
    pub fn largest(&self) -> &EigenPair {
        let larger = |a, b| std::cmp::max_by(a, b, by_value);
        self.pairs.iter().reduce(larger).unwrap_or_else(|| self.first())
    }

    /// The pair of the smallest value: λ_min, where it was wanted.
    pub fn smallest(&self) -> &EigenPair {
        let smaller = |a, b| std::cmp::min_by(a, b, by_value);
        self.pairs.iter().reduce(smaller).unwrap_or_else(|| self.first())
    }

    /// Whether every pair reached the tolerance, and all that was asked for is there.
    pub fn converged(&self) -> bool {
        self.stop == StopReason::Converged
    }

    /// The vectors, as a start for a later solve.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) where there is no pair, beyond a
    /// threshold.
    pub fn vectors(&self) -> Result<ParamBlock> {
        let vectors: Vec<_> = self.pairs.iter().map(|p| p.vector.clone()).collect();
        ParamBlock::from_vectors(&vectors)
    }

    /// The quadratic bound of pair number `i` ([`EigenPair::interval_given_gap`]) with the gap that this
    /// result shows, *under the assumption* that it shows it: each pair stands for one eigenvalue within
    /// its residual, and all others are behind [`next`](Self::next). A hidden eigenvalue, or a `next` that
    /// is far from converged, breaks it. `None` where the pairs are not separate.
    pub fn interval_given_gap(&self, i: usize) -> Option<(f64, f64)> {
        let pair = self.pairs.get(i)?;
        let (low, high) = self.unseen()?;
        let (mut below, mut above) = (f64::NEG_INFINITY, f64::INFINITY);
        let others = self.pairs.iter().enumerate().filter(|(j, _)| *j != i);
        let others = others.map(|(_, other)| other.interval()).chain([(low, high)]);
        for (low, high) in others {
            if high < pair.value {
                below = below.max(high);
            } else if low > pair.value {
                above = above.min(low);
            } else {
                return None;
            }
        }
        pair.interval_given_gap(below, above)
    }

    /// Where the eigenvalues are that no pair stands for, as far as `next` says.
    fn unseen(&self) -> Option<(f64, f64)> {
        let next = self.next.as_ref()?;
        let (low, high) = next.interval();
        let infinity = f64::INFINITY;
        let size = low.abs().max(high.abs());
        let last = |parity: usize| {
            let mut pairs = self.pairs.iter().enumerate().rev();
            pairs.find(|(i, _)| i % 2 == parity).map(|(_, pair)| pair.value)
        };
        Some(match self.which {
            Which::LargestAlgebraic => (-infinity, high),
            Which::SmallestAlgebraic => (low, infinity),
            Which::LargestMagnitude => (-size, size),
            // The next one of the other end is not known: its last pair is as far as they can be.
            Which::BothEnds if self.pairs.len().is_multiple_of(2) => {
                (last(1).unwrap_or(-infinity), high)
            }
            Which::BothEnds => (low, last(0).unwrap_or(infinity)),
        })
    }
}

fn by_value(a: &&EigenPair, b: &&EigenPair) -> std::cmp::Ordering {
    a.value.total_cmp(&b.value)
}
