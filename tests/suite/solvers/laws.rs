//! What every solver owes on every spectrum.

use burn::tensor::DType;
use burn_sharpness::operator::DenseOperator;
use burn_sharpness::prelude::*;
use burn_sharpness::solver::{EigenResult, StopReason};

use super::solvers;
use super::spectra::{Counting, epsilon, norm, spectra, wanted, with_spectrum};

/// ln(1e8) / ln of the ratio of the k-th and the next distinct magnitude, after the shift if one is due.
fn steps_of_power_iteration(spectrum: &[f64], which: Which, k: usize) -> f64 {
    let sign = if which == Which::SmallestAlgebraic { -1.0 } else { 1.0 };
    let norm = norm(spectrum);
    let last = wanted(spectrum, which)[k - 1];
    if which == Which::LargestMagnitude && last != 0.0 && spectrum.contains(&-last) {
        return f64::INFINITY; // its sign changes from step to step
    }
    let last = sign * wanted(spectrum, which)[k - 1];
    let shift = if which == Which::LargestMagnitude || last > 0.999 * norm { 0.0 } else { norm };
    let mut sizes: Vec<f64> = spectrum.iter().map(|v| (sign * v + shift).abs()).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let second = sizes.iter().find(|s| **s < sizes[k - 1] * (1.0 - 1e-12));
    second.map_or(1.0, |second| 8.0 * 10f64.ln() / (sizes[k - 1] / second).ln())
}

/// Products that a restarted method and conjugate gradients need: their error falls by e within
/// √(spread/gap)/2 steps at best, and ten such falls are asked for.
fn steps_of_short_methods(spectrum: &[f64], which: Which, k: usize) -> f64 {
    let order = wanted(spectrum, which);
    let is_other = |v: &f64| order[..k].iter().all(|w| v != w);
    let gap = |v: &f64| order[..k].iter().map(|w| (v - w).abs()).fold(f64::INFINITY, f64::min);
    let gap = order.iter().copied().filter(is_other).map(|v| gap(&v)).fold(f64::INFINITY, f64::min);
    5.0 * (2.0 * norm(spectrum) / gap).sqrt()
}

/// Rounding of a product: an entry is a sum of n terms, the matrix itself is rounded, and residuals that
/// need no product are off by the solvers' floor of 32 ε‖A‖.
fn rounding(spectrum: &[f64], dtype: DType) -> f64 {
    (32.0 + spectrum.len() as f64) * epsilon(dtype) * norm(spectrum)
}

/// Laws that hold whether or not a solve has converged.
fn check_pairs(
    result: &EigenResult,
    operator: &DenseOperator,
    spectrum: &[f64],
    rel_tol: f64,
    what: &str,
) {
    let dtype = operator.space().dtype();
    let rounding = rounding(spectrum, dtype);
    // Each restart of a basis of ten rounds the vectors once more, and keeps up to three quarters.
    let n_restarts = if what.contains("small basis") { result.n_applies as f64 / 2.5 } else { 0.0 };
    let drift = 4.0 * n_restarts * epsilon(dtype);
    let rounding = rounding + drift * norm(spectrum);
    let (low, high) = spectrum
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (v.min(low), v.max(high)));
    let pairs: Vec<_> = result.pairs.iter().chain(&result.next).collect();
    for (i, pair) in pairs.iter().enumerate() {
        let product = operator.apply(&pair.vector).unwrap();
        let rest = product.axpy(-pair.value, &pair.vector).unwrap().norm().unwrap();
        let said = pair.residual_norm;
        // What is left of the last r before a look, ‖r‖|s| ≤ rel_tol·‖A‖, is found by up to 48
        // differences of squares; there are a few looks.
        let is_look = what.contains("second look");
        let left = 4.0 * (48.0 * epsilon(dtype)).sqrt() * rel_tol * norm(spectrum);
        let left = if is_look { left } else { 0.0 };
        // The next pair has had no tolerance before the look.
        let left = if i < result.pairs.len() { left } else { left / rel_tol };
        assert!(said >= 0.999 * rest - rounding - left, "{what}: residual {said} below {rest}");
        if !is_look {
            assert!(said <= 1.001 * rest + rounding, "{what}: residual {said} above {rest}");
        } else if i < result.pairs.len() {
            // The sum of two norms, for the norm of a sum: what is left of the last r before the look
            // is at most the tolerance, and what it may cancel with is not known.
            let tolerance = rel_tol * pair.value.abs().max(norm(spectrum) * rel_tol);
            assert!(
                said <= 2.0 * (rest + rounding) + left + tolerance,
                "{what}: {said} above {rest}"
            );
        }
        // A basis of up to 48 vectors, each orthogonal to the others to a few ε.
        let is_off = |dot: f64, one: f64| (dot - one).abs() > 48.0 * 8.0 * epsilon(dtype);
        for (j, other) in pairs.iter().enumerate().take(i + 1) {
            let dot = pair.vector.dot(&other.vector).unwrap();
            assert!(!is_off(dot, f64::from(i == j)), "{what}: vectors {i} {j}: {dot}");
        }
        let inside = pair.value >= low - rounding && pair.value <= high + rounding;
        assert!(inside, "{what}: {} outside {low}, {high}", pair.value);
        let (below, above) = pair.interval();
        let contains = |v: &f64| *v >= below - rounding && *v <= above + rounding;
        assert!(spectrum.iter().any(contains), "{what}: no eigenvalue in {below}, {above}");
    }
}

fn check_all(dtype: DType, k: usize, rel_tol: f64) {
    let ends = [
        Which::LargestAlgebraic,
        Which::SmallestAlgebraic,
        Which::LargestMagnitude,
        Which::BothEnds,
    ];
    for (name, spectrum) in spectra().into_iter().filter(|(_, s)| s.len() >= k) {
        for which in ends {
            for (solver, method) in solvers(which, k, rel_tol) {
                let is_power = solver == "power iteration";
                let hopeless =
                    || steps_of_power_iteration(&spectrum, which, k) > 1e4 || dtype == DType::F32;
                if is_power && (which == Which::BothEnds || hopeless()) {
                    continue; // by its own rate; that it says so is tested elsewhere
                }
                let what = format!("{solver}, {name}, {which:?}, k = {k}, {dtype:?}");
                let operator = with_spectrum(&spectrum, dtype);
                let counting = Counting::new(&operator);
                let result = method.solve(&counting, None).unwrap();
                assert_eq!(result.n_applies, counting.total(), "{what}: applies");
                assert_eq!(result.pairs.len(), k, "{what}");
                check_pairs(&result, &operator, &spectrum, rel_tol, &what);
                if !result.converged() {
                    // Slow by its nature, and it says so.
                    let is_short = solver == "Lanczos, small basis" || solver.starts_with("LOBPCG");
                    let is_slow = steps_of_short_methods(&spectrum, which, k) > 4000.0;
                    assert_eq!(result.stop, StopReason::MaxApplies, "{what}");
                    assert!(is_short && is_slow, "{what}: {:?}", result.first().residual_norm);
                    continue;
                }
                // One start vector sees one copy of a multiple eigenvalue, so that later pairs may be
                // others; a block sees as many as it has vectors.
                let n_sure = if solver.starts_with("Lanczos") { 1 } else { k };
                let expected = wanted(&spectrum, which);
                for (pair, expected) in result.pairs.iter().zip(&expected).take(n_sure) {
                    // Clusters are told apart no better than by the residual.
                    let bound =
                        rel_tol * expected.abs() + pair.residual_norm + rounding(&spectrum, dtype);
                    // Of two equal magnitudes any comes first.
                    let size = |v: f64| if which == Which::LargestMagnitude { v.abs() } else { v };
                    assert!(
                        (size(pair.value) - size(*expected)).abs() <= bound,
                        "{what}: {} is not {expected}",
                        pair.value
                    );
                }
            }
        }
    }
}

#[test]
fn one_pair_of_every_spectrum() {
    check_all(DType::F64, 1, 1e-5);
}

#[test]
fn two_pairs_of_every_spectrum() {
    check_all(DType::F64, 2, 1e-5);
}

#[test]
fn five_pairs_of_every_spectrum() {
    check_all(DType::F64, 5, 1e-5);
}

#[test]
fn one_and_three_pairs_of_every_spectrum_in_f32() {
    check_all(DType::F32, 1, 1e-3);
    check_all(DType::F32, 3, 1e-3);
}
