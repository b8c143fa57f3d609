//! The edge of stochastic stability of fully connected networks: figures 1, 2 and 18 to 21 of the paper.
//!
//! `cargo run --release --example eoss_mlp`, and `-- --help` for the options.

#[path = "support/experiment/mod.rs"]
mod experiment;
#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;

use experiment::eoss::{self, EossOptions, Preset};
use experiment::images::Architecture;
use support::error::{ExampleError, Result};

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train an MLP by plain SGD and watch its sharpness settle at the edge of stochastic stability.
///
/// While a network is trained with step size η, the curvature of its loss rises ("progressive sharpening") until
/// mini-batch sharpness, the mean over mini-batches of the largest eigenvalue of the mini-batch Hessian, is at or
/// just above 2/η, and stays there; full-batch sharpness stays below (arXiv 2412.20553). Without options this takes
/// about two minutes on the built-in digits; with --path it is the paper's setting on CIFAR-10.
///
/// Everything random follows from --seed. Measuring does not change the training. A run that was stopped goes on
/// when it is started again.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    eoss: EossOptions,

    /// Widths of the hidden layers, separated by commas; the paper's MLP_L is 512,512,512,512
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
}

fn main() -> ExitCode {
    support::error::report(run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let quick = options.eoss.images.is_quick();
    let hidden = options.hidden.clone().unwrap_or(vec![if quick { 128 } else { 512 }; 2]);
    if hidden.contains(&0) {
        let (option, value, expected) = ("hidden", "0".to_string(), "at least 1");
        return Err(ExampleError::Option { option, value, expected });
    }
    let architecture = Architecture::Mlp { hidden };
    let preset = match quick {
        true => Preset {
            architecture,
            lrs: vec![0.125],
            batch_sizes: vec![8, 32, 128],
            steps: 20_000,
            init_scale: 0.2,
            every: 200,
            full_once_in: 1,
            live_every: 25,
            num_batches: 16,
        },
        false => Preset {
            architecture,
            lrs: vec![0.01],
            batch_sizes: vec![8, 16, 64, 256, 1024],
            steps: 150_000,
            init_scale: 0.2,
            every: 1000,
            full_once_in: 6,
            live_every: 100,
            num_batches: 8,
        },
    };
    eoss::run("eoss_mlp", &options.eoss, preset)
}
