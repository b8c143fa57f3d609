//! What measuring may cost, and how that is kept.

use burn::config::Config;
use serde::{Deserialize, Serialize};

/// The most that all measurements may cost, as a fraction of the training without them.
///
/// Every quantity has an equal share. At a due step as many mini-batches are measured as its share
/// pays for by then; if that is fewer than [`MIN_BATCHES`], or if the quantity is one of all data, the
/// measurement waits until it is paid for. So the fraction is kept at every step, up to what a measurement
/// took longer than expected: that is paid back before the next one.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum Budget {
    /// Measure whatever is due.
    Unlimited,
    /// Wall time, for example 0.05 for 5%: measured, so two runs need not measure at the same steps.
    Time(f64),
    /// Work, counted: samples times passes, a gradient one pass and a product 1.2, at the sizes that were
    /// measured. The same run measures at the same steps on every machine and after being resumed. For wide
    /// dense layers a product costs less than that, and so does the measurement.
    Work(f64),
}

/// The fewest mini-batches that a budget makes of a measurement (fewer if fewer are asked for).
pub const MIN_BATCHES: usize = 4;

impl Budget {
    pub(super) fn fraction(self) -> Option<f64> {
        match self {
            Self::Unlimited => None,
            Self::Time(fraction) | Self::Work(fraction) => Some(fraction),
        }
    }

    /// What costs are counted in; by the clock without a budget.
    pub(super) fn currency(self) -> Currency {
        match self {
            Self::Unlimited | Self::Time(_) => Currency::Seconds,
            Self::Work(_) => Currency::Passes,
        }
    }
}

/// What a ledger counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Currency {
    /// Wall time.
    Seconds,
    /// Passes over samples.
    Passes,
}

/// Passes over samples that a product counts for.
const PER_PRODUCT: f64 = 1.2;

/// Products of a solve that nobody has seen yet: of Lanczos to 0.1%, cold.
pub(super) const EXPECTED_PRODUCTS: usize = 16;

/// Gradients of batches of one size, and products with their Hessians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Work {
    pub n_batches: usize,
    /// Samples of each batch.
    pub n_samples: usize,
    /// Products of all batches together.
    pub n_hvps: usize,
}

impl Work {
    pub const NONE: Self = Self { n_batches: 0, n_samples: 0, n_hvps: 0 };

    /// Passes over samples.
    pub fn passes(self) -> f64 {
        self.n_samples as f64 * (self.n_batches as f64 + PER_PRODUCT * self.n_hvps as f64)
    }
}

/// How much there is of one measurement: `n_units` units, which are mini-batches, or one for all data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size {
    pub n_units: usize,
    pub min_units: usize,
    /// The work of a unit, as far as it is known before any was measured.
    pub unit: Work,
    /// What a unit of all data does with mini-batches besides.
    pub beside: Work,
    /// Whether a start can save products.
    pub is_solve: bool,
}

impl Size {
    /// Passes of a unit, before any was measured.
    fn passes(self) -> f64 {
        self.unit.passes() + self.beside.passes()
    }
}

/// What a quantity has cost, in the [`Currency`] of the budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub spent: f64,
    /// Cost of a unit: the last measurement's. The first one also compiles, so it does not count for more
    /// than was expected.
    per_unit: Option<f64>,
    expected: f64,
}

impl Ledger {
    /// How many units to measure now, `None` to wait. `share` is what this quantity may have cost by now,
    /// `per_pass` the cost of a pass over one sample.
    pub fn affordable(&mut self, size: Size, share: Option<f64>, per_pass: f64) -> Option<usize> {
        let Some(share) = share else { return Some(size.n_units) };
        self.expected = per_pass * size.passes();
        let per_unit = self.per_unit.unwrap_or(self.expected).max(f64::MIN_POSITIVE);
        let units = ((share - self.spent) / per_unit).floor();
        let min_units = size.min_units.min(size.n_units);
        (units >= min_units as f64 && units >= 1.0).then(|| (units as usize).min(size.n_units))
    }

    /// A measurement of `n_units` units.
    pub fn pay(&mut self, cost: f64, n_units: usize) {
        self.spent += cost;
        let per_unit = cost / n_units.max(1) as f64;
        let is_first = self.per_unit.is_none() && self.expected > 0.0;
        self.per_unit = Some(if is_first { per_unit.min(self.expected) } else { per_unit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Work = Work { n_batches: 1, n_samples: 8, n_hvps: EXPECTED_PRODUCTS };
    const SIZE: Size =
        Size { n_units: 16, min_units: 4, unit: UNIT, beside: Work::NONE, is_solve: true };

    #[test]
    fn without_a_budget_everything_is_affordable() {
        assert_eq!(Ledger::default().affordable(SIZE, None, 1.0), Some(16));
    }

    #[test]
    fn a_share_buys_batches_first_and_time_then() {
        let mut ledger = Ledger::default();
        ledger.pay(10.0, 5); // two per batch
        assert_eq!(ledger.affordable(SIZE, Some(10.0 + 32.5), 1.0), Some(16));
        assert_eq!(ledger.affordable(SIZE, Some(10.0 + 31.5), 1.0), Some(15));
        assert_eq!(ledger.affordable(SIZE, Some(10.0 + 8.0), 1.0), Some(4));
        assert_eq!(ledger.affordable(SIZE, Some(10.0 + 7.9), 1.0), None);
        assert_eq!(ledger.affordable(SIZE, Some(9.0), 1.0), None); // in debt
    }

    #[test]
    fn the_first_measurement_is_paid_for_before_it_is_made() {
        let expected = 4.0 * UNIT.passes();
        let mut ledger = Ledger::default();
        assert_eq!(ledger.affordable(SIZE, Some(1.01 * expected), 1.0), Some(4));
        assert_eq!(ledger.affordable(SIZE, Some(0.99 * expected), 1.0), None);
        assert_eq!(ledger.affordable(SIZE, Some(0.0), 1.0), None);
    }
}
