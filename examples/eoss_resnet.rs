//! The edge of stochastic stability of residual networks: figures 2 and 24 of the paper.
//!
//! `cargo run --release --example eoss_resnet`, and `-- --help` for the options.

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

/// Train a residual network without normalization by plain SGD and watch its sharpness settle at the edge of stochastic stability.
///
/// With --path the paper's network on CIFAR-10: two blocks in each of three stages of 16, 32 and 64 channels, without
/// batch normalization. Without it, a small one on digits. See
/// `eoss_mlp` for what is measured.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    eoss: EossOptions,

    /// Residual blocks of each of the three stages, separated by commas [default: 1,1,1; CIFAR-10: 2,2,2]
    #[arg(long, value_name = "BLOCKS", value_parser = eoss::three_sizes)]
    blocks: Option<[usize; 3]>,

    /// Channels of each stage, separated by commas [default: 8,16,32; CIFAR-10: 16,32,64]
    #[arg(long, value_name = "WIDTHS", value_parser = eoss::three_sizes)]
    widths: Option<[usize; 3]>,
}

fn main() -> ExitCode {
    let Options { eoss: options, blocks, widths } = Options::parse();
    let quick = options.images.is_quick();
    let architecture = Architecture::ResNet {
        blocks: blocks.unwrap_or(if quick { [1; 3] } else { [2; 3] }),
        widths: widths.unwrap_or(if quick { [8, 16, 32] } else { [16, 32, 64] }),
    };
    let preset = match quick {
        true => Preset {
            architecture,
            lrs: vec![0.1],
            batch_sizes: vec![8, 32],
            steps: 1500,
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
            init_scale: 0.2,
            every: 1000,
            full_once_in: 2,
            live_every: 500,
            num_batches: 8,
        },
    };
    support::error::report(eoss::run("eoss_resnet", &options, preset))
}
