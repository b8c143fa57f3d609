//! Trace, diagonal and density of operators with known spectra.

use burn::tensor::{DType, Device};
use burn_sharpness::Error;
use burn_sharpness::estimator::Estimate;
use burn_sharpness::operator::{ClosureOperator, DenseOperator};
use burn_sharpness::prelude::*;
use burn_sharpness::spectrum::{
    DiagonalConfig, Probe, SpectralDensity, SpectralDensityConfig, TraceConfig, TraceEstimate,
    TraceMethod,
};

use crate::solvers::spectra::{Counting, epsilon, norm, with_spectrum};

const METHODS: [TraceMethod; 3] =
    [TraceMethod::Hutchinson, TraceMethod::HutchPlusPlus, TraceMethod::XTrace];
const PROBES: [Probe; 2] = [Probe::Rademacher, Probe::Gaussian];

fn diagonal(values: &[f64]) -> DenseOperator {
    let n = values.len();
    let entry = |i: usize, j: usize| if i == j { values[i] } else { 0.0 };
    let rows: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
    DenseOperator::from_rows(&rows, DType::F64, &Device::flex()).unwrap()
}

fn contains(estimate: &Estimate, exact: f64) -> bool {
    estimate.interval.0 <= exact && exact <= estimate.interval.1
}

fn spectra() -> Vec<(&'static str, Vec<f64>)> {
    vec![
        ("power law", (1..=50).map(|i| 10.0 / f64::from(i)).collect()),
        ("indefinite", (0..50).map(|i| (1.3 * f64::from(i)).sin()).collect()),
        ("flat with outliers", [vec![20.0, 15.0, 10.0], vec![1.0; 47]].concat()),
        ("decaying", (0..50).map(|i| 5.0 * 0.8f64.powi(i)).collect()),
    ]
}

const SEEDS: u64 = 200;

/// The stated interval of 95% holds in `held` of `n` cases: 93 of 100 where `n` is enough for that to be a
/// test (800 cases: 2.6 standard deviations below 95), or 3.5 standard deviations below otherwise.
fn check_coverage(what: &str, held: usize, n: usize) {
    let n = n as f64;
    let least = (0.93 * n).min(0.95 * n - 3.5 * (0.95 * 0.05 * n).sqrt());
    let least = if n >= 800.0 { 0.93 * n } else { least };
    assert!(held as f64 >= least, "{what}: {held} of {n}");
}

fn check_traces(method: TraceMethod, probe: Probe) {
    let mut held = 0;
    for (name, spectrum) in spectra() {
        let operator = with_spectrum(&spectrum, DType::F64);
        let trace: f64 = spectrum.iter().sum();
        let square: f64 = spectrum.iter().map(|v| v * v).sum();
        // Sixty values of Hutchinson's: fewer are too skewed for Student's t where a tenth of the
        // eigenvalues is most of the trace.
        let m = if method == TraceMethod::Hutchinson { 60 } else { 30 };
        let config = TraceConfig::new().with_method(method).with_probe(probe).with_num_products(m);
        let found: Vec<TraceEstimate> = (0..SEEDS)
            .map(|seed| config.clone().with_seed(seed).init().estimate(&operator).unwrap())
            .collect();
        let what = format!("{name}, {method:?}, {probe:?}");
        let of_this = found.iter().filter(|f| contains(&f.trace, trace)).count();
        check_coverage(&what, of_this, found.len());
        held += of_this;
        let mean =
            |f: &dyn Fn(&TraceEstimate) -> f64| found.iter().map(f).sum::<f64>() / SEEDS as f64;
        let actual = mean(&|f| (f.trace.mean - trace).powi(2));
        let stated = mean(&|f| f.trace.standard_error.powi(2));
        // The stated error is the one that there is: a variance of 200 values is off by √(2/200). A
        // jackknife is an upper bound.
        let most = if method == TraceMethod::XTrace { f64::INFINITY } else { 1.5 };
        let ratio = stated / actual;
        assert!(ratio > 0.7 && ratio < most, "{what}: stated {stated} actual {actual}");
        // Without bias: the mean over seeds is off by its own standard error.
        let bias = mean(&|f| f.trace.mean - trace);
        assert!(bias.abs() < 4.0 * (actual / SEEDS as f64).sqrt(), "{what}: bias {bias}");
        let bias = mean(&|f| f.trace_of_square.mean - square);
        let error = mean(&|f| (f.trace_of_square.mean - square).powi(2));
        let allowed = 4.0 * (error / SEEDS as f64).sqrt();
        assert!(bias.abs() < allowed, "{what}: bias of the square {bias}");
        assert!(found.iter().all(|f| f.n_applies == m), "{what}: products");
    }
    check_coverage(&format!("{method:?}, {probe:?}"), held, 4 * SEEDS as usize);
}

#[test]
fn intervals_of_hutchinson_hold() {
    PROBES.into_iter().for_each(|probe| check_traces(TraceMethod::Hutchinson, probe));
}

#[test]
fn intervals_of_hutch_plus_plus_hold() {
    PROBES.into_iter().for_each(|probe| check_traces(TraceMethod::HutchPlusPlus, probe));
}

#[test]
fn intervals_of_x_trace_hold() {
    PROBES.into_iter().for_each(|probe| check_traces(TraceMethod::XTrace, probe));
}

/// Where the spectrum decays, sketches are worth their products.
#[test]
fn sketches_pay_where_the_spectrum_decays() {
    let spectrum: Vec<f64> = (0..50).map(|i| 5.0 * 0.8f64.powi(i)).collect();
    let operator = with_spectrum(&spectrum, DType::F64);
    let trace: f64 = spectrum.iter().sum();
    let error = |method| {
        let config = TraceConfig::new().with_method(method);
        let error = |seed| {
            let found = config.clone().with_seed(seed).init().estimate(&operator).unwrap();
            (found.trace.mean - trace).powi(2)
        };
        (0..50).map(error).sum::<f64>().sqrt()
    };
    let [hutchinson, plus_plus, x_trace] = METHODS.map(error);
    let errors = (x_trace, plus_plus, hutchinson);
    assert!(x_trace < plus_plus && plus_plus < hutchinson, "{errors:?}");
}

#[test]
fn signs_are_exact_on_a_diagonal_matrix() {
    let values: Vec<f64> = (0..30).map(|i| (0.7 * f64::from(i)).cos()).collect();
    let operator = diagonal(&values);
    let trace: f64 = values.iter().sum();
    let square: f64 = values.iter().map(|v| v * v).sum();
    let rounding = 30.0 * f64::EPSILON * 30.0;
    let found = TraceConfig::new().with_num_products(5).init().estimate(&operator).unwrap();
    assert!((found.trace.mean - trace).abs() < rounding);
    assert!(found.trace.standard_error < rounding);
    assert!((found.trace_of_square.mean - square).abs() < rounding);
    assert!((found.frobenius_norm().mean - square.sqrt()).abs() < rounding);
    let found = DiagonalConfig::new().with_num_probes(3).init().estimate(&operator).unwrap();
    let off = found.diagonal.axpy(-1.0, &operator.space().from_values(&values).unwrap()).unwrap();
    assert!(off.norm().unwrap() < rounding && found.standard_error.norm().unwrap() < rounding);
}

/// Rank 4 with sketches of 6 and 9: both see all of the range.
#[test]
fn sketches_are_exact_on_a_low_rank() {
    let spectrum = [vec![7.0, -4.0, 2.0, 1.0], vec![0.0; 36]].concat();
    for dtype in [DType::F64, DType::F32] {
        let operator = with_spectrum(&spectrum, dtype);
        for method in [TraceMethod::HutchPlusPlus, TraceMethod::XTrace] {
            for probe in PROBES {
                let config = TraceConfig::new().with_method(method).with_probe(probe);
                let config = config.with_num_products(18);
                let found = config.init().estimate(&operator).unwrap();
                // zᵀA·z of probes with ‖z‖² about n, each product off by (32 + n)·ε‖A‖.
                let rounding = 40.0 * (32.0 + 40.0) * epsilon(dtype) * norm(&spectrum);
                let off = (found.trace.mean - 6.0).abs();
                assert!(off < rounding, "{method:?} {probe:?} {dtype:?}: {off} {rounding}");
                assert!(found.trace.standard_error < rounding, "{method:?} {probe:?} {dtype:?}");
                assert_eq!(found.n_applies, 18);
            }
        }
    }
}

#[test]
fn small_spaces_and_zero_matrices() {
    for spectrum in [vec![-3.5], vec![2.0, 1.0], vec![0.0; 12]] {
        let operator = with_spectrum(&spectrum, DType::F64);
        let trace: f64 = spectrum.iter().sum();
        for method in METHODS {
            let config = TraceConfig::new().with_method(method).with_num_products(8);
            let found = config.init().estimate(&operator).unwrap();
            let (low, high) = found.trace.interval;
            assert!(low <= trace + 1e-12 && trace - 1e-12 <= high, "{method:?}: {found:?}");
            assert!(found.n_applies <= 8);
        }
        let density = SpectralDensityConfig::new().init().estimate(&operator).unwrap();
        assert!((density.trace_of(|x| x).mean - trace).abs() < 1e3, "{density:?}");
        for quadrature in &density.quadratures {
            assert!((quadrature.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(quadrature.nodes.len() <= spectrum.len());
        }
    }
    // Where a sketch would span everything, the trace is exact at n products.
    let operator = with_spectrum(&[5.0, 3.0, -1.0], DType::F64);
    let config = TraceConfig::new().with_method(TraceMethod::XTrace).with_num_products(8);
    let found = config.init().estimate(&operator).unwrap();
    assert_eq!((found.n_applies, found.trace.standard_error), (3, 0.0));
    assert!((found.trace.mean - 7.0).abs() < 1e-12);
    assert!((found.trace_of_square.mean - 35.0).abs() < 1e-12);
}

#[test]
fn intervals_of_a_diagonal_hold() {
    let (_, spectrum) = spectra().swap_remove(0);
    let operator = with_spectrum(&spectrum, DType::F64);
    let dense = operator.to_dense().unwrap();
    let (n, m) = (spectrum.len(), 20);
    let (mut held, mut stated) = (0, vec![0.0; n]);
    for seed in 0..SEEDS {
        let config = DiagonalConfig::new().with_num_probes(m).with_seed(seed);
        let found = config.init().estimate(&operator).unwrap();
        assert_eq!(found.n_applies, m);
        let diagonal = found.diagonal.to_values().unwrap();
        let half = found.half_width().to_values().unwrap();
        let errors = found.standard_error.to_values().unwrap();
        for i in 0..n {
            held += usize::from((diagonal[i] - dense[i][i]).abs() <= half[i]);
            stated[i] += errors[i].powi(2) / SEEDS as f64;
        }
    }
    check_coverage("diagonal", held, n * SEEDS as usize);
    for (i, stated) in stated.iter().enumerate() {
        let others = dense[i].iter().enumerate().filter(|(j, _)| *j != i);
        let exact = others.map(|(_, a)| a * a).sum::<f64>() / m as f64;
        // The mean of 200 variances, each of 20 values, is off by a few times √(2/(200·19)).
        assert!((stated / exact - 1.0).abs() < 0.1, "{i}: {stated} {exact}");
    }
}

/// On a diagonal matrix a start of signs sees every eigenvalue alike: moments are exact up to the degree of
/// the quadrature, and no further.
#[test]
fn a_quadrature_is_exact_up_to_its_degree() {
    let values: Vec<f64> = (0..20).map(|i| -1.0 + 0.1 * f64::from(i)).collect();
    let operator = diagonal(&values);
    let config = SpectralDensityConfig::new().with_probe(Probe::Rademacher).with_num_steps(4);
    let density = config.init().estimate(&operator).unwrap();
    let exact = |p: i32| values.iter().map(|v| v.powi(p)).sum::<f64>() / 20.0;
    for p in 0..8 {
        let off = density.moment(p).mean - exact(p as i32);
        assert!(off.abs() < 1e-13, "{p}: {off}");
    }
    assert!((density.moment(8).mean - exact(8)).abs() > 1e-4);
    assert_eq!(density.n_applies, 4 * 8);
    // With as many steps as eigenvalues all is exact: counts, the density and its integral.
    let density = config.with_num_steps(20).init().estimate(&operator).unwrap();
    assert!((density.count_above(0.45).mean - 5.0).abs() < 1e-9);
    let (low, high) = density.range();
    assert!((low + 1.0).abs() < 1e-12 && (high - 0.9).abs() < 1e-12);
    let width = 0.07;
    let grid = density.grid(400, width).unwrap();
    let heights = density.density(&grid, width).unwrap();
    let peak = 1.0 / (width * (2.0 * std::f64::consts::PI).sqrt());
    for (t, height) in grid.iter().zip(&heights) {
        let kernel = |v: &f64| peak * (-0.5 * ((t - v) / width).powi(2)).exp();
        let exact = values.iter().map(kernel).sum::<f64>() / 20.0;
        assert!((height.mean - exact).abs() < 1e-9 * peak, "{t}: {} {exact}", height.mean);
    }
    // Beyond four widths there is less than 1e-4 of a kernel.
    let step = grid[1] - grid[0];
    let integral: f64 = heights.iter().map(|h| h.mean * step).sum();
    assert!((integral - 1.0).abs() < 1e-4, "{integral}");
}

#[test]
fn intervals_of_spectral_sums_hold() {
    let (_, spectrum) = spectra().swap_remove(1);
    let operator = with_spectrum(&spectrum, DType::F64);
    type Sum = (&'static str, fn(&SpectralDensity) -> Estimate, fn(f64) -> f64);
    let sums: [Sum; 4] = [
        ("trace", |d| d.trace_of(|x| x), |x| x),
        ("square", |d| d.trace_of(|x| x * x), |x| x * x),
        ("exponential", |d| d.trace_of(f64::exp), f64::exp),
        ("count", |d| d.count_above(0.0), |x| f64::from(u8::from(x > 0.0))),
    ];
    let solve = |seed| {
        // As many steps as dimensions: a step function is then no approximation either.
        let config = SpectralDensityConfig::new().with_num_steps(50).with_num_probes(12);
        let config = config.with_at_once(12);
        config.with_seed(seed).init().estimate(&operator).unwrap()
    };
    let found: Vec<SpectralDensity> = (0..SEEDS).map(solve).collect();
    let mut all = 0;
    for (name, estimate, f) in sums {
        let exact: f64 = spectrum.iter().map(|v| f(*v)).sum();
        let held = found.iter().filter(|d| contains(&estimate(d), exact)).count();
        check_coverage(name, held, found.len());
        all += held;
    }
    check_coverage("all sums", all, 4 * found.len());
}

#[test]
fn what_is_computed_at_once_changes_nothing() {
    let (_, spectrum) = spectra().swap_remove(0);
    let operator = with_spectrum(&spectrum, DType::F64);
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs();
    for method in METHODS {
        let of = |at_once| {
            let counting = Counting::new(&operator);
            let config = TraceConfig::new().with_method(method).with_at_once(at_once);
            let found = config.init().estimate(&counting).unwrap();
            assert_eq!(counting.total(), found.n_applies);
            assert_eq!(counting.calls.borrow().iter().max(), Some(&at_once));
            found
        };
        let (one, five) = (of(1), of(5));
        assert!(close(one.trace.mean, five.trace.mean));
        assert!(close(one.trace.standard_error, five.trace.standard_error));
    }
    let of = |at_once| {
        let counting = Counting::new(&operator);
        let config = SpectralDensityConfig::new().with_at_once(at_once).with_num_steps(10);
        let found = config.init().estimate(&counting).unwrap();
        assert_eq!(counting.total(), found.n_applies);
        found
    };
    let (one, three) = (of(1), of(3));
    assert_eq!(one.n_applies, 80);
    for (a, b) in one.quadratures.iter().zip(&three.quadratures) {
        assert!(a.nodes.iter().zip(&b.nodes).all(|(a, b)| (a - b).abs() < 1e-9));
    }
    let again = SpectralDensityConfig::new().with_num_steps(10).init().estimate(&operator).unwrap();
    assert_eq!(one, again);
}

#[test]
fn bad_settings_and_bad_operators_are_errors() {
    let operator = with_spectrum(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], DType::F64);
    let setting = |error| match error {
        Error::InvalidSetting { setting, .. } => setting,
        other => panic!("{other:?}"),
    };
    let trace = |config: TraceConfig| config.init().estimate(&operator).unwrap_err();
    assert_eq!(setting(trace(TraceConfig::new().with_num_products(0))), "num_products");
    assert_eq!(setting(trace(TraceConfig::new().with_at_once(0))), "at_once");
    for method in [TraceMethod::HutchPlusPlus, TraceMethod::XTrace] {
        let config = TraceConfig::new().with_method(method).with_num_products(3);
        assert_eq!(setting(trace(config)), "num_products");
    }
    let diagonal = DiagonalConfig::new().with_num_probes(1).init().estimate(&operator);
    assert_eq!(setting(diagonal.unwrap_err()), "num_probes");
    let density = |config: SpectralDensityConfig| config.init().estimate(&operator);
    let config = SpectralDensityConfig::new();
    assert_eq!(setting(density(config.clone().with_num_probes(0)).unwrap_err()), "num_probes");
    assert_eq!(setting(density(config.clone().with_num_steps(0)).unwrap_err()), "num_steps");
    let found = density(config.clone()).unwrap();
    assert_eq!(setting(found.grid(1, 0.1).unwrap_err()), "points");
    assert_eq!(setting(found.density(&[0.0], 0.0).unwrap_err()), "width");
    assert_eq!(setting(found.density(&[0.0], f64::NAN).unwrap_err()), "width");
    let nan = ClosureOperator::new(operator.space().clone(), |v| Ok(v.scale(f64::NAN)));
    for method in METHODS {
        let config = TraceConfig::new().with_method(method).with_num_products(6);
        assert!(matches!(config.init().estimate(&nan), Err(Error::NonFinite { .. })), "{method:?}");
    }
    assert!(matches!(config.init().estimate(&nan), Err(Error::NonFinite { .. })));
    let diagonal = DiagonalConfig::new().init().estimate(&nan);
    assert!(matches!(diagonal, Err(Error::NonFinite { .. })));
}
