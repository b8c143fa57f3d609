//! The run as a figure.

use crate::history::{History, Measurement};
use crate::options::{DataName, LossName, Settings};
use crate::support::error::Result;
use crate::support::figure::{Curve, Figure};
use crate::support::pen::{BLUE, GREEN, PURPLE, Picture, VERMILLION};

/// Writes sharpness.svg and sharpness.png, if there is a line to draw.
pub fn save(settings: &Settings, history: &History) -> Result<bool> {
    if history.measurements.len() < 2 {
        return Ok(false);
    }
    figure(settings, history).save(&settings.out, "sharpness")?;
    Ok(true)
}

fn figure(settings: &Settings, history: &History) -> Figure {
    let of = |quantity: fn(&Measurement) -> f64| -> Vec<(f64, f64)> {
        history.measurements.iter().map(|m| (m.step as f64, quantity(m))).collect()
    };
    let curve = |label: &str, color, dashed, width, points| Curve {
        label: label.to_string(),
        color,
        dashed,
        width,
        points,
    };
    let live = history.live.iter();
    let average = live.clone().map(|l| (l.step as f64, l.moving_average)).collect();
    Figure {
        title: title(settings),
        threshold: settings.threshold(),
        dots: history.batches.iter().map(|b| (b.step as f64, b.lambda_max)).collect(),
        dots_label: "λmax of single mini-batches".to_string(),
        curves: vec![
            curve("mini-batch sharpness", VERMILLION, false, 2.4, of(|m| m.minibatch_sharpness)),
            curve("full-batch sharpness", BLUE, false, 2.4, of(|m| m.fullbatch_sharpness)),
            curve("batch sharpness", GREEN, true, 2.0, of(|m| m.batch_sharpness)),
            curve("live batches, moving average", PURPLE, false, 1.4, average),
        ],
        loss: of(|m| m.loss),
        batch_loss: live.map(|l| (l.step as f64, l.loss)).collect(),
    }
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
