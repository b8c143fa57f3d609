//! How far from the edge of stability each optimizer is: digits are trained by plain SGD and by SGD with
//! momentum, and batch sharpness is compared with each one's own threshold while they train.
//!
//! `cargo run --release --example edge`, and `-- --help` for the options. Beside the ratio (1 = edge) the table
//! has the phase of the run and the largest learning rate that is stable at the measured curvature.

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;

use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use burn_sharpness::prelude::*;
use burn_sharpness::stability::{
    Batching, Phase, PhaseDetectorConfig, SgdStabilityConfig, Stability,
};
use clap::Parser;

use support::chart::{Chart, Look, Series};
use support::device::DeviceName;
use support::digits;
use support::error::Result;
use support::mlp::{Batch, Mlp, Training, loss};
use support::number::rounded;
use support::pen::{BLUE, Picture, VERMILLION};

/// The distance to the edge of stability, for two optimizers.
#[derive(Parser)]
struct Options {
    /// Steps of each optimizer.
    #[arg(long, default_value_t = 8000)]
    steps: usize,
    /// Steps between measurements.
    #[arg(long, default_value_t = 100)]
    every: usize,
    /// Step size η of plain SGD; that of momentum is η(1 − β), which moves as far.
    #[arg(long, default_value_t = 0.25)]
    lr: f64,
    /// Momentum β (heavy ball).
    #[arg(long, default_value_t = 0.9)]
    momentum: f64,
    /// Samples per batch, in training and in the measurements.
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    /// Batches per measurement of batch sharpness.
    #[arg(long, default_value_t = 64)]
    num_batches: usize,
    /// Seed of weights and batches.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to compute; others than flex need the feature of the same name.
    #[arg(long, value_enum, default_value = "flex")]
    device: DeviceName,
    /// Folder of the picture.
    #[arg(long, default_value = "out/edge")]
    out: PathBuf,
}

/// Ratios to the threshold: step and value.
struct Run {
    batch_sharpness: Vec<(f64, f64)>,
    minibatch_sharpness: Vec<(f64, f64)>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let device = options.device.open()?.autodiff();
    let data = digits::load(None)?;
    let (n, widths) = (data.len(), [data.n_features, 64, 48, data.n_classes]);
    let data = data.tensors(&device);
    let model = Mlp::new(&widths, 0.3, options.seed, &device);
    let Options { lr, momentum, batch_size, .. } = options;

    let batching = Batching::Of { batch_size, n_samples: n };
    let plain = SgdStabilityConfig::new(lr).with_batching(batching);
    let heavy = SgdStabilityConfig::new(lr * (1.0 - momentum))
        .with_momentum(momentum)
        .with_batching(batching);
    let momentum_config = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
    let with_momentum = SgdConfig::new().with_momentum(Some(momentum_config));
    let mut series = Vec::new();
    for (name, optimizer, edge, color) in [
        ("SGD".to_string(), SgdConfig::new(), plain, VERMILLION),
        (format!("momentum {momentum}"), with_momentum, heavy, BLUE),
    ] {
        let edge = edge.init()?;
        let (rate, threshold) = (rounded(edge.learning_rate()), rounded(edge.threshold()));
        println!("{name}, η = {rate}: {} against {threshold}", edge.quantity());
        let run = follow(&options, &optimizer, &edge, model.clone(), &data, n)?;
        let name = format!("{name}, η = {rate}, edge at {threshold}");
        let curve = |what: &str, look, points| {
            Series::curve(format!("{name}: {what}"), color, look, points)
        };
        series.push(curve("batch sharpness", Look::Line, run.batch_sharpness));
        series.push(curve("mini-batch λmax", Look::Dashes, run.minibatch_sharpness));
        println!();
    }
    let chart = Chart {
        title: format!(
            "digits, {n} samples, squared error, batches of {batch_size}: distance to the edge"
        ),
        x_label: "training step".into(),
        y_label: "sharpness / threshold of the optimizer".into(),
        is_logarithmic: false,
        mark: Some((1.0, "edge of stability".into())),
        series,
    };
    chart.save(&options.out, "edge")?;
    println!("Picture: {}", options.out.join("edge.svg").display());
    Ok(())
}

/// Trains and measures; prints ten lines.
fn follow(
    options: &Options,
    optimizer: &SgdConfig,
    edge: &Stability,
    mut model: Mlp,
    data: &Batch,
    n: usize,
) -> Result<Run> {
    let Options { batch_size, num_batches, seed, every, .. } = *options;
    let ratio = BatchSharpnessConfig::new(batch_size).with_num_batches(num_batches);
    let mut batch_sharpness = ratio.with_seed(seed).init(loss);
    let top = MiniBatchSharpnessConfig::new(batch_size).with_num_batches(num_batches.div_ceil(4));
    let mut minibatch_sharpness = top.with_seed(seed.wrapping_add(1)).init(loss);
    let mut training = Training::new(optimizer, edge.learning_rate(), (n, batch_size), seed)?;
    let mut detector = PhaseDetectorConfig::new().init()?;
    let mut run = Run { batch_sharpness: Vec::new(), minibatch_sharpness: Vec::new() };
    println!("{:>8}{:>18}{:>14}{:>14}  phase", "step", "ratio", "λmax ratio", "largest η");
    let n_measurements = options.steps / every.max(1) + 1;
    for row in 0..n_measurements {
        let step = row * every;
        let measured = batch_sharpness.measure(&model, data)?.estimate;
        let (ratio, value) = (edge.ratio_of(&measured)?, measured.mean);
        let top = edge.ratio(minibatch_sharpness.measure(&model, data)?.estimate.mean)?;
        let phase = detector.push(step, value, edge.threshold())?;
        run.batch_sharpness.push((step as f64, ratio.mean));
        run.minibatch_sharpness.push((step as f64, top));
        if row % n_measurements.div_ceil(10) == 0 || row + 1 == n_measurements {
            let rate = rounded(edge.largest_learning_rate(value)?);
            let (mean, error) = (ratio.mean, ratio.standard_error);
            println!("{step:>8}{mean:>11.3} ± {error:.3}{top:>14.3}{rate:>14}  {}", words(&phase));
        }
        if row + 1 < n_measurements {
            model = training.run(model, data, every)?;
        }
    }
    Ok(run)
}

fn words(phase: &Phase) -> String {
    match phase {
        Phase::Sharpening { since, .. } => format!("sharpening since step {since}"),
        Phase::Flattening { since, .. } => format!("flattening since step {since}"),
        Phase::Plateau { since, ratio, .. } => {
            format!("plateau since step {since} at {:.3} ± {:.3}", ratio.mean, ratio.standard_error)
        }
        Phase::Unstable { since } => format!("unstable since step {since}"),
        _ => "too few measurements to tell".to_string(),
    }
}
