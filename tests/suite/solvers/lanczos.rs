//! Lanczos: restarts, thresholds, second looks, several lanes.

use burn::tensor::{DType, Device, Tensor};
use burn_sharpness::operator::{ClosureOperator, DenseOperator, HessianLanes};
use burn_sharpness::prelude::*;
use burn_sharpness::solver::{EigenResult, StopReason};
use burn_sharpness::{ParamBlock, ParamSpace, ParamVector, Result};

use super::spectra::{epsilon, norm, with_spectrum};
use crate::common::{float, wave};

/// diag(values): eigenvectors are the axes, so that starts can be chosen.
fn diagonal(
    values: &[f64],
    dtype: DType,
) -> ClosureOperator<impl Fn(&ParamVector) -> Result<ParamVector>> {
    let space = ParamSpace::flat(values.len(), dtype, &Device::flex());
    let values = space.from_values(values).unwrap();
    ClosureOperator::new(space, move |v: &ParamVector| {
        let product: Tensor<1> = v.tensor() * values.tensor();
        v.space().from_values(&product.into_data().iter::<f64>().collect::<Vec<_>>())
    })
}

/// ‖Av − θv‖ computed anew.
fn residual(operator: &dyn LinearOperator, pair: &burn_sharpness::solver::EigenPair) -> f64 {
    let product = operator.apply(&pair.vector).unwrap();
    product.axpy(-pair.value, &pair.vector).unwrap().norm().unwrap()
}

/// A tenth of the relative gap of the others: hundreds of products and dozens of restarts.
fn hard() -> Vec<f64> {
    [vec![1.001], (0..400).map(|i| f64::from(i) / 400.0).collect()].concat()
}

#[test]
fn a_basis_of_ten_converges_on_a_hard_spectrum_in_both_dtypes() {
    for (dtype, rel_tol) in [(DType::F64, 1e-8), (DType::F32, 1e-4)] {
        let operator = with_spectrum(&hard(), dtype);
        let config = LanczosConfig::new().with_max_basis(10).with_rel_tol(rel_tol);
        let result = config.with_max_applies(2000).init().solve(&operator, None).unwrap();
        assert!(result.converged(), "{dtype:?}: {:?}", result.first().residual_norm);
        assert!(result.n_applies > 40, "{dtype:?}: {} is no restart", result.n_applies);
        let rounding = 32.0 * epsilon(dtype);
        assert!((result.first().value - 1.001).abs() < 10.0 * rel_tol * rel_tol + rounding);
        // Over all restarts the residual stays that of a product.
        let (true_one, said) = (residual(&operator, result.first()), result.first().residual_norm);
        assert!((true_one - said).abs() <= 1e-3 * true_one + rounding, "{true_one} {said}");
    }
}

/// Restarting from one vector, as without a thick restart, forgets everything but the best direction.
#[test]
fn a_thick_restart_costs_few_products_more_than_no_restart() {
    let operator = with_spectrum(&hard(), DType::F64);
    let count = |max_basis| {
        let config = LanczosConfig::new().with_max_basis(max_basis).with_rel_tol(1e-6);
        let result = config.with_max_applies(4000).init().solve(&operator, None).unwrap();
        assert!(result.converged());
        result.n_applies
    };
    let (whole, half, tenth) = (count(400), count(40), count(12));
    assert!(whole <= half && half <= 2 * whole, "{whole} {half}");
    assert!(tenth <= 4 * whole, "{whole} {tenth}");
}

/// The last vectors of a full basis, of a matrix that is not symmetric: what a restart drops counts.
#[test]
fn residuals_stay_honest_over_restarts_of_a_matrix_that_is_not_symmetric() {
    let n = 60;
    let entry = |i: usize, j: usize| {
        let skew = 1e-3 * ((i * 7 + j * 3) as f64).sin();
        if i == j { i as f64 / 10.0 } else { skew }
    };
    let rows: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
    let operator = DenseOperator::from_rows(&rows, DType::F64, &Device::flex()).unwrap();
    for max_applies in [20, 60, 200] {
        let config = LanczosConfig::new().with_max_basis(8).with_rel_tol(1e-9);
        let config = config.with_max_applies(max_applies).with_num_eigenvalues(2);
        let result = config.init().solve(&operator, None).unwrap();
        assert!(!result.converged());
        for pair in &result.pairs {
            let (true_one, said) = (residual(&operator, pair), pair.residual_norm);
            // A bound, and not a wild one while restarts are few: they add up in the worst way.
            assert!(said >= true_one * (1.0 - 1e-9), "{max_applies}: {said} below {true_one}");
            let allowed = if max_applies <= 60 { 3.0 } else { f64::INFINITY };
            assert!(said <= allowed * true_one, "{max_applies}: {said} far above {true_one}");
        }
    }
}

#[test]
fn all_eigenvalues_beyond_a_threshold() {
    let spectrum =
        [vec![9.0, 8.0, 8.0, 8.0, 5.0, -7.0, -7.5], (0..50).map(|i| 0.05 * f64::from(i)).collect()]
            .concat();
    let operator = with_spectrum(&spectrum, DType::F64);
    let solve = |which, threshold| {
        let config = LanczosConfig::all_beyond(threshold, 10).with_which(which).with_rel_tol(1e-6);
        config.init().solve(&operator, None).unwrap()
    };
    let values = |r: &EigenResult| r.pairs.iter().map(|p| p.value).collect::<Vec<_>>();
    let cases: [(_, _, &[f64]); 5] = [
        (Which::LargestAlgebraic, 4.0, &[9.0, 8.0, 8.0, 8.0, 5.0]),
        (Which::LargestAlgebraic, 8.5, &[9.0]),
        (Which::LargestAlgebraic, 9.5, &[]),
        (Which::SmallestAlgebraic, -1.0, &[-7.5, -7.0]),
        (Which::LargestMagnitude, 7.2, &[9.0, 8.0, 8.0, 8.0, -7.5]),
    ];
    for (which, threshold, expected) in cases {
        let result = solve(which, threshold);
        let found = values(&result);
        assert!(result.converged(), "{which:?} {threshold}: {:?}", result.stop);
        assert_eq!(found.len(), expected.len(), "{which:?} {threshold}: {found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        // The first that is not beyond, with its residual.
        let next = result.next.as_ref().unwrap();
        let (low, high) = next.interval();
        match which {
            Which::LargestAlgebraic => assert!(high <= threshold),
            Which::SmallestAlgebraic => assert!(low >= threshold),
            _ => assert!(high.abs().max(low.abs()) <= threshold),
        }
        let _ = (result.first(), result.largest(), result.smallest());
    }
}

#[test]
fn more_beyond_the_threshold_than_wanted_is_said() {
    let spectrum: Vec<f64> = (0..40).map(f64::from).collect();
    let operator = with_spectrum(&spectrum, DType::F64);
    let result = LanczosConfig::all_beyond(19.5, 4).init().solve(&operator, None).unwrap();
    assert_eq!(result.stop, StopReason::MoreBeyondThreshold);
    assert_eq!(result.pairs.len(), 4);
    assert!((result.pairs[3].value - 36.0).abs() < 1e-2);
    // Without products for it, a threshold stays open.
    let config = LanczosConfig::all_beyond(19.5, 30).with_max_applies(12);
    let result = config.init().solve(&operator, None).unwrap();
    assert_eq!(result.stop, StopReason::MaxApplies);
    // Everything, of a matrix where one start vector sees one eigenvalue only.
    let identity = with_spectrum(&[1.0; 9], DType::F64);
    let result = LanczosConfig::all_beyond(0.5, 64).init().solve(&identity, None).unwrap();
    assert!(result.converged() && result.pairs.len() == 9, "{:?}", result.stop);
}

/// A start without a part of the top vector converges to the second one; a second look finds the top.
#[test]
fn a_second_look_finds_what_the_start_does_not_see() {
    for dtype in [DType::F64, DType::F32] {
        let spectrum = [vec![4.0, 3.0], (0..98).map(|i| 0.02 * f64::from(i)).collect()].concat();
        let operator = diagonal(&spectrum, dtype);
        let mut start = vec![1.0; 100];
        start[0] = 0.0;
        let start = operator.space().from_values(&start).unwrap();
        let start = ParamBlock::from_vectors(&[start]).unwrap();
        let config = LanczosConfig::new().with_rel_tol(1e-4);
        let blind = config.clone().init().solve(&operator, Some(&start)).unwrap();
        assert!(blind.converged() && (blind.first().value - 3.0).abs() < 1e-3);
        let config = config.with_probe_steps(10);
        let sees = config.clone().init().solve(&operator, Some(&start)).unwrap();
        assert!(sees.converged() && (sees.first().value - 4.0).abs() < 1e-3, "{dtype:?}");
        let rounding = 32.0 * epsilon(dtype) * norm(&spectrum);
        let (true_one, said) = (residual(&operator, sees.first()), sees.first().residual_norm);
        assert!(true_one <= said * (1.0 + 1e-3) + rounding, "{true_one} {said}");
        assert!(said <= 2.0 * true_one + rounding, "{true_one} {said}");
        // In a small basis too, over restarts.
        let small = config.with_max_basis(8).init().solve(&operator, Some(&start)).unwrap();
        assert!(small.converged() && (small.first().value - 4.0).abs() < 1e-3);
        let (true_one, said) = (residual(&operator, small.first()), small.first().residual_norm);
        assert!(true_one <= said * (1.0 + 1e-3) + rounding, "{true_one} {said}");
    }
}

/// A start that is an exact eigenvector is the worst one: its basis is closed at once.
#[test]
fn a_second_look_leaves_an_exact_eigenvector() {
    let spectrum = [vec![4.0, 3.0], vec![1.0; 30]].concat();
    let operator = diagonal(&spectrum, DType::F64);
    let mut start = vec![0.0; 32];
    start[1] = 1.0;
    let start = operator.space().from_values(&start).unwrap();
    let start = ParamBlock::from_vectors(&[start]).unwrap();
    let solve = |probe_steps| {
        let config = LanczosConfig::new().with_probe_steps(probe_steps);
        config.init().solve(&operator, Some(&start)).unwrap()
    };
    assert_eq!((solve(0).first().value, solve(0).n_applies), (3.0, 1));
    assert!((solve(6).first().value - 4.0).abs() < 1e-6);
}

/// The look costs exactly its steps when there is nothing to find, and finds all copies when there are.
#[test]
fn a_second_look_costs_its_steps() {
    let spectrum: Vec<f64> = (0..80).map(|i| 10.0 * 0.8f64.powi(i)).collect();
    let operator = with_spectrum(&spectrum, DType::F64);
    let count = |steps| {
        let config = LanczosConfig::new().with_probe_steps(steps);
        let result = config.init().solve(&operator, None).unwrap();
        assert!(result.converged() && (result.first().value - 10.0).abs() < 1e-4);
        result.n_applies
    };
    assert_eq!(count(7), count(0) + 7);
    let copies = [vec![5.0; 3], (0..60).map(|i| 0.05 * f64::from(i)).collect()].concat();
    let operator = with_spectrum(&copies, DType::F64);
    let config = LanczosConfig::new().with_num_eigenvalues(3).with_probe_steps(8);
    let result = config.with_rel_tol(1e-5).init().solve(&operator, None).unwrap();
    assert!(result.pairs.iter().all(|p| (p.value - 5.0).abs() < 1e-4), "{:?}", result.pairs);
}

/// The stated bound of a miss holds for the fraction of seeds that miss.
#[test]
fn a_second_look_misses_no_more_often_than_stated() {
    let spectrum = [vec![1.0, 0.9], (0..198).map(|i| f64::from(i) / 250.0).collect()].concat();
    let operator = diagonal(&spectrum, DType::F64);
    let mut start = vec![1.0; 200];
    start[0] = 0.0;
    let start = ParamBlock::from_vectors(&[operator.space().from_values(&start).unwrap()]).unwrap();
    for steps in [6, 10, 14] {
        let config = LanczosConfig::new().with_probe_steps(steps);
        let misses = |seed: &u64| {
            let solver = config.clone().with_seed(*seed).init();
            solver.solve(&operator, Some(&start)).unwrap().first().value < 0.95
        };
        let missed = (0..40).filter(misses).count() as f64 / 40.0;
        // 1 is above 0.9 by a tenth of the spread.
        let bound = config.probe_failure(200, 0.1);
        assert!(missed <= bound, "{steps}: {missed} {bound}");
    }
    let failure = |steps| LanczosConfig::new().with_probe_steps(steps).probe_failure(200, 0.1);
    assert!(failure(20) < 1e-3 && failure(20) < failure(10) && failure(0) == 1.0);
}

#[test]
fn pairs_of_one_krylov_space_are_orthonormal_after_many_restarts() {
    let spectrum: Vec<f64> = (0..300).map(|i| 10.0 - f64::from(i) / 30.0).collect();
    for (dtype, rel_tol) in [(DType::F64, 1e-7), (DType::F32, 1e-4)] {
        let operator = with_spectrum(&spectrum, dtype);
        let config = LanczosConfig::new().with_num_eigenvalues(6).with_max_basis(20);
        let config = config.with_rel_tol(rel_tol).with_max_applies(3000);
        let result = config.init().solve(&operator, None).unwrap();
        assert!(result.converged(), "{:?} {}", result.stop, result.n_applies);
        for (i, a) in result.pairs.iter().enumerate() {
            let expected = 10.0 - i as f64 / 30.0;
            assert!((a.value - expected).abs() < 10.0 * rel_tol, "{} {expected}", a.value);
            for (j, b) in result.pairs.iter().enumerate() {
                let dot = a.vector.dot(&b.vector).unwrap() - f64::from(i == j);
                // A restart rounds each vector once more, without bias: √restarts · few ε.
                let restarts = result.n_applies as f64 / 7.0;
                assert!(dot.abs() < 32.0 * restarts.sqrt() * epsilon(dtype), "{i} {j}: {dot}");
            }
            let (true_one, said) = (residual(&operator, a), a.residual_norm);
            let rounding = 32.0 * epsilon(dtype) * 10.0;
            assert!((true_one - said).abs() <= 1e-3 * true_one + rounding, "{true_one} {said}");
        }
    }
}

/// In the row space of a batch, by coordinates and images: a small basis, second looks and thresholds give
/// the eigenvalues of the dense matrix, with true residuals.
#[test]
fn restarts_and_second_looks_work_in_row_space() {
    let device = Device::flex();
    let entry = |i: usize| (0.37 * (i * i) as f64).sin() as f32;
    let data = |shape: [usize; 2], shift: usize| {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|i| entry(i + shift)).collect();
        Tensor::<2>::from_data(burn::tensor::TensorData::new(values, shape), &device)
    };
    let batch = (data([6, 24], 1), data([6, 8], 500));
    // The same weights in every run: close eigenvalues at the threshold would be counted either way.
    let weight = burn::module::Param::from_tensor(data([24, 8], 900) * 0.2);
    let model = burn::nn::Linear { weight, bias: None };
    let loss = |model: &burn::nn::Linear, (x, y): (Tensor<2>, Tensor<2>)| {
        (model.forward(x).tanh() - y).powi_scalar(2).sum_dim(1).mean()
    };
    let lanes = HessianLanes::new(&model, std::slice::from_ref(&batch), loss).unwrap();
    assert!(!lanes.row_space_params().is_empty(), "no row space: the test is about nothing");
    let hessian = model.hessian(batch, loss).unwrap();
    let base = LanczosConfig::new().with_rel_tol(1e-3).with_max_applies(600);
    let reference = base.clone().with_num_eigenvalues(4).with_rel_tol(1e-5);
    let reference = reference.init().solve(&hessian, None).unwrap();
    let top = reference.first().value;
    let threshold = 0.5 * (reference.pairs[2].value + reference.pairs[3].value);
    let beyond = LanczosConfig { threshold: Some(threshold), num_eigenvalues: 10, ..base.clone() };
    for (config, k) in [
        (base.clone().with_max_basis(4), 1),
        (base.clone().with_max_basis(8).with_num_eigenvalues(3), 3),
        (base.clone().with_probe_steps(8), 1),
        (base.with_which(Which::BothEnds).with_num_eigenvalues(2), 2),
        (beyond, 3),
    ] {
        let result = config.init().solve(&hessian, None).unwrap();
        assert!(result.converged(), "{config}: {:?}", result.stop);
        assert_eq!(result.pairs.len(), k, "{config}");
        assert!((result.largest().value - top).abs() < 1e-3 * top, "{config}");
        for pair in &result.pairs {
            let rounding = 32.0 * epsilon(DType::F32) * top;
            let rest = residual(&hessian, pair);
            assert!(rest <= 1.05 * pair.residual_norm + rounding, "{config}: {rest} {pair:?}");
        }
    }
}

/// H = (2/bk)·XᵀX ⊗ 1 for a mean square of b samples and k outputs: b·k pairs in the row space of the batch, and zero
/// for all others.
#[test]
fn more_pairs_than_a_row_space_has_dimensions_are_found_outside() {
    let device = Device::flex();
    // Orthogonal samples of squared norms 4 and 9: eigenvalues 2 and 4.5, each once for each of two outputs.
    let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let x = (0..128).map(|i| if i < 64 { 0.25 } else { 0.375 * sign(i) }).collect();
    let x = float::<2>(x, [2, 64], DType::F32, &device);
    let weight =
        burn::module::Param::from_tensor(float(wave(128, 0.4), [64, 2], DType::F32, &device));
    let model = burn::nn::Linear { weight, bias: None };
    let loss = |m: &burn::nn::Linear, x: Tensor<2>| m.forward(x).powi_scalar(2).mean();
    let lanes = HessianLanes::new(&model, std::slice::from_ref(&x), loss).unwrap();
    assert!(!lanes.row_space_params().is_empty(), "no row space: the test is about nothing");
    let hessian = model.hessian(x, loss).unwrap();
    let spectrum = [4.5, 4.5, 2.0, 2.0, 0.0, 0.0];
    for k in [4, 5, 6] {
        let result = LanczosConfig::new().with_num_eigenvalues(k).init().solve(&hessian, None);
        let result = result.unwrap();
        assert!(result.converged() && result.pairs.len() == k, "{k}: {:?}", result.pairs);
        for (i, (pair, expected)) in result.pairs.iter().zip(spectrum).enumerate() {
            // A residual of 1e-3·λ has an error of its square over the distance of 2 to other eigenvalues.
            assert!((pair.value - expected).abs() < 1e-4, "{k}: {} {expected}", pair.value);
            let rounding = 32.0 * epsilon(DType::F32) * 4.5;
            assert!(residual(&hessian, pair) <= 1.05 * pair.residual_norm + rounding);
            for (j, other) in result.pairs.iter().enumerate() {
                let dot = pair.vector.dot(&other.vector).unwrap() - f64::from(i == j);
                assert!(dot.abs() < 1e-4, "{k}: {i} {j}: {dot}");
            }
        }
    }
}

/// With a threshold the number of pairs is a limit, and there may be none.
#[test]
fn a_threshold_needs_no_limit() {
    let spectrum = [vec![9.0, 7.0, -8.0], (0..30).map(|i| f64::from(i) / 40.0).collect()].concat();
    let operator = with_spectrum(&spectrum, DType::F64);
    for at_most in [2, spectrum.len(), usize::MAX / 2, usize::MAX] {
        let result = LanczosConfig::all_beyond(1.0, at_most).init().solve(&operator, None).unwrap();
        assert!(result.converged() && result.pairs.len() == 2, "{at_most}: {:?}", result.pairs);
        let found = result.pairs.iter().map(|pair| pair.value);
        assert!(found.zip([9.0, 7.0]).all(|(a, b)| (a - b).abs() < 1e-4), "{:?}", result.pairs);
    }
}
