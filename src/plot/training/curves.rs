//! What the upper panel shows, taken from the rows: curves, dots and thresholds.

use super::super::number::rounded;
use super::super::palette::N_LOOKS;
use super::super::panel::Datum;
use super::super::thin;
use crate::observe::{History, Measure, Row, Value};

/// Curves with a marker at each point up to this many points.
const FEW: usize = 24;

/// Quantities of single batches with more points than this are averaged.
const MANY: usize = 60;

/// All means over batches with more points than this are: a line through them would be an area.
const TOO_MANY: usize = 600;

/// One quantity.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub label: String,
    /// The number of its look.
    pub look: usize,
    /// The means of the rows, or their moving mean.
    pub points: Vec<(f64, f64)>,
    /// The rows themselves; none for quantities of single batches of which `points` are the moving mean.
    pub data: Vec<Datum>,
    /// Whether the rows differ from `points`.
    pub is_averaged: bool,
}

/// Values of single batches.
#[derive(Clone, Debug, Default)]
pub(super) struct Dots {
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

/// A threshold from one step on to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    pub from: usize,
    /// `None`: as far as the picture goes.
    pub to: Option<usize>,
    pub value: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Curves {
    pub curves: Vec<Curve>,
    pub dots: Dots,
    pub thresholds: Vec<Stretch>,
    pub threshold_label: String,
    /// Keys of quantities that have no look left.
    pub n_left_out: usize,
    pub y_name: &'static str,
}

impl Curves {
    pub fn of(history: &History) -> Self {
        let (drawn, n_left_out) = selected(history);
        let dots = dots(history, &drawn);
        let is_own = |measure: &Measure| matches!(measure, Measure::Custom(_));
        let y_name = match (drawn.iter().any(is_own), drawn.iter().all(is_own)) {
            (true, true) => "value",
            (true, false) => "curvature of the loss, own quantities",
            _ => "curvature of the loss",
        };
        let curve = |(look, measure): (usize, &Measure)| Curve::of(history, measure, look);
        Self {
            curves: drawn.iter().enumerate().map(curve).collect(),
            dots,
            thresholds: stretches(history.rows()),
            threshold_label: threshold_label(history.rows()),
            n_left_out,
            y_name,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.curves.is_empty()
    }
}

/// The quantities that are drawn, and how many are not: gaps and groups have pictures of their own and are
/// left out first.
fn selected(history: &History) -> (Vec<Measure>, usize) {
    let mut measures: Vec<Measure> = history.measures().into_iter().collect();
    measures.sort_by_key(|measure| match measure {
        Measure::Gap(_) => 2,
        Measure::Group(_) => 1,
        _ => 0,
    });
    let n_left_out = measures.len().saturating_sub(N_LOOKS);
    measures.truncate(N_LOOKS);
    (measures, n_left_out)
}

fn is_of_one_batch(measure: &Measure) -> bool {
    matches!(measure, Measure::LiveSharpness | Measure::StepSharpness)
}

impl Curve {
    fn of(history: &History, measure: &Measure, look: usize) -> Self {
        let mut label = match measure {
            Measure::Group(path) if path.is_empty() => "all parameters".into(),
            Measure::Group(path) => format!("λmax on {path}"),
            _ => measure.label(),
        };
        let series = history.series(measure);
        let mut data: Vec<Datum> = series.map(|(step, value)| datum(step, value)).collect();
        let mut points: Vec<(f64, f64)> = data.iter().map(|d| (d.x, d.y)).collect();
        let is_single = is_of_one_batch(measure) && data.len() > MANY;
        let is_mean = history.series(measure).any(|(_, value)| value.count > 1);
        let is_averaged = is_mean && data.len() > TOO_MANY;
        if is_single || is_averaged {
            let window = (data.len() / 40).clamp(3, 100) | 1;
            points = thin::moving_mean(&points, window);
            label += &format!(", mean of {window} rows");
        }
        if is_single {
            data.clear();
        }
        Self { label, look, points, data, is_averaged }
    }

    pub fn has_few_points(&self) -> bool {
        self.points.len() <= FEW
    }
}

/// A value with its 95% interval, as far as it is known.
fn datum(step: usize, value: &Value) -> Datum {
    // The error of an eigenvalue of one operator is its residual, a bound.
    let factor = if value.count > 1 { 1.96 } else { 1.0 };
    let from_error = |error: f64| (value.mean - factor * error, value.mean + factor * error);
    let interval = value.interval.or(value.standard_error.map(from_error));
    Datum { x: step as f64, y: value.mean, interval }
}

/// The single batches of the first quantity that has some.
fn dots(history: &History, drawn: &[Measure]) -> Dots {
    for measure in drawn {
        let points: Vec<(f64, f64)> = history
            .series(measure)
            .filter(|(_, value)| value.each.len() > 1)
            .flat_map(|(step, value)| value.each.iter().map(move |v| (step as f64, *v)))
            .collect();
        if !points.is_empty() {
            let name = match measure {
                Measure::MiniBatchSharpness => "λmax(H_B) of single mini-batches".into(),
                Measure::BatchSharpness => "gᵀH_B g/gᵀg of single mini-batches".into(),
                _ => format!("single batches of {}", measure.label()),
            };
            return Dots { label: name, points };
        }
    }
    for measure in drawn.iter().filter(|measure| is_of_one_batch(measure)) {
        let points: Vec<(f64, f64)> =
            history.series(measure).map(|(step, value)| (step as f64, value.mean)).collect();
        if points.len() > MANY {
            return Dots { label: "single training batches".into(), points };
        }
    }
    Dots::default()
}

/// Stretches of equal thresholds. A threshold holds from its row to the next one, the last one to the end.
fn stretches(rows: &[Row]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let Some(value) = row.threshold else { continue };
        let to = rows.get(i + 1).map(|next| next.step);
        match stretches.last_mut() {
            Some(last) if last.value == value && last.to == Some(row.step) => last.to = to,
            _ => stretches.push(Stretch { from: row.step, to, value }),
        }
    }
    stretches
}

/// What the threshold is, and its numbers.
fn threshold_label(rows: &[Row]) -> String {
    let with = |row: &&Row| row.threshold.is_some();
    let values: Vec<f64> = rows.iter().filter_map(|row| row.threshold).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_two_over_rate = rows.iter().filter(with).all(|row| {
        let product = row.threshold.zip(row.learning_rate).map(|(t, rate)| t * rate);
        product.is_some_and(|product| (product - 2.0).abs() < 1e-9)
    });
    let name = if is_two_over_rate { "2/η" } else { "edge of stability" };
    let numbers = if rounded(low) == rounded(high) {
        format!("{name} = {}", rounded(low))
    } else {
        format!("{name}, {} to {}", rounded(low), rounded(high))
    };
    let watched = rows.iter().filter(with).find_map(|row| row.watched.as_ref());
    match watched {
        Some(Measure::MiniBatchSharpness) => format!("{numbers}, for mini-batch sharpness"),
        Some(Measure::BatchSharpness) => format!("{numbers}, for batch sharpness"),
        Some(Measure::FullBatchSharpness) => format!("{numbers}, for full-batch sharpness"),
        Some(other) => format!("{numbers}, for {}", other.label()),
        None => numbers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: usize, threshold: Option<f64>) -> Row {
        Row { threshold, ..Row::at(step) }
    }

    #[test]
    fn a_threshold_holds_until_the_next_row() {
        let rows = [row(0, Some(2.0)), row(5, Some(2.0)), row(9, None), row(12, Some(3.0))];
        let expected = [
            Stretch { from: 0, to: Some(9), value: 2.0 },
            Stretch { from: 12, to: None, value: 3.0 },
        ];
        assert_eq!(stretches(&rows), expected);
        assert_eq!(threshold_label(&rows), "edge of stability, 2 to 3");
        let rate = Row { learning_rate: Some(0.125), ..row(0, Some(16.0)) };
        assert_eq!(threshold_label(&[rate]), "2/η = 16");
    }

    #[test]
    fn intervals_come_from_what_is_known() {
        let mut value = Value::of(5.0);
        assert_eq!(datum(3, &value), Datum { x: 3.0, y: 5.0, interval: None });
        value.standard_error = Some(0.5);
        assert_eq!(datum(3, &value).interval, Some((4.5, 5.5))); // a residual
        value.count = 16;
        assert_eq!(datum(3, &value).interval, Some((5.0 - 0.98, 5.0 + 0.98)));
        value.interval = Some((4.0, 7.0));
        assert_eq!(datum(3, &value).interval, Some((4.0, 7.0)));
    }
}
