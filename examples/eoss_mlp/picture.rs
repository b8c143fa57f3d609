//! The run as a picture.

use std::collections::BTreeMap;

use burn_sharpness::observe::{History as Rows, Measure, Row, Value};
use burn_sharpness::plot;

use crate::history::History;
use crate::options::{DataName, LossName, Settings};
use crate::support::error::Result;

/// Writes sharpness.svg and sharpness.png, if there is something to draw.
pub fn save(settings: &Settings, history: &History) -> Result<bool> {
    if history.measurements.is_empty() {
        return Ok(false);
    }
    let picture = plot::training(&rows(settings, history)?)?.with_title(title(settings));
    picture.save(&settings.out, "sharpness")?;
    Ok(true)
}

/// What was measured, step by step.
fn rows(settings: &Settings, history: &History) -> Result<Rows> {
    let mut rows: BTreeMap<usize, Row> = BTreeMap::new();
    let with_error = |mean, error: f64, count| {
        let mut value = Value::of(mean);
        value.standard_error = error.is_finite().then_some(error);
        value.count = count;
        value
    };
    for m in &history.measurements {
        let row = rows.entry(m.step).or_insert_with(|| row(settings, m.step));
        row.loss = Some(m.loss);
        let of_step = history.batches.iter().filter(|batch| batch.step == m.step);
        let each: Vec<f64> = of_step.map(|batch| batch.lambda_max).collect();
        let n = each.len();
        let mut mini = with_error(m.minibatch_sharpness, m.minibatch_standard_error, n);
        mini.each = each;
        let full = with_error(m.fullbatch_sharpness, m.fullbatch_residual_norm, 1);
        let ratio = with_error(m.batch_sharpness, m.batch_sharpness_standard_error, 2 * n);
        row.values.insert(Measure::MiniBatchSharpness, mini);
        row.values.insert(Measure::FullBatchSharpness, full);
        row.values.insert(Measure::BatchSharpness, ratio);
    }
    for live in &history.live {
        let row = rows.entry(live.step).or_insert_with(|| row(settings, live.step));
        row.values.insert(Measure::LiveSharpness, Value::of(live.lambda_max));
    }
    let mut all = Rows::default();
    rows.into_values().try_for_each(|row| all.push(row))?;
    Ok(all)
}

fn row(settings: &Settings, step: usize) -> Row {
    let mut row = Row::at(step);
    row.learning_rate = Some(settings.lr);
    row.batch_size = Some(settings.batch_size);
    row.threshold = Some(settings.threshold());
    row
}

fn title(settings: &Settings) -> String {
    let data = match settings.data {
        DataName::Digits => "digits",
        DataName::Cifar10 => "CIFAR-10",
    };
    let loss = match settings.loss {
        LossName::Mse => "squared error",
        LossName::Ce => "cross-entropy",
    };
    let hidden: Vec<String> = settings.hidden.0.iter().map(ToString::to_string).collect();
    format!(
        "{data}, {} samples, hidden layers {}, {loss}, SGD with batches of {}, η = {}",
        settings.samples,
        hidden.join("–"),
        settings.batch_size,
        settings.lr
    )
}
