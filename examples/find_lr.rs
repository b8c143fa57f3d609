//! The largest stable learning rate by measurement, and by trying: digits are trained for a while, the finder
//! looks at the curvature there, and training goes on from there with a range of learning rates.
//!
//! What you see: for each optimizer the rate that the finder gives with its interval, then a row for each rate of
//! a sweep around it. Below the found rate the loss goes on falling; some way above it, it is thrown back or
//! diverges.
//!
//! `cargo run --release --example find_lr`, and `-- --help` for the options.

#[path = "support/mod.rs"]
mod support;

use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use burn_sharpness::observe::LearningRateFinderConfig;
use burn_sharpness::plot::rounded;
use burn_sharpness::prelude::*;
use clap::Parser;

use support::device::Common;
use support::digits;
use support::error::{ExampleError, Result};
use support::mlp::{Batch, Mlp, Training, loss};

/// The largest stable learning rate, and a sweep around it.
#[derive(Parser)]
struct Options {
    /// SGD steps before the search, at the rate `warm_up_lr`.
    #[arg(long, default_value_t = 500)]
    warm_up: usize,
    /// Learning rate before the search.
    #[arg(long, default_value_t = 0.02)]
    warm_up_lr: f64,
    /// Steps of each rate of the sweep.
    #[arg(long, default_value_t = 60)]
    steps: usize,
    /// Samples per batch.
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    /// Momentum of the second optimizer (heavy ball).
    #[arg(long, default_value_t = 0.9)]
    momentum: f64,
    #[command(flatten)]
    common: Common,
}

/// Rates of the sweep, in units of the rate that was found.
const FACTORS: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

fn main() -> Result<()> {
    let options = Options::parse();
    let device = options.common.device.open()?.autodiff();
    let data = digits::load(None)?;
    let (n, widths) = (data.len(), [data.n_features, 64, 48, data.n_classes]);
    let data = data.tensors(&device);
    let Options { batch_size, warm_up, warm_up_lr, .. } = options;
    let seed = options.common.seed;
    let model = Mlp::new(&widths, 0.5, seed, &device);
    let mut training = Training::new(&SgdConfig::new(), warm_up_lr, (n, batch_size), seed)?;
    let model = training.run(model, &data, warm_up)?;
    let before = loss(&model, data.clone()).into_scalar::<f64>();
    println!(
        "digits, {n} samples, batches of {batch_size}, after {warm_up} steps: loss {before:.4}"
    );

    let batching = Batching::Of { batch_size, n_samples: n };
    let finder = LearningRateFinderConfig::new(batch_size).with_seed(seed).init(loss);
    let mut holds = true;
    for beta in [0.0, options.momentum] {
        let edge = SgdStabilityConfig::new(warm_up_lr).with_momentum(beta);
        let edge = edge.with_batching(batching).init()?;
        let found = finder.find(&model, &data, &edge)?;
        let (low, high) = found.interval;
        println!(
            "\nSGD with momentum {beta}: {} = {}, so the largest stable rate is {} ({} to {})",
            found.quantity,
            found.value,
            rounded(found.learning_rate),
            rounded(low),
            rounded(high)
        );
        println!("{:>12}{:>10}{:>24}{:>22}", "of the rate", "η", "largest loss", "loss after");
        let heavy_ball = MomentumConfig::new().with_momentum(beta).with_dampening(0.0);
        let optimizer = SgdConfig::new().with_momentum((beta > 0.0).then_some(heavy_ball));
        for factor in FACTORS {
            let lr = factor * found.learning_rate;
            let (largest, after) = sweep(&options, &optimizer, lr, model.clone(), &data)?;
            println!(
                "{factor:>12}{:>10}{:>17} × before{:>15} × before",
                rounded(lr),
                rounded(largest / before),
                rounded(after / before)
            );
            // A quarter of the edge is calm, four times the edge is not.
            holds &= factor > 0.25 || after < before;
            holds &= factor < 4.0 || largest > 2.0 * before;
        }
    }
    println!(
        "\nStable at a quarter of the rate that was found, thrown back at four times it: {}",
        if holds { "holds" } else { "does not hold" }
    );
    Ok(())
}

/// Trains on at `lr`: the largest loss of all data on the way, and the last.
fn sweep(
    options: &Options,
    optimizer: &SgdConfig,
    lr: f64,
    mut model: Mlp,
    data: &Batch,
) -> Result<(f64, f64)> {
    let sizes = (data.0.dims()[0], options.batch_size);
    let mut training = Training::new(optimizer, lr, sizes, options.common.seed)?;
    let mut largest = 0.0f64;
    for _ in 0..options.steps {
        model = match training.run(model, data, 1) {
            Ok(model) => model,
            Err(ExampleError::Diverged { .. }) => return Ok((f64::INFINITY, f64::INFINITY)),
            Err(error) => return Err(error),
        };
        largest = largest.max(loss(&model, data.clone()).into_scalar::<f64>());
    }
    let after = loss(&model, data.clone()).into_scalar::<f64>();
    let finite = |value: f64| if value.is_finite() { value } else { f64::INFINITY };
    Ok((finite(largest), finite(after)))
}
