//! Critical sharpness: brackets on quadratics, ends of the search, and what it leaves alone.

use burn::tensor::{DType, Device};
use burn_sharpness::Error;
use burn_sharpness::estimator::{CriticalOutcome, CriticalSharpnessConfig};

use super::regression::{Pair, Regression, Weights, dot, loss, relative};
use crate::common::wave;

const D: usize = 5;

fn problem() -> Regression {
    Regression::normal(11, &[1.5, 1.0, 0.7, 0.5, 1.2])
}

/// 2·gᵀd/(dᵀHd), where the loss is what it was.
fn critical_rate(problem: &Regression, d: &[f64]) -> f64 {
    let (all, g) = (problem.all(), problem.gradient(&problem.all()));
    2.0 * dot(&g, d) / dot(d, &problem.product(&all, d))
}

/// The bracket holds η_c, and 2/√(low·high) is within (1 − tolerance)^(−½) of λ_c, whatever the start.
#[test]
fn critical_sharpness_of_a_quadratic_is_its_curvature() {
    let problem = problem();
    let (model, data, g) = (problem.model(), problem.data(), problem.gradient(&problem.all()));
    let eta = critical_rate(&problem, &g);
    for (start, tolerance, chunk) in
        [(0.01, 0.0625, 99), (1e-6, 0.01, 4), (1e4, 0.0625, 4), (0.3, 1e-6, 11)]
    {
        let config = CriticalSharpnessConfig::new().with_learning_rate(start);
        let config = config.with_tolerance(tolerance).with_chunk_size(chunk);
        let found = config.init(loss).measure(&model, &data).unwrap();
        assert_eq!(found.outcome, CriticalOutcome::Found);
        let (low, high) = found.bracket;
        assert!(low <= eta && eta <= high && 1.0 - low / high <= tolerance, "{found:?} {eta}");
        let allowed = (1.0 - tolerance).powf(-0.5) - 1.0;
        assert!(relative(found.value.unwrap(), 2.0 / eta) <= allowed);
        assert!(relative(found.slope, dot(&g, &g)) < 1e-13);
        assert!(relative(found.loss, problem.loss(&problem.w, &problem.all())) < 1e-13);
    }
    // Doubling and bisection from 0.01: at most 1 + log₂ of the distance + 4 passes, and one at θ.
    let found = CriticalSharpnessConfig::new().init(loss).measure(&model, &data).unwrap();
    let doublings = (eta / 0.01).log2().abs().ceil() as usize;
    assert!(found.n_forwards <= doublings + 7, "{} passes", found.n_forwards);
}

#[test]
fn any_update_has_its_own_critical_sharpness() {
    let problem = problem();
    let (model, data, g) = (problem.model(), problem.data(), problem.gradient(&problem.all()));
    let mut d = wave(D, 0.7);
    if dot(&d, &g) < 0.0 {
        d.iter_mut().for_each(|x| *x = -*x);
    }
    let mut critical = CriticalSharpnessConfig::new().with_tolerance(1e-6).init(loss);
    let found = critical.measure_along(&model, &data, &problem.vector(&d)).unwrap();
    assert!(relative(found.value.unwrap(), 2.0 / critical_rate(&problem, &d)) < 1e-6);
    // Uphill it never falls.
    let up: Vec<f64> = d.iter().map(|x| -x).collect();
    let found = critical.measure_along(&model, &data, &problem.vector(&up)).unwrap();
    assert_eq!((found.outcome, found.value), (CriticalOutcome::NeverFalls, None));
    assert!(found.slope < 0.0 && found.bracket.0 == 0.0);
    // Nowhere, it never rises.
    let found = critical.measure_along(&model, &data, &problem.vector(&[0.0; D])).unwrap();
    assert_eq!((found.outcome, found.value), (CriticalOutcome::NeverRises, None));
    assert_eq!((found.bracket.1, found.n_forwards), (f64::INFINITY, 65));
    let few = CriticalSharpnessConfig::new().with_tolerance(1e-9).with_max_forwards(12);
    assert_eq!(
        few.init(loss).measure(&model, &data).unwrap().outcome,
        CriticalOutcome::MaxForwards
    );
}

/// Uphill from a start so small that the loss does not move at all.
#[test]
fn what_never_falls_is_no_critical_sharpness() {
    let problem = problem();
    let up: Vec<f64> = problem.gradient(&problem.all()).iter().map(|x| -x).collect();
    let mut critical = CriticalSharpnessConfig::new().with_learning_rate(1e-18).init(loss);
    let (model, data) = (problem.model(), problem.data());
    let found = critical.measure_along(&model, &data, &problem.vector(&up)).unwrap();
    assert_eq!((found.outcome, found.value), (CriticalOutcome::NeverFalls, None));
    // Downhill the same start is as good as another.
    let found = CriticalSharpnessConfig::new().with_learning_rate(1e-18).with_max_forwards(99);
    let found = found.init(loss).measure(&model, &data).unwrap();
    assert_eq!(found.outcome, CriticalOutcome::Found);
}

/// A loss that is not a number after a step has risen: √(c + s·w₀) from half of the critical rate on.
#[test]
fn a_loss_that_is_no_number_counts_as_a_rise() {
    let problem = problem();
    let sign = problem.gradient(&problem.all())[0].signum();
    let d: Vec<f64> = (0..D).map(|i| if i == 0 { sign } else { 0.0 }).collect();
    let edge = 0.5 * critical_rate(&problem, &d);
    let offset = edge - sign * problem.w[0];
    let bounded = move |m: &Weights, (x, y): Pair| {
        let w = m.w.val();
        let rest = (x.matmul(w.clone()) - y).powi_scalar(2).mean() * 0.5;
        rest + ((w.narrow(0, 0, 1) * sign + offset).sqrt() * 0.0).sum()
    };
    let mut critical = CriticalSharpnessConfig::new().with_tolerance(1e-6).init(bounded);
    let (model, data) = (problem.model(), problem.data());
    let found = critical.measure_along(&model, &data, &problem.vector(&d)).unwrap();
    assert!(relative(found.value.unwrap(), 2.0 / edge) < 1e-6, "{found:?} {edge}");
}

#[test]
fn bad_settings_are_errors() {
    let problem = problem();
    let error = |config: CriticalSharpnessConfig| {
        config.init(loss).measure(&problem.model(), &problem.data()).unwrap_err()
    };
    let config = CriticalSharpnessConfig::new;
    let cases = [
        (config().with_learning_rate(0.0), "learning_rate"),
        (config().with_learning_rate(f64::NAN), "learning_rate"),
        (config().with_tolerance(0.0), "tolerance"),
        (config().with_tolerance(1.0), "tolerance"),
        (config().with_max_forwards(0), "max_forwards"),
        (config().with_chunk_size(0), "chunk_size"),
    ];
    for (config, name) in cases {
        let error = error(config);
        assert!(
            matches!(error, Error::InvalidSetting { setting, .. } if setting == name),
            "{error}"
        );
    }
    let short = burn_sharpness::ParamSpace::flat(2, DType::F64, &Device::flex()).zeros();
    let mut critical = config().init(loss);
    let error = critical.measure_along(&problem.model(), &problem.data(), &short).unwrap_err();
    assert_eq!(error, Error::LengthMismatch { expected: D, found: 2 });
}
