//! Mini-batch sharpness, the whole measurement: `cargo bench --bench minibatch`.
//!
//! The mean over 16 mini-batches of λ_max, each to a residual of 1%, at initialization and after
//! 500 steps of training, beside one gradient of one such batch. `benches/peers` measures the same
//! in JAX and PyTorch. `-- --rel-tol 1e-3 --num-batches 128` counts what the default tolerance misses.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_sharpness::estimator::{
    Draws, MiniBatchSharpnessConfig, MiniBatchSharpnessMeasurement, Sampling, draw_batches,
};
use clap::Parser;
use serde::Serialize;
use support::clock::{median, minimum, threads, time};
use support::learnable::{self, SAMPLES};
use support::{Batch, Case, Loss, Mlp};

/// Times one gradient and mini-batch sharpness, with and without a start from the last one.
#[derive(Parser)]
struct Options {
    /// Rounds per batch size and weights.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Batch sizes, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 32, 128])]
    batches: Vec<usize>,
    /// Mini-batches of a measurement.
    #[arg(long, default_value_t = 16)]
    num_batches: usize,
    /// Residual at which a batch is done, relative to its eigenvalue.
    #[arg(long, default_value_t = 1e-2)]
    rel_tol: f64,
    /// Also writes every measured time to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the trained weights (or reads those of an earlier run) and the batches to this
    /// folder: other programs measure the same.
    #[arg(long)]
    weights_dir: Option<PathBuf>,
    /// Passed by `cargo bench`; without it (`cargo test --benches`) one short round runs.
    #[arg(long, hide = true)]
    bench: bool,
}

const LOSS: Loss = Loss::CrossEntropy;
const SEED: u64 = 0;

/// Training: steps, batch size, learning rate.
const STEPS: usize = 500;
const TRAINING_BATCH: usize = 32;
const LEARNING_RATE: f64 = 0.02;

/// A pair with a residual of 1% is off by less than this, unless it is not the top one.
const MISSED: f64 = 5e-3;

/// What a round measures, in this order.
const PARTS: [&str; 3] = ["gradient", "cold", "warm"];

/// Batch size and weights: what was found, and the times in milliseconds.
#[derive(Serialize)]
struct Measured {
    weights: &'static str,
    batch: usize,
    /// λ_max of each batch to a residual of 10⁻⁴: what the values of all programs must be near.
    tight: Vec<f64>,
    found: BTreeMap<&'static str, Found>,
    times_ms: BTreeMap<&'static str, Vec<f64>>,
}

/// One measurement of all batches.
#[derive(Serialize)]
struct Found {
    values: Vec<f64>,
    hvps: usize,
    /// The largest ‖Hv − λv‖/|λ| of a batch.
    residual: f64,
}

#[derive(Serialize)]
struct Report {
    framework: &'static str,
    version: &'static str,
    threads: usize,
    cases: Vec<Measured>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse();
    if !options.bench {
        (options.rounds, options.batches, options.num_batches) = (1, vec![8], 1);
    }
    let device = Device::flex().autodiff();
    let data = learnable::samples(SAMPLES, &device);
    let steps = if options.bench { STEPS } else { 5 };
    let folder = options.weights_dir.as_deref();
    let trained = trained(folder, &data, steps)?;
    let indices = options.batches.iter().map(|&b| Ok((b, indices(b, options.num_batches)?)));
    let indices = indices.collect::<burn_sharpness::Result<BTreeMap<_, _>>>()?;
    if let Some(folder) = folder {
        fs::write(folder.join("batches.json"), serde_json::to_string(&indices)?)?;
    }
    let threads = threads();
    println!("threads: {threads}, rounds: {}, times in ms: median (minimum)", options.rounds);
    println!("{}", header());
    let mut cases = Vec::new();
    for (weights, model) in [("init", Mlp::new(&device)), ("trained", trained)] {
        for (&batch, indices) in &indices {
            let first = learnable::select(&data, &indices[0]);
            let config = config(batch, options.num_batches).with_rel_tol(options.rel_tol);
            let (found, times_ms) = measure(&model, &data, first, &config, options.rounds)?;
            let tight = if options.bench { 1e-4 } else { 1e-2 };
            let tight = config.with_rel_tol(tight).with_max_applies(500);
            let tight = tight.init(LOSS.function()).measure(&model, &data)?.values;
            let measured = Measured { weights, batch, tight, found, times_ms };
            println!("{}", row(&measured));
            cases.push(measured);
        }
    }
    if let Some(path) = options.json {
        let (framework, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let report = Report { framework, version, threads, cases };
        fs::write(path, serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// The trained network: from `folder` when an earlier run left it there, so that all runs measure
/// at the same weights.
fn trained(folder: Option<&Path>, data: &Batch, steps: usize) -> std::io::Result<Mlp> {
    let device = data.0.device();
    let file = folder.map(|folder| folder.join("trained.f32"));
    if let Some(file) = file.as_deref().filter(|file| file.exists()) {
        return learnable::read(file, &device);
    }
    let model = Mlp::new(&device);
    let model = learnable::train(model, data, LOSS, TRAINING_BATCH, LEARNING_RATE, 0..steps);
    let loss = |batch| LOSS.function()(&model, batch).into_scalar::<f64>();
    println!("loss of all samples after {steps} steps: {:.3}", loss(data.clone()));
    if let Some(file) = file {
        learnable::write(&model, &file)?;
    }
    Ok(model)
}

fn config(batch_size: usize, num_batches: usize) -> MiniBatchSharpnessConfig {
    MiniBatchSharpnessConfig::new(batch_size)
        .with_num_batches(num_batches)
        .with_sampling(Sampling::WithoutReplacement)
        .with_draws(Draws::Fixed)
        .with_seed(SEED)
}

/// The batches that every measurement draws.
fn indices(batch_size: usize, num_batches: usize) -> burn_sharpness::Result<Vec<Vec<usize>>> {
    draw_batches(Sampling::WithoutReplacement, SAMPLES, batch_size, num_batches, SEED, 0)
}

type Times = BTreeMap<&'static str, Vec<f64>>;

/// Cold is a new estimator: every batch starts from its gradient and a random vector. Warm is the next
/// measurement of the same estimator, which adds an eigenvector of the first. The loss is compiled in both: the first round is not counted.
fn measure(
    model: &Mlp,
    data: &Batch,
    first: Batch,
    config: &MiniBatchSharpnessConfig,
    rounds: usize,
) -> burn_sharpness::Result<(BTreeMap<&'static str, Found>, Times)> {
    let case = Case::of(LOSS, model.clone(), first);
    let mut found = BTreeMap::new();
    let mut times_ms = Times::new();
    for round in 0..=rounds {
        let mut estimator = config.init(LOSS.function());
        let gradient = time(|| case.gradient());
        let cold = estimator.measure(model, data)?;
        let warm = estimator.measure(model, data)?;
        if round > 0 {
            let milliseconds =
                |measured: &MiniBatchSharpnessMeasurement| measured.elapsed.as_secs_f64() * 1e3;
            let times = [gradient, milliseconds(&cold), milliseconds(&warm)];
            for (part, time) in PARTS.into_iter().zip(times) {
                times_ms.entry(part).or_default().push(time);
            }
        }
        found.insert("cold", Found::of(&cold));
        found.insert("warm", Found::of(&warm));
    }
    Ok((found, times_ms))
}

impl Found {
    fn of(measured: &MiniBatchSharpnessMeasurement) -> Self {
        let pairs = measured.residual_norms.iter().zip(&measured.values);
        let residual = pairs.map(|(norm, value)| norm / value.abs()).fold(0.0, f64::max);
        Self { values: measured.values.clone(), hvps: measured.n_hvps, residual }
    }

    fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The largest relative distance of a value from its counterpart.
    fn error(&self, tight: &[f64]) -> f64 {
        let pairs = self.values.iter().zip(tight);
        pairs.map(|(value, tight)| (value / tight - 1.0).abs()).fold(0.0, f64::max)
    }

    /// Batches that are off by more than [`MISSED`]: another eigenvalue was found than the top one.
    fn missed(&self, tight: &[f64]) -> usize {
        let pairs = self.values.iter().zip(tight);
        pairs.filter(|(value, tight)| (*value / *tight - 1.0).abs() > MISSED).count()
    }
}

fn header() -> String {
    format!(
        "{:>8} {:>5} {:>15} {:>17} {:>17} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "weights",
        "batch",
        PARTS[0],
        PARTS[1],
        PARTS[2],
        "products",
        "warm",
        "mean",
        "residual",
        "error",
        "missed"
    )
}

fn row(measured: &Measured) -> String {
    let Measured { weights, batch, tight, found, times_ms } = measured;
    let time = |part| {
        let times = &times_ms[part];
        format!("{:.1} ({:.1})", median(times), minimum(times))
    };
    let [gradient, cold, warm] = PARTS.map(time);
    let (first, second) = (&found["cold"], &found["warm"]);
    format!(
        "{weights:>8} {batch:>5} {gradient:>15} {cold:>17} {warm:>17} {:>9} {:>9} {:>9.4} {:>9.1e} \
         {:>9.1e} {:>9}",
        first.hvps,
        second.hvps,
        first.mean(),
        first.residual.max(second.residual),
        first.error(tight).max(second.error(tight)),
        format!("{}+{}", first.missed(tight), second.missed(tight)),
    )
}
