//! Histories of runs that never were.

use burn_sharpness::observe::{History, Measure, PhaseName, Row, RowPhase, Spectrum, Value};

pub fn of(rows: Vec<Row>) -> History {
    let mut history = History::default();
    rows.into_iter().for_each(|row| history.push(row).unwrap());
    history
}

/// Numbers from 0 to 1 that look random.
pub fn noise(i: usize) -> f64 {
    (i as f64 * 0.618_033_988_749_895 + (i * i) as f64 * 0.414_213_562_373_095).fract()
}

pub fn mean_of(values: Vec<f64>) -> Value {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let mut value = Value::of(mean);
    value.standard_error = Some((variance / n).sqrt());
    value.count = values.len();
    value.each = values;
    value
}

/// A run with everything in it: `n_rows` rows, η halved half-way, progressive sharpening and a plateau.
pub fn full(n_rows: usize) -> History {
    let row = |i: usize| {
        let mut row = Row::at(100 * i);
        let rate = if 2 * i < n_rows { 0.125 } else { 0.0625 };
        let edge = 2.0 / rate;
        let t = i as f64 / n_rows as f64;
        let level =
            edge * (1.0 - (-6.0 * t).exp()) * if 2 * i < n_rows { 1.0 } else { 0.5 + 0.5 * t };
        let each: Vec<f64> =
            (0..16).map(|j| level * (0.6 + 0.9 * noise(17 * i + j).powi(2)) + 1.0).collect();
        row.values.insert(Measure::MiniBatchSharpness, mean_of(each));
        let ratios: Vec<f64> = (0..16).map(|j| level * (0.5 + 0.3 * noise(31 * i + j))).collect();
        let mut ratio = mean_of(ratios);
        ratio.each.clear();
        row.values.insert(Measure::BatchSharpness, ratio);
        if i.is_multiple_of(4) {
            let mut full = Value::of(0.3 * level + 0.5);
            full.standard_error = Some(1e-3);
            row.values.insert(Measure::FullBatchSharpness, full);
        }
        row.values.insert(Measure::LiveSharpness, Value::of(level * (0.5 + noise(7 * i)) + 1.0));
        row.learning_rate = Some(rate);
        row.batch_size = Some(8);
        row.threshold = Some(edge);
        row.watched = Some(Measure::BatchSharpness);
        row.loss = Some((-7.0 * t).exp() * (1.0 + 0.2 * noise(i)));
        let (name, since) = match t {
            t if t < 0.1 => (PhaseName::Undetermined, None),
            t if t < 0.3 => (PhaseName::Sharpening, Some(0)),
            t if t < 0.55 => (PhaseName::Plateau, Some(100 * (n_rows / 4))),
            t if t < 0.6 => (PhaseName::Flattening, Some(100 * (n_rows / 2))),
            _ => (PhaseName::Sharpening, Some(100 * (n_rows * 11 / 20))),
        };
        row.phase = Some(RowPhase { name, since });
        row
    };
    of((0..n_rows).map(row).collect())
}

/// Sharpness of `n_layers` layers over `n_rows` rows that lie farther and farther apart.
pub fn layers(n_layers: usize, n_rows: usize) -> History {
    let row = |i: usize| {
        let mut row = Row::at(30 * i + i * i);
        for layer in 0..n_layers {
            if (i + layer) % 11 == 5 {
                continue; // not measured
            }
            let peak = (i as f64 / n_rows as f64 - layer as f64 / n_layers as f64).powi(2);
            let value = Value::of(0.02 + 30.0 * (-6.0 * peak).exp() / (1.0 + layer as f64));
            row.values.insert(Measure::Group(format!("decoder.blocks.{layer}.attention")), value);
        }
        row
    };
    of((0..n_rows).map(row).collect())
}

/// Gaps of a power law with exponent 0.8, but for their scatter; the one at 4096 is below zero.
pub fn gaps() -> History {
    let mut row = Row::at(500);
    for (i, batch_size) in [4, 16, 64, 256, 1024].into_iter().enumerate() {
        let gap = 40.0 * (1.0 / batch_size as f64).powf(0.8) * (0.95 + 0.1 * noise(i));
        row.values.insert(Measure::Gap(batch_size), with_error(gap, 0.04 * gap));
    }
    row.values.insert(Measure::Gap(4096), with_error(-0.01, 0.02));
    of(vec![row])
}

fn with_error(mean: f64, error: f64) -> Value {
    let mut value = Value::of(mean);
    value.standard_error = Some(error);
    value.interval = Some((mean - 2.0 * error, mean + 2.0 * error));
    value.count = 32;
    value
}

/// A bulk at zero and three outliers, as eight start vectors see them.
pub fn outliers() -> Spectrum {
    let mut spectrum = Spectrum::default();
    for probe in 0..8 {
        let mut nodes: Vec<f64> = (0..60).map(|i| (i as f64 / 59.0 - 0.4).powi(3) * 4.0).collect();
        nodes.extend([6.0, 9.0, 15.5]);
        let mut weights: Vec<f64> = nodes.iter().map(|x| (-2.0 * x.abs()).exp()).collect();
        let n = weights.len();
        weights[n - 3..]
            .iter_mut()
            .enumerate()
            .for_each(|(i, w)| *w = 1e-4 * (0.5 + noise(3 * probe + i)));
        let total: f64 = 8.0 * weights.iter().sum::<f64>();
        spectrum.nodes.extend(nodes);
        spectrum.weights.extend(weights.iter().map(|w| w / total));
    }
    spectrum
}

pub fn with_spectrum() -> History {
    let mut row = Row::at(300);
    row.spectrum = Some(outliers());
    row.threshold = Some(14.0);
    of(vec![Row::at(100), row, Row::at(400)])
}
