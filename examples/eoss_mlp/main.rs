//! The edge of stochastic stability on real data: a network with two hidden layers is trained by
//! plain SGD, and mini-batch sharpness rises to 2/η and stays at or just above it.
//!
//! `cargo run --release --example eoss_mlp`, and `-- --help` for the options.

mod history;
mod model;
mod monitors;
mod options;
mod picture;
mod progress;
mod summary;
#[path = "../support/mod.rs"]
mod support;
mod training;

use std::process::ExitCode;

use burn::module::Module;
use burn_sharpness::plot::rounded;
use clap::Parser;

use history::History;
use options::{DataName, Options, Settings};
use support::error::{ExampleError, Result};
use support::{Dataset, cifar10, digits};
use training::Cost;

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Options::parse().settings().and_then(|settings| run(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> Result<()> {
    let data = load(settings)?;
    let device = settings.device.open()?.autodiff();
    let model = training::initial_model(settings, [data.n_features, data.n_classes], &device);
    let mut history = History::start(settings, &data.description, model.num_params())?;
    println!("data:    {}", data.description);
    println!("loss:    {}", settings.loss.description());
    println!("network: {} parameters on {}", model.num_params(), settings.device.name());
    println!(
        "SGD:     η = {}, 2/η = {}, batches of {}, {} steps, seed {}",
        settings.lr,
        rounded(settings.threshold()),
        settings.batch_size,
        settings.steps,
        settings.seed
    );

    let data = data.tensors(&device);
    let mut cost = Cost::default();
    let trained = training::train(settings, model, &data, &mut history, &mut cost);
    // Whatever happened: what was measured is worth a table and a picture.
    if !history.measurements.is_empty() {
        summary::print(settings, &history, cost);
    }
    let drawn = picture::save(settings, &history)?;
    let picture = if drawn { ", sharpness.png, sharpness.svg" } else { "" };
    println!(
        "In {}: settings.json, measurements.csv, batches.csv, live.csv{picture}",
        settings.out.display()
    );
    trained
}

fn load(settings: &Settings) -> Result<Dataset> {
    match (settings.data, &settings.path) {
        (DataName::Digits, _) => digits::load(Some(settings.samples)),
        (DataName::Cifar10, Some(path)) => cifar10::load(path, settings.samples),
        (DataName::Cifar10, None) => Err(ExampleError::NoPath),
    }
}
