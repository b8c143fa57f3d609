//! Solvers on operators with known spectra, without any model.

mod bounds;
mod lanczos;
mod laws;
mod lobpcg;
pub mod spectra;

use burn::tensor::{DType, Device};
use burn_sharpness::operator::{ClosureOperator, DenseOperator};
use burn_sharpness::prelude::*;
use burn_sharpness::solver::{EigenResult, LobpcgConfig, PowerIterationConfig, StopReason};
use burn_sharpness::{Error, ParamBlock};

use spectra::with_spectrum;

/// All methods, to find k pairs at one end.
fn solvers(which: Which, k: usize, rel_tol: f64) -> Vec<(&'static str, Box<dyn EigenSolver>)> {
    let lanczos =
        LanczosConfig::new().with_which(which).with_num_eigenvalues(k).with_rel_tol(rel_tol);
    let lanczos = lanczos.with_max_applies(4000);
    let power = PowerIterationConfig::new()
        .with_which(which)
        .with_num_eigenvalues(k)
        .with_rel_tol(rel_tol)
        .with_max_applies(200_000);
    let lobpcg =
        LobpcgConfig::new().with_which(which).with_num_eigenvalues(k).with_rel_tol(rel_tol);
    let lobpcg = lobpcg.with_max_applies(6000);
    vec![
        ("Lanczos", Box::new(lanczos.clone().init())),
        ("Lanczos, small basis", Box::new(lanczos.clone().with_max_basis(10).init())),
        ("Lanczos, second look", Box::new(lanczos.with_probe_steps(6).init())),
        ("LOBPCG", Box::new(lobpcg.clone().init())),
        ("LOBPCG, guards", Box::new(lobpcg.with_guard_vectors(2).init())),
        ("power iteration", Box::new(power.init())),
    ]
}

#[test]
fn power_iteration_reports_its_shift() {
    let solve = |spectrum: &[f64], which| {
        let config = PowerIterationConfig::new().with_which(which).with_max_applies(100_000);
        config.init().solve(&with_spectrum(spectrum, DType::F64), None).unwrap()
    };
    let one_sided: Vec<f64> = (0..20).map(|i| 10.0 * 0.5f64.powi(i)).collect();
    assert_eq!(solve(&one_sided, Which::LargestAlgebraic).shift, 0.0);
    let other_end = [vec![-20.0, 6.0], vec![1.0; 10]].concat();
    let shifted = solve(&other_end, Which::LargestAlgebraic);
    // The largest magnitude seen before the shift is at most the norm.
    assert!(shifted.shift > 6.0 && shifted.shift <= 20.0 * (1.0 + 1e-12), "{}", shifted.shift);
    assert!((shifted.first().value - 6.0).abs() < 1e-2);
    assert_eq!(solve(&other_end, Which::LargestMagnitude).shift, 0.0);
}

#[test]
fn blocks_find_the_top_k_in_order() {
    let spectrum =
        [vec![9.0, 7.0, 4.0, -12.0], (0..20).map(|i| 0.1 * f64::from(i)).collect()].concat();
    let cases = [
        (Which::LargestAlgebraic, [9.0, 7.0, 4.0]),
        (Which::SmallestAlgebraic, [-12.0, 0.0, 0.1]),
        (Which::LargestMagnitude, [-12.0, 9.0, 7.0]),
    ];
    for (which, wanted) in cases {
        for (solver, method) in solvers(which, 3, 1e-6) {
            let operator = with_spectrum(&spectrum, DType::F64);
            let result = method.solve(&operator, None).unwrap();
            assert!(result.converged(), "{solver} {which:?}");
            for (pair, wanted) in result.pairs.iter().zip(wanted) {
                assert!(
                    (pair.value - wanted).abs() < 1e-4,
                    "{solver} {which:?}: {} {wanted}",
                    pair.value
                );
            }
            for (i, a) in result.pairs.iter().enumerate() {
                for b in &result.pairs[..i] {
                    assert!(
                        a.vector.dot(&b.vector).unwrap().abs() < 1e-5,
                        "{solver}: orthogonality"
                    );
                }
            }
        }
    }
}

#[test]
fn lanczos_needs_fewer_products_than_power_iteration() {
    let spectrum: Vec<f64> = (0..60).map(|i| 10.0 * 0.93f64.powi(i)).collect();
    let count = |(_, s): &(_, Box<dyn EigenSolver>)| {
        s.solve(&with_spectrum(&spectrum, DType::F64), None).unwrap().n_applies
    };
    let counts: Vec<usize> = solvers(Which::LargestAlgebraic, 1, 1e-3).iter().map(count).collect();
    assert!(2 * counts[0] < counts[5], "{counts:?}");
}

#[test]
fn a_good_start_saves_products_and_a_seed_fixes_the_result() {
    let spectrum: Vec<f64> = (0..60).map(|i| 10.0 * 0.93f64.powi(i)).collect();
    for (name, solver) in solvers(Which::LargestAlgebraic, 1, 1e-3) {
        let operator = with_spectrum(&spectrum, DType::F64);
        let cold = solver.solve(&operator, None).unwrap();
        let again = solver.solve(&operator, None).unwrap();
        let values = |r: &EigenResult| r.first().vector.to_values().unwrap();
        assert_eq!(values(&cold), values(&again), "{name}");
        let warm = solver.solve(&operator, Some(&cold.vectors().unwrap())).unwrap();
        assert!(warm.n_applies < cold.n_applies, "{name}: {} {}", warm.n_applies, cold.n_applies);
    }
}

#[test]
fn f32_reaches_its_own_rounding() {
    let spectrum: Vec<f64> = (0..200).map(|i| 10.0 * 0.8f64.powi(i)).collect();
    for (name, solver) in solvers(Which::LargestAlgebraic, 1, 1e-4) {
        let result = solver.solve(&with_spectrum(&spectrum, DType::F32), None).unwrap();
        assert!(result.converged(), "{name}");
        // n = 200 products of f32 in each entry of A·v, with signs: √200 ε.
        assert!((result.first().value - 10.0).abs() < 10.0 * 15.0 * 1.2e-7, "{name}");
    }
}

#[test]
fn running_out_of_products_is_a_result() {
    let spectrum: Vec<f64> = (0..100).map(|i| 10.0 - 1e-3 * f64::from(i)).collect();
    let operator = with_spectrum(&spectrum, DType::F64);
    let lanczos = LanczosConfig::new().with_rel_tol(1e-9).with_max_applies(6).init();
    let power = PowerIterationConfig::new().with_rel_tol(1e-9).with_max_applies(6).init();
    let lobpcg = LobpcgConfig::new().with_rel_tol(1e-9).with_max_applies(6).init();
    for solver in [&lanczos as &dyn EigenSolver, &power, &lobpcg] {
        let result = solver.solve(&operator, None).unwrap();
        assert_eq!(result.stop, StopReason::MaxApplies);
        assert!(!result.first().converged && result.n_applies <= 6, "{}", result.n_applies);
        assert!(result.first().residual_norm > 1e-9 * result.first().value);
        // A Rayleigh quotient lies inside the spectrum all the same.
        assert!(result.first().value > 9.9 && result.first().value <= 10.0 + 1e-12);
    }
}

#[test]
fn bad_settings_and_bad_operators_are_errors() {
    let operator = with_spectrum(&[1.0, 2.0, 3.0], DType::F64);
    let setting = |config: LanczosConfig| match config.init().solve(&operator, None) {
        Err(Error::InvalidSetting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(setting(LanczosConfig::new().with_num_eigenvalues(0)), "num_eigenvalues");
    assert_eq!(setting(LanczosConfig::new().with_num_eigenvalues(4)), "num_eigenvalues");
    assert_eq!(setting(LanczosConfig::new().with_rel_tol(f64::NAN)), "rel_tol");
    assert_eq!(setting(LanczosConfig::new().with_max_applies(1)), "max_applies");
    assert_eq!(setting(LanczosConfig::all_beyond(f64::NAN, 3)), "threshold");
    assert_eq!(setting(LanczosConfig::all_beyond(1.0, 0)), "num_eigenvalues");
    assert_eq!(setting(LanczosConfig::all_beyond(1.0, 3).with_which(Which::BothEnds)), "which");
    let setting = |solver: &dyn EigenSolver| match solver.solve(&operator, None) {
        Err(Error::InvalidSetting { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    let power = PowerIterationConfig::new().with_which(Which::BothEnds).init();
    assert_eq!(setting(&power), "which");
    let lobpcg = LobpcgConfig::new().with_guard_vectors(2);
    assert_eq!(setting(&lobpcg.clone().with_max_applies(3).init()), "max_applies");
    assert_eq!(setting(&lobpcg.with_num_eigenvalues(4).init()), "num_eigenvalues");
    assert!(matches!(
        DenseOperator::from_rows(&[vec![1.0, 2.0], vec![3.0]], DType::F64, &Device::flex()),
        Err(Error::LengthMismatch { expected: 2, found: 1 })
    ));
    let nan = ClosureOperator::new(operator.space().clone(), |v| Ok(v.scale(f64::NAN)));
    for (name, solver) in solvers(Which::LargestAlgebraic, 1, 1e-3) {
        let result = solver.solve(&nan, None);
        assert!(matches!(result, Err(Error::NonFinite { .. })), "{name}: {result:?}");
    }
    let other = with_spectrum(&[1.0, 2.0], DType::F64).space().zeros();
    assert!(matches!(operator.apply(&other), Err(Error::LengthMismatch { expected: 3, found: 2 })));
    assert!(matches!(ParamBlock::from_vectors(&[]), Err(Error::InvalidSetting { .. })));
}
