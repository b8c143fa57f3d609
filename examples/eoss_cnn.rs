//! The edge of stochastic stability of convolutional networks: figures 2, 22 and 23 of the paper.
//!
//! `cargo run --release --example eoss_cnn`, and `-- --help` for the options.

#[path = "support/experiment/mod.rs"]
mod experiment;
#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;

use experiment::eoss::{self, EossOptions, Preset};
use experiment::images::Architecture;

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train a CNN by plain SGD and watch its sharpness settle at the edge of stochastic stability.
///
/// With --path the paper's CNN on CIFAR-10: 3×3 convolutions with 64, 64 and 128 channels, two max pools, a fully
/// connected layer of 512. Without it, a small one on digits whose pixels are doubled in both directions. See
/// `eoss_mlp` for what is measured.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    eoss: EossOptions,
}

fn main() -> ExitCode {
    let options = Options::parse().eoss;
    let preset = match options.images.is_quick() {
        true => Preset {
            architecture: Architecture::Cnn { channels: [8, 16], hidden: 64 },
            lrs: vec![0.1],
            batch_sizes: vec![8, 32],
            steps: 4000,
            init_scale: 0.5,
            every: 100,
            full_once_in: 2,
            live_per_row: 10,
            num_batches: 8,
        },
        false => Preset {
            architecture: Architecture::Cnn { channels: [64, 128], hidden: 512 },
            lrs: vec![0.02],
            batch_sizes: vec![8, 32, 128],
            steps: 100_000,
            init_scale: 0.3,
            every: 1000,
            full_once_in: 2,
            live_per_row: 10,
            num_batches: 8,
        },
    };
    support::error::report(eoss::run("eoss_cnn", &options, preset))
}
