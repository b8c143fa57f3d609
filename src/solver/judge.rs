//! When a Lanczos solve has what it was asked for.

use super::hessenberg::LaneEigen;
use super::{LanczosConfig, StopReason, Which, tolerance};
use crate::params::ParamSpace;

/// The pairs of a lane after some steps.
pub(super) struct Found {
    /// Eigenvalue, residual norm and whether it is within the tolerance: of the wanted pairs, and of
    /// the first one behind them.
    pub values: Vec<(f64, f64, bool)>,
    pub n_wanted: usize,
    /// A lower bound of ‖A‖.
    scale: f64,
    /// Coefficients of the vectors in the basis.
    pub coefficients: Vec<Vec<f64>>,
}

/// How a lane goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What is wanted has been found.
    Complete,
    /// There are no more products.
    Spent,
    /// It goes on in a random direction.
    Turn,
    Onward,
}

/// The second look of a lane.
#[derive(Clone, Default)]
pub(super) struct Probing {
    /// Products at which it is complete.
    until: usize,
    /// The wanted values that had converged before it.
    before: Option<Vec<f64>>,
}

/// What the settings ask for.
pub(super) struct Judge<'a> {
    pub config: &'a LanczosConfig,
    pub space: &'a ParamSpace,
}

impl Which {
    /// Whether a value lies on the wanted side of τ, by more than `margin`.
    pub(super) fn is_beyond(self, value: f64, threshold: f64, margin: f64) -> bool {
        match self {
            Self::LargestAlgebraic => value > threshold + margin,
            Self::SmallestAlgebraic => value < threshold - margin,
            Self::LargestMagnitude | Self::BothEnds => value.abs() > threshold + margin,
        }
    }
}

impl Judge<'_> {
    /// How many of `values`, the most wanted first, are wanted.
    pub fn n_wanted(&self, values: impl Iterator<Item = f64>) -> usize {
        let LanczosConfig { which, threshold, num_eigenvalues, .. } = *self.config;
        let is_beyond = |v: &f64| threshold.is_none_or(|t| which.is_beyond(*v, t, 0.0));
        values.take_while(is_beyond).take(num_eigenvalues).count()
    }

    /// The pairs of a lane.
    pub fn pairs(&self, found: &LaneEigen) -> Found {
        let LaneEigen { eigen, residuals, beta, .. } = found;
        let (epsilon, scale) = (self.space.epsilon(), eigen.norm().max(*beta));
        let order = eigen.order(self.config.which);
        let n_wanted = self.n_wanted(order.iter().map(|&i| eigen.values[i]));
        let pair = |&i: &usize| {
            let (value, residual) = (eigen.values[i], residuals[i]);
            let converged = residual <= tolerance(self.config.rel_tol, value, scale, epsilon);
            ((value, residual, converged), eigen.vectors[i].clone())
        };
        let (values, coefficients) = order.iter().take(n_wanted + 1).map(pair).unzip();
        Found { values, n_wanted, scale, coefficients }
    }

    /// Whether the pairs are all that is wanted, as far as this basis shows.
    fn is_complete(&self, pairs: &Found, n_applies: usize, is_closed: bool) -> bool {
        let Found { values, n_wanted, .. } = pairs;
        let LanczosConfig { which, threshold, num_eigenvalues: k, min_steps, .. } = *self.config;
        let converged = |n: usize| values.iter().take(n).all(|v| v.2);
        match (threshold, values.get(*n_wanted)) {
            (None, _) => *n_wanted == k && (is_closed || (n_applies >= min_steps && converged(k))),
            (Some(_), None) => false,
            (Some(_), Some(_)) if is_closed => true,
            (Some(threshold), Some(&(value, residual, is_known))) => {
                // The first value that is not beyond stays there; or more are than may be returned.
                let is_separate = !which.is_beyond(value, threshold, -residual) || is_known;
                let is_settled = is_separate || which.is_beyond(value, threshold, 0.0);
                n_applies >= min_steps && converged(*n_wanted) && is_settled
            }
        }
    }

    /// How a lane with these pairs goes on after `n_applies` products and with `m` basis vectors.
    pub fn verdict(
        &self,
        pairs: &Found,
        (n_applies, m): (usize, usize),
        is_closed: bool,
        probing: &mut Probing,
    ) -> Verdict {
        let LanczosConfig { max_applies, probe_steps, .. } = *self.config;
        let is_done = self.is_complete(pairs, n_applies, is_closed) && n_applies >= probing.until;
        let is_sure =
            probe_steps == 0 || probing.before.as_ref().is_some_and(|v| self.is_old(v, pairs));
        if (is_done && is_sure) || m == self.space.n_params() {
            return Verdict::Complete;
        }
        if n_applies >= max_applies {
            return Verdict::Spent;
        }
        if is_done {
            probing.before = Some(pairs.wanted().map(|v| v.0).collect());
            probing.until = n_applies + probe_steps;
        }
        if is_done || is_closed { Verdict::Turn } else { Verdict::Onward }
    }

    /// Whether the wanted values are those of `before`.
    fn is_old(&self, before: &[f64], pairs: &Found) -> bool {
        let epsilon = self.space.epsilon();
        let is_same = |(before, now): (&f64, &(f64, f64, bool))| {
            let allowed = tolerance(self.config.rel_tol, now.0, pairs.scale, epsilon);
            (before - now.0).abs() <= allowed.max(now.1)
        };
        before.len() == pairs.n_wanted && before.iter().zip(pairs.wanted()).all(is_same)
    }

    /// Why a lane stopped.
    pub fn stop(&self, values: &[(f64, f64, bool)], is_complete: bool) -> StopReason {
        let LanczosConfig { which, threshold, .. } = *self.config;
        let n_wanted = self.n_wanted(values.iter().map(|v| v.0));
        let is_beyond =
            |v: &(f64, f64, bool)| threshold.is_some_and(|t| which.is_beyond(v.0, t, 0.0));
        match is_complete {
            false => StopReason::MaxApplies,
            true if !values.iter().take(n_wanted).all(|v| v.2) => StopReason::Stalled,
            true if values.get(n_wanted).is_some_and(is_beyond) => StopReason::MoreBeyondThreshold,
            true => StopReason::Converged,
        }
    }
}

impl Found {
    fn wanted(&self) -> impl Iterator<Item = &(f64, f64, bool)> {
        self.values.iter().take(self.n_wanted)
    }
}
