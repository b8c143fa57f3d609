//! Whether the last eigenvector is worth starting from.

use serde::{Deserialize, Serialize};

/// Compares solves that started from the last eigenvector with solves that did not.
///
/// After one measurement of each kind it takes the one with fewer products, and looks at the other
/// again every [`LOOK_AGAIN`] measurements: when weights move fast, an old eigenvector is a random vector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct WarmStart {
    /// Running means of products per solve.
    warm: Option<f64>,
    cold: Option<f64>,
    n_measured: u64,
    was_warm: bool,
}

const LOOK_AGAIN: u64 = 16;

/// Weight of the last measurement in the running mean.
const LATEST: f64 = 0.5;

impl WarmStart {
    /// Whether to start from the last eigenvector.
    pub fn is_worthwhile(&self) -> bool {
        let (Some(warm), Some(cold)) = (self.warm, self.cold) else {
            // The first has nothing to start from, the second has.
            return self.cold.is_some();
        };
        let looks_again = self.n_measured.is_multiple_of(LOOK_AGAIN);
        (warm <= cold) != looks_again
    }

    /// Products per solve of a measurement that started warm or not.
    pub fn record(&mut self, was_warm: bool, products: f64) {
        self.n_measured += 1;
        let mean = if was_warm { &mut self.warm } else { &mut self.cold };
        // A mean of long ago says nothing.
        let earlier = mean.filter(|_| self.was_warm == was_warm);
        *mean = Some(earlier.map_or(products, |mean| mean + LATEST * (products - mean)));
        self.was_warm = was_warm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The starts of 64 measurements with these products per solve, warm and cold.
    fn starts(products: impl Fn(usize) -> (f64, f64)) -> Vec<bool> {
        let mut start = WarmStart::default();
        let measure = |i| {
            let is_warm = start.is_worthwhile();
            let (warm, cold) = products(i);
            start.record(is_warm, if is_warm { warm } else { cold });
            is_warm
        };
        (0..64).map(measure).collect()
    }

    #[test]
    fn the_start_with_fewer_products_is_kept() {
        let helps = starts(|_| (8.0, 14.0));
        assert_eq!(helps[..3], [false, true, true]);
        assert_eq!(helps.iter().filter(|warm| !**warm).count(), 4); // the first, and steps 16, 32, 48
        let hurts = starts(|_| (15.0, 14.0));
        assert_eq!(hurts.iter().filter(|warm| **warm).count(), 4);
    }

    #[test]
    fn a_start_that_stops_helping_is_dropped_at_once_and_taken_up_again() {
        let changes = starts(|i| if (20..40).contains(&i) { (30.0, 14.0) } else { (8.0, 14.0) });
        assert!(changes[19] && changes[20] && !changes[21]);
        assert!(changes[50..].iter().filter(|warm| **warm).count() >= 8);
    }
}
