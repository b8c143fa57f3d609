//! The spectrum of a trained network: top eigenvalues, λ_min, trace and density of the Hessian of all
//! samples and of its Gauss-Newton part.
//!
//! `cargo run --release --example spectrum` (under a minute on two cores), and `-- --help`.
//!
//! What you see: nearly all eigenvalues at zero; a long tail of single ones whose largest, a dozen, have
//! gathered at the edge, 2/η; a negative side that the Hessian has and its Gauss-Newton part does not
//! (what its curve shows left of zero is the width of the kernel, under thousands of eigenvalues).

mod measured;
mod network;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use burn_sharpness::operator::{GaussNewtonOperator, HessianOperator, LinearOperator};
use burn_sharpness::plot::{self, Density, rounded};
use clap::Parser;

use measured::{Measured, measure, print};
use network::{Network, loss, loss_of_outputs};
use support::device::DeviceName;
use support::digits;
use support::error::Result;

/// Trains a network on digits and measures the spectrum of its curvature.
#[derive(Parser)]
struct Options {
    /// Where to compute; others than flex need the feature of the same name.
    #[arg(long, value_enum, default_value = "flex")]
    device: DeviceName,
    /// Samples of digits: the full batch.
    #[arg(long, default_value_t = 1000)]
    samples: usize,
    /// Steps of gradient descent on all samples.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Learning rate η.
    #[arg(long, default_value_t = 0.2)]
    lr: f64,
    /// Eigenvalues that are found one by one.
    #[arg(long, default_value_t = 12)]
    top: usize,
    /// Random vectors of the density, each with 96 products.
    #[arg(long, default_value_t = 8)]
    probes: usize,
    /// Seed of parameters and random vectors.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the picture.
    #[arg(long, default_value = "out")]
    out: PathBuf,
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

fn run(options: &Options) -> Result<()> {
    let device = options.device.open()?.autodiff();
    device.seed(options.seed);
    let data = digits::load(Some(options.samples))?;
    println!("data:    {}", data.description);
    let batch = data.tensors(&device);
    let model = Network::new(data.n_features, data.n_classes, &device);
    let model = network::train(model, &batch, options.lr, options.steps)?;

    let hessian = HessianOperator::new(&model, batch.clone(), loss)?;
    let outputs = |model: &Network, (x, _)| model.forward(x);
    let gauss_newton = GaussNewtonOperator::new(&model, batch, outputs, loss_of_outputs)?;
    let threshold = 2.0 / options.lr;
    println!(
        "network: {} parameters, loss {:.4} after {} steps of gradient descent, η = {}, 2/η = {}",
        hessian.dim(),
        hessian.loss(),
        options.steps,
        options.lr,
        rounded(threshold)
    );
    let measured =
        [measure("Hessian", &hessian, options)?, measure("Gauss-Newton", &gauss_newton, options)?];
    println!("± residual: some eigenvalue is that near, to the rounding of f32 (about 1e-7 of λ1)");
    measured.iter().for_each(print);

    let title = format!(
        "digits, {} samples, {} parameters, squared error, {} steps of gradient descent, η = {}",
        options.samples,
        hessian.dim(),
        options.steps,
        options.lr
    );
    let density = |m: &Measured| {
        let found = m.top.iter().chain([&m.least]).map(|pair| pair.value).collect();
        Density::new(m.name, &m.density).with_dim(hessian.dim()).with_eigenvalues(found)
    };
    let picture = plot::densities(&measured.each_ref().map(density), Some(threshold))?;
    picture.with_title(title).save(&options.out, "spectrum")?;
    println!("\nIn {}: spectrum.png, spectrum.svg", options.out.display());
    Ok(())
}
