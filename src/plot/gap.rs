//! The gap between mini-batch and full-batch sharpness over batch sizes, and its power law.

use super::Picture;
use super::chart::{Chart, Look, Point, Series};
use super::number::rounded;
use crate::error::{Error, Result};
use crate::estimator::{GapPrediction, PowerLaw, PowerLawPoint, SharpnessGapMeasurement};
use crate::observe::{History, Measure, Row, Value};

/// The gap law of the last row that has gaps ([`Measure::Gap`]): gap against 1/b with 95% intervals, both
/// logarithmic, and the power law through them with the 95% interval of its exponent.
///
/// # Errors
/// [`Error::NothingToDraw`] where no row has a gap, or no gap of the last one is above zero.
pub fn gap_law(history: &History) -> Result<Picture> {
    let gaps = |row: &Row| -> Vec<(usize, Value)> {
        let gap = |(measure, value): (&Measure, &Value)| match measure {
            Measure::Gap(batch_size) => Some((*batch_size, value.clone())),
            _ => None,
        };
        row.values.iter().filter_map(gap).collect()
    };
    let last = history.rows().iter().rev().find(|row| !gaps(row).is_empty()).ok_or(nothing())?;
    let mut gaps = gaps(last);
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.0));
    // A gap without an error counts like one that is known exactly: only where none has one.
    let has_errors = gaps.iter().any(|gap| gap.1.standard_error.is_some());
    let point = |(batch_size, value): &(usize, Value)| {
        let standard_error = if has_errors { value.standard_error? } else { 0.0 };
        Some(PowerLawPoint { x: 1.0 / *batch_size as f64, y: value.mean, standard_error })
    };
    let law = PowerLaw::fit(&gaps.iter().filter_map(point).collect::<Vec<_>>());
    let points = gaps.iter().map(|(batch_size, value)| {
        let from_error = |error: f64| (value.mean - 1.96 * error, value.mean + 1.96 * error);
        let interval = value.interval.or(value.standard_error.map(from_error));
        gap_point(1.0 / *batch_size as f64, *batch_size, value.mean, interval)
    });
    draw(
        format!("sharpness gap at step {}", last.step),
        "1/b, per sample",
        points.collect(),
        law,
        vec![],
    )
}

/// The gap law of a measurement, with what second-order perturbation theory predicts where it was asked for.
///
/// With the number of samples n the abscissa is 1/b − 1/n, which is right for batches that are drawn without
/// replacement; without, it is 1/b.
///
/// # Errors
/// [`Error::NothingToDraw`] where no gap is above zero.
pub fn gap_law_of(measured: &SharpnessGapMeasurement, n_samples: Option<usize>) -> Result<Picture> {
    let whole = n_samples.map_or(0.0, |n| 1.0 / n.max(1) as f64);
    let x = |batch_size: usize| 1.0 / batch_size as f64 - whole;
    // A batch of all samples has no gap, and no place on a logarithmic axis.
    let mut gaps: Vec<_> = measured.gaps.iter().filter(|gap| x(gap.batch_size) > 0.0).collect();
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.batch_size));
    let points = gaps.iter().map(|gap| {
        let (low, high) = gap.best().interval;
        let interval = (low.is_finite() && high.is_finite()).then_some((low, high));
        gap_point(x(gap.batch_size), gap.batch_size, gap.best().mean, interval)
    });
    let theory = |label: &str, style, bound: fn(&GapPrediction) -> f64| {
        let point = |gap: &&crate::estimator::GapAtBatchSize| {
            Some((x(gap.batch_size), bound(gap.predicted.as_ref()?)))
        };
        let points: Vec<(f64, f64)> = gaps.iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Series::curve(label, style, Look::Line, &points))
    };
    let theory = [
        theory("second order, lower end", 1, |prediction| prediction.leading),
        theory("second order, upper end", 2, |prediction| prediction.upper),
    ];
    let (law, x_name) = match n_samples {
        Some(_) => (&measured.against_inverse_size, "1/b − 1/n, per sample"),
        None => (&measured.against_inverse_batch, "1/b, per sample"),
    };
    let title = format!("sharpness gap, λmax(H) = {}", rounded(measured.full_batch.value));
    draw(title, x_name, points.collect(), law.clone(), theory.into_iter().flatten().collect())
}

fn nothing() -> Error {
    Error::NothingToDraw {
        picture: "gap law",
        missing: "gaps above zero; measure `Measure::Gap` at two batch sizes or more",
    }
}

fn gap_point(x: f64, batch_size: usize, y: f64, interval: Option<(f64, f64)>) -> Point {
    Point { x, y, interval, name: format!("b = {batch_size}") }
}

fn draw(
    title: String,
    x_name: &str,
    points: Vec<Point>,
    law: Option<PowerLaw>,
    theory: Vec<Series>,
) -> Result<Picture> {
    let shown: Vec<f64> = points.iter().filter(|p| p.y > 0.0).map(|p| p.x).collect();
    let (Some(&first), Some(&last)) = (shown.first(), shown.last()) else { return Err(nothing()) };
    let label = "measured, 95% intervals".into();
    let mut series = vec![Series { label, style: 0, look: Look::Points, points }];
    if let Some(law) = law {
        let half = 0.5 * (law.interval.1 - law.interval.0);
        let label = format!("power law, exponent {:.3} ± {half:.3} (95%)", law.exponent);
        let at = |x: f64| (x, law.prefactor * x.powf(law.exponent));
        series.push(Series::curve(label, 0, Look::Line, &[at(first), at(last)]));
    }
    series.extend(theory);
    let y_name = "E[λmax(H_B)] − λmax(H), curvature of the loss".into();
    Chart { title, x_name: x_name.into(), y_name, is_logarithmic: true, series }.picture()
}
