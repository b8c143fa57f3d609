//! Bounds of eigenvalues.

use burn::tensor::DType;
use burn_sharpness::prelude::*;

use super::spectra::{wanted, with_spectrum};

/// Intervals of an early stop hold the eigenvalue, and the quadratic one is the narrower where its
/// assumption holds.
#[test]
fn the_quadratic_interval_is_narrower_and_holds_where_the_gap_is_known() {
    let spectrum = [vec![10.0, 7.0, -9.0], (0..40).map(|i| 0.1 * f64::from(i)).collect()].concat();
    let operator = with_spectrum(&spectrum, DType::F64);
    let cases = [
        (Which::LargestAlgebraic, (7.0, f64::INFINITY)),
        (Which::SmallestAlgebraic, (f64::NEG_INFINITY, 0.0)),
        (Which::LargestMagnitude, (7.0, f64::INFINITY)),
    ];
    for (which, (below, above)) in cases {
        let config = LanczosConfig::new().with_which(which).with_rel_tol(1e-2).with_min_steps(1);
        let result = config.init().solve(&operator, None).unwrap();
        let (pair, exact) = (result.first(), wanted(&spectrum, which)[0]);
        let (low, high) = pair.interval();
        assert!(low <= exact && exact <= high, "{which:?}: {exact} not in {low}, {high}");
        assert!(pair.residual_norm > 1e-6, "{which:?}: no early stop");
        let (l, h) = pair.interval_given_gap(below, above).unwrap();
        assert!(l <= exact && exact <= h && h - l < 0.2 * (high - low), "{which:?}: {l}, {h}");
        // The gap that the result shows: all others are behind the next pair.
        let (l, h) = result.interval_given_gap(0).unwrap();
        assert!(l <= exact && exact <= h && h - l < 0.5 * (high - low), "{which:?}: {l}, {h}");
        assert_eq!(pair.interval_given_gap(exact + 1.0, f64::INFINITY), None);
        assert_eq!(result.interval_given_gap(1), None);
    }
}

#[test]
fn no_gap_is_no_quadratic_interval() {
    let spectrum: Vec<f64> = (0..200).map(|i| 10.0 - 1e-4 * f64::from(i)).collect();
    let config = LanczosConfig::new().with_rel_tol(1e-3).with_min_steps(1);
    let result = config.init().solve(&with_spectrum(&spectrum, DType::F64), None).unwrap();
    assert!(result.interval_given_gap(0).is_none(), "{result:?}");
}

/// λ_max and λ_min from one Krylov space, for about the price of the harder one.
#[test]
fn both_ends_from_one_run() {
    let spectrum = [vec![50.0, -11.0, 9.0], (0..60).map(|i| 0.1 * f64::from(i)).collect()].concat();
    let operator = with_spectrum(&spectrum, DType::F64);
    let solve = |which, k| {
        let config = LanczosConfig::new().with_which(which).with_num_eigenvalues(k);
        config.with_rel_tol(1e-6).init().solve(&operator, None).unwrap()
    };
    let both = solve(Which::BothEnds, 2);
    let largest = solve(Which::LargestAlgebraic, 1);
    let smallest = solve(Which::SmallestAlgebraic, 1);
    assert!(both.converged());
    assert!(
        (both.largest().value - 50.0).abs() < 1e-6 && (both.smallest().value + 11.0).abs() < 1e-6
    );
    assert_eq!(both.n_applies, largest.n_applies.max(smallest.n_applies));
    // The next one belongs to the upper end, so λ_max has a gap and λ_min has none.
    let (low, high) = both.interval_given_gap(0).unwrap();
    let rounding = 32.0 * f64::EPSILON * 50.0;
    assert!(low <= 50.0 + rounding && 50.0 <= high + rounding, "{low} {high}");
    assert_eq!(both.interval_given_gap(1), None);
}
