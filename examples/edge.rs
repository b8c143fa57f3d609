//! How far from the edge of stability each optimizer is: digits are trained by plain SGD and by SGD with
//! momentum, and batch sharpness is compared with each one's own threshold while they train.
//!
//! What you see: with momentum batch sharpness settles at the edge or just above it, with plain SGD somewhat below;
//! mini-batch sharpness, its upper bound, is above the edge for both. The table has the phase of the run and the
//! largest learning rate that is stable at the measured curvature, too.
//!
//! `cargo run --release --example edge`, and `-- --help` for the options.

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;

use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use burn_sharpness::plot::{Chart, Look, Series, rounded};
use burn_sharpness::prelude::*;
use burn_sharpness::stability::{Batching, Phase, PhaseDetectorConfig};
use burn_sharpness::stability::{SgdStabilityConfig, Stability};
use clap::Parser;

use support::device::Common;
use support::digits;
use support::error::Result;
use support::mlp::{Batch, Mlp, Training, loss};

/// Distance to the edge of stability.
#[derive(Parser)]
struct Options {
    /// Steps of each optimizer.
    #[arg(long, default_value_t = 24_000)]
    steps: usize,
    /// Steps between measurements.
    #[arg(long, default_value_t = 300)]
    every: usize,
    /// Step size η of plain SGD; that of momentum is η(1 − β), which moves as far.
    #[arg(long, default_value_t = 0.25)]
    lr: f64,
    /// Momentum β (heavy ball).
    #[arg(long, default_value_t = 0.9)]
    momentum: f64,
    /// Samples per batch, in training and in the measurements.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    #[command(flatten)]
    common: Common,
    /// Folder of the picture.
    #[arg(long, default_value = "out/edge")]
    out: PathBuf,
}

/// Steps and values.
type Points = Vec<(f64, f64)>;

fn main() -> Result<()> {
    let options = Options::parse();
    let device = options.common.device.open()?.autodiff();
    let data = digits::load(None)?;
    let (n, widths) = (data.len(), [data.n_features, 64, 48, data.n_classes]);
    let data = data.tensors(&device);
    let model = Mlp::new(&widths, 0.3, options.common.seed, &device);
    let Options { lr, momentum, batch_size, .. } = options;
    let batching = Batching::Of { batch_size, n_samples: n };
    let mut series = Vec::new();
    for (style, (name, rate, beta)) in [
        ("SGD".to_string(), lr, 0.0),
        (format!("momentum {momentum}"), lr * (1.0 - momentum), momentum),
    ]
    .into_iter()
    .enumerate()
    {
        let edge = SgdStabilityConfig::new(rate).with_momentum(beta);
        let edge = edge.with_batching(batching).init()?;
        let heavy_ball = MomentumConfig::new().with_momentum(beta).with_dampening(0.0);
        let optimizer = SgdConfig::new().with_momentum(Some(heavy_ball));
        let (rate, threshold) = (rounded(edge.learning_rate()), rounded(edge.threshold()));
        println!("{name}, η = {rate}: {} against {threshold}", edge.quantity());
        let [ratios, tops] = follow(&options, &optimizer, &edge, model.clone(), &data)?;
        let name = format!("{name}, η = {rate}, edge at {threshold}");
        let batch_sharpness = format!("{name}: batch sharpness");
        series.push(Series::curve(batch_sharpness, style, Look::Line, &ratios));
        series.push(Series::curve(format!("{name}: mini-batch λmax"), style, Look::Thin, &tops));
        println!();
    }
    let line = [(0.0, 1.0), (options.steps as f64, 1.0)];
    series.push(Series::curve("edge of stability", 0, Look::Reference, &line));
    let chart = Chart {
        title: format!("digits, {n} samples, squared error, batches of {batch_size}"),
        x_name: "training step".into(),
        y_name: "sharpness / threshold of the optimizer (1 = edge)".into(),
        is_logarithmic: false,
        series,
    };
    chart.picture()?.save(&options.out, "edge")?;
    println!("Picture: {}", options.out.join("edge.svg").display());
    Ok(())
}

/// Trains and measures: the ratios of batch and of mini-batch sharpness to the threshold. Prints some of them.
fn follow(
    options: &Options,
    optimizer: &SgdConfig,
    edge: &Stability,
    mut model: Mlp,
    data: &Batch,
) -> Result<[Points; 2]> {
    let (batch_size, every, seed) = (options.batch_size, options.every, options.common.seed);
    let sizes = (data.0.dims()[0], batch_size);
    let mut batch_sharpness = BatchSharpnessConfig::new(batch_size).with_seed(seed).init(loss);
    let top = MiniBatchSharpnessConfig::new(batch_size).with_num_batches(16);
    let mut minibatch_sharpness = top.with_seed(seed.wrapping_add(1)).init(loss);
    let mut training = Training::new(optimizer, edge.learning_rate(), sizes, seed)?;
    let mut detector = PhaseDetectorConfig::new().init()?;
    let (mut ratios, mut tops) = (Points::new(), Points::new());
    println!("{:>8}{:>18}{:>14}{:>14}  phase", "step", "ratio", "λmax ratio", "largest η");
    let n_measurements = options.steps / every.max(1) + 1;
    for row in 0..n_measurements {
        let step = row * every;
        let measured = batch_sharpness.measure(&model, data)?.estimate;
        let ratio = edge.ratio_of(&measured)?;
        let top = edge.ratio(minibatch_sharpness.measure(&model, data)?.estimate.mean)?;
        let phase = detector.push(step, measured.mean, edge.threshold())?;
        ratios.push((step as f64, ratio.mean));
        tops.push((step as f64, top));
        if row % n_measurements.div_ceil(10) == 0 || row + 1 == n_measurements {
            let rate = rounded(edge.largest_learning_rate(measured.mean)?);
            print!("{step:>8}{:>11.3} ± {:.3}", ratio.mean, ratio.standard_error);
            println!("{top:>14.3}{rate:>14}  {}", words(&phase));
        }
        if row + 1 < n_measurements {
            model = training.run(model, data, every)?;
        }
    }
    Ok([ratios, tops])
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
