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

    /// Channels of the first two convolutions and of the third, and width of the fully connected layer
    /// [default: 8,16,64; CIFAR-10: 64,128,512]
    #[arg(long, value_name = "SIZES", value_parser = eoss::three_sizes)]
    sizes: Option<[usize; 3]>,
}

fn main() -> ExitCode {
    let Options { eoss: options, sizes } = Options::parse();
    let small = if options.images.is_quick() { [8, 16, 64] } else { [64, 128, 512] };
    let [first, third, hidden] = sizes.unwrap_or(small);
    let architecture = Architecture::Cnn { channels: [first, third], hidden };
    let preset = match options.images.is_quick() {
        true => Preset {
            architecture,
            lrs: vec![0.1],
            batch_sizes: vec![8, 32],
            steps: 2500,
            init_scale: 0.5,
            every: 100,
            full_once_in: 2,
            live_every: 50,
            num_batches: 8,
        },
        false => Preset {
            architecture,
            lrs: vec![0.02],
            batch_sizes: vec![8, 32, 128],
            steps: 100_000,
            init_scale: 0.3,
            every: 1000,
            full_once_in: 2,
            live_every: 500,
            num_batches: 8,
        },
    };
    support::error::report(eoss::run("eoss_cnn", &options, preset))
}
