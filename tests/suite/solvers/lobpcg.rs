//! What LOBPCG costs and what its block is for.

use burn::tensor::DType;
use burn_sharpness::prelude::*;
use burn_sharpness::solver::LobpcgConfig;

use super::spectra::{Counting, with_spectrum};

#[test]
fn one_pair_takes_one_product_per_iteration() {
    let spectrum: Vec<f64> = (0..60).map(|i| 10.0 * 0.93f64.powi(i)).collect();
    let operator = with_spectrum(&spectrum, DType::F64);
    let counting = Counting::new(&operator);
    let result = LobpcgConfig::new().with_rel_tol(1e-8).init().solve(&counting, None).unwrap();
    assert!(result.converged());
    assert!(counting.calls.borrow().iter().all(|k| *k == 1));
    // Conjugate gradients: within a factor of two of the Krylov space, which is the best there is of as
    // many products, where plain gradients would take the square of it.
    let lanczos = LanczosConfig::new().with_rel_tol(1e-8).init().solve(&operator, None).unwrap();
    assert!(result.n_applies >= lanczos.n_applies);
    assert!(
        result.n_applies <= 2 * lanczos.n_applies,
        "{} {}",
        result.n_applies,
        lanczos.n_applies
    );
}

#[test]
fn converged_vectors_get_no_more_products() {
    // The first three are far apart, the fourth is in a cluster.
    let spectrum = [vec![100.0, 50.0, 20.0], (0..60).map(|i| 3.0 - 0.01 * f64::from(i)).collect()];
    let operator = with_spectrum(&spectrum.concat(), DType::F64);
    let counting = Counting::new(&operator);
    let config = LobpcgConfig::new().with_num_eigenvalues(4).with_rel_tol(1e-5);
    let result = config.init().solve(&counting, None).unwrap();
    assert!(result.converged());
    let calls = counting.calls.borrow();
    assert_eq!(calls.first(), Some(&4));
    assert_eq!(calls.last(), Some(&1));
    assert!(calls.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{calls:?}");
}

#[test]
fn a_block_finds_all_copies_of_a_multiple_eigenvalue() {
    let spectrum = [vec![5.0; 4], vec![3.0; 2], (0..30).map(|i| 0.05 * f64::from(i)).collect()];
    let operator = with_spectrum(&spectrum.concat(), DType::F64);
    let config = LobpcgConfig::new().with_num_eigenvalues(6).with_rel_tol(1e-7);
    let result = config.init().solve(&operator, None).unwrap();
    assert!(result.converged());
    for (pair, expected) in result.pairs.iter().zip([5.0, 5.0, 5.0, 5.0, 3.0, 3.0]) {
        assert!((pair.value - expected).abs() < 1e-6, "{} {expected}", pair.value);
    }
}

#[test]
fn a_good_block_saves_products_and_a_dependent_one_does_no_harm() {
    let spectrum: Vec<f64> = (0..60).map(|i| 10.0 * 0.93f64.powi(i)).collect();
    let operator = with_spectrum(&spectrum, DType::F64);
    let solver = LobpcgConfig::new().with_num_eigenvalues(3).with_rel_tol(1e-6).init();
    let cold = solver.solve(&operator, None).unwrap();
    let warm = solver.solve(&operator, Some(&cold.vectors().unwrap())).unwrap();
    assert_eq!(warm.n_applies, 3);
    let copies = vec![cold.first().vector.clone(); 3];
    let copies = burn_sharpness::ParamBlock::from_vectors(&copies).unwrap();
    let from_copies = solver.solve(&operator, Some(&copies)).unwrap();
    assert!(from_copies.converged() && from_copies.n_applies < cold.n_applies);
    assert!((from_copies.pairs[2].value - cold.pairs[2].value).abs() < 1e-5);
}

#[test]
fn a_matrix_that_is_not_symmetric_gives_an_honest_residual() {
    let rows = vec![vec![2.0, 1.0, 0.0], vec![-1.0, 1.9, 0.0], vec![0.0, 0.0, 0.5]];
    // Two of its eigenvalues are complex.
    let device = burn::tensor::Device::flex();
    let operator =
        burn_sharpness::operator::DenseOperator::from_rows(&rows, DType::F64, &device).unwrap();
    let lobpcg = LobpcgConfig::new().init();
    let lanczos = LanczosConfig::new().init();
    for solver in [&lobpcg as &dyn EigenSolver, &lanczos] {
        let result = solver.solve(&operator, None).unwrap();
        let pair = result.first();
        let product = operator.apply(&pair.vector).unwrap();
        let rest = product.axpy(-pair.value, &pair.vector).unwrap().norm().unwrap();
        assert!((rest - pair.residual_norm).abs() < 1e-12, "{rest} {pair:?}");
        assert!(rest > 0.1, "{rest}");
        assert!(!result.converged());
    }
    let stop = lanczos.solve(&operator, None).unwrap().stop;
    assert_eq!(stop, burn_sharpness::solver::StopReason::Stalled);
}
