//! The monitor inside burn-train's `SupervisedTraining`, with its dashboard: how far a training on digits is
//! from the edge of stability, live.
//!
//! `cargo run --release --features train,tui --example supervised`, and `-- --help`. Without a terminal, or with
//! `--headless`, it prints a line per measurement instead.

mod plain;
#[path = "../support/mod.rs"]
mod support;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::optim::SgdConfig;
use burn::tensor::{Device, Tensor};
use burn_sharpness::observe::{Budget, Measure, Row};
use burn_sharpness::prelude::*;
use burn_sharpness::train::{Monitored, SharpnessMetric};
use burn_train::metric::{AccuracyMetric, LossMetric};
use burn_train::{
    ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
};
use clap::Parser;

use support::digits;
use support::error::Result;
use support::mlp::{Batch, Mlp, loss, select, squared_error};

/// Trains a network on digits by plain SGD and shows where its sharpness is.
#[derive(Parser)]
struct Options {
    /// Print lines instead of the dashboard.
    #[arg(long)]
    headless: bool,
    /// Passes through the training set.
    #[arg(long, default_value_t = 160)]
    epochs: usize,
    /// Learning rate η.
    #[arg(long, default_value_t = 0.125)]
    lr: f64,
    /// Samples per mini-batch.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Time that measurements may take, in percent of the training.
    #[arg(long, default_value_t = 10.0)]
    percent: f64,
    /// End the training when the ratio stays above this.
    #[arg(long, default_value_t = 3.0)]
    stop: f64,
}

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// What every user of burn-train writes: a step for training and validation, and a batcher.

impl TrainStep for Mlp {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = InferenceStep::step(self, batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Mlp {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, (features, one_hot): Batch) -> ClassificationOutput {
        let outputs = self.forward(features);
        let loss = squared_error(outputs.clone(), one_hot.clone());
        ClassificationOutput::new(loss, outputs, one_hot.argmax(1).squeeze_dim(1))
    }
}

/// Batches of these samples.
struct Samples(Batch);

impl Batcher<usize, Batch> for Samples {
    fn batch(&self, samples: Vec<usize>, device: &Device) -> Batch {
        let (features, one_hot) = select(&self.0, &samples);
        (features.to_device(device), one_hot.to_device(device))
    }
}

fn loader(data: &Batch, batch_size: usize) -> Arc<dyn DataLoader<Batch>> {
    let samples = InMemDataset::new((0..data.0.dims()[0]).collect());
    DataLoaderBuilder::new(Samples(data.clone())).batch_size(batch_size).shuffle(0).build(samples)
}

fn run(options: &Options) -> Result<()> {
    let Options { epochs, lr: eta, batch_size, .. } = *options;
    let device = Device::flex();
    let (features, one_hot) = digits::load(None)?.tensors(&device);
    let part = |x: &Tensor<2>, start, length| x.clone().narrow(0, start, length);
    let data = (part(&features, 0, 1500), part(&one_hot, 0, 1500));
    let held_out = (part(&features, 1500, 297), part(&one_hot, 1500, 297));
    let (train, valid) = (loader(&data, batch_size), loader(&held_out, 297));
    let model = Mlp::new(&[64, 128, 128, 10], 0.2, 0, &device.autodiff());
    let headless = options.headless || !std::io::stdout().is_terminal();

    let config = SharpnessMonitorConfig::new(batch_size);
    let config = config.with_budget(Budget::Time(options.percent / 100.0));
    let mut monitor = config.init(loss)?;
    if headless {
        monitor = monitor.with_sink(print);
    }
    let mut training = SupervisedTraining::new("out/supervised", train, valid)
        .metric_train_numeric(LossMetric::new())
        .metric_train_numeric(SharpnessMetric::ratio())
        .metric_train_numeric(SharpnessMetric::of(Measure::MiniBatchSharpness))
        .metric_train_numeric(SharpnessMetric::overhead())
        .metric_train_numeric(AccuracyMetric::new())
        .metric_valid_numeric(AccuracyMetric::new())
        .num_epochs(epochs);
    if headless {
        training = training.renderer(Box::new(plain::Plain));
    }
    let model = Monitored::new(model, monitor, data);
    let model = model.stop_beyond(options.stop, 5, training.interrupter());
    let result = training.launch(Learner::new(model, SgdConfig::new().init(), eta));

    let history = result.model.history();
    history.write("out/supervised/history.jsonl".as_ref())?;
    if let Some(stopped) = result.interrupted.and_then(|stopped| stopped.reason) {
        println!("stopped: {stopped}");
    }
    if let Some(error) = result.model.error() {
        println!("a measurement failed: {error}");
    }
    println!("{} rows in out/supervised/history.jsonl", history.rows().len());
    Ok(())
}

fn print(row: &Row) -> burn_sharpness::Result<()> {
    let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
    println!(
        "epoch {:>3}, step {:>6}: {:>5} of the edge, mini-batch sharpness {:>6}, cost {}%",
        row.epoch.unwrap_or(0),
        row.step,
        number(row.ratio()),
        number(row.mean(&Measure::MiniBatchSharpness)),
        number(row.cost.overhead.map(|overhead| 100.0 * overhead)),
    );
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
