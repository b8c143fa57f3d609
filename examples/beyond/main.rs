//! Beyond the paper: what it leaves open, each part with a figure and verdicts.
//!
//! | part | what is seen |
//! |---|---|
//! | `cross-entropy` | sharpness rises and collapses as the loss saturates: full batches reach 2/η, small ones need not |
//! | `momentum` | batch sharpness with heavy ball, from 2(1−β)/η for small batches to 2(1+β)/η for all samples |
//! | `adam` | λ_max(P⁻¹H) at 38/η with full batches, and lower with small ones |
//! | `transformer` | a small decoder on characters of Shakespeare, trained by plain SGD |
//! | `large-batch` | mini-batch sharpness meets full-batch sharpness as b goes from n/8 to n |
//! | `early` | the first steps from a sharp start (catapult) and from a flat one |
//!
//! `cargo run --release --example beyond` runs all parts on small data in about two minutes,
//! `cargo run --release --example beyond -- momentum` one of them, and `-- --help` lists the options.

mod adam;
mod cross_entropy;
mod early;
#[path = "../support/experiment/mod.rs"]
mod experiment;
mod large_batch;
mod momentum;
mod report;
#[path = "../support/mod.rs"]
mod support;
mod training;
mod transformer;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use experiment::images::ImageOptions;
use experiment::schedule::Stage;
use support::error::{ExampleError, Result};

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What "Edge of Stochastic Stability" leaves open: cross-entropy, momentum, Adam, a transformer, large batches, and
/// the first steps.
///
/// Every part trains small networks, measures them as they train, and says whether what theory expects was seen.
/// Without --path on the built-in digits (the transformer always reads the built-in text). Runs that were stopped go
/// on when they are started again.
#[derive(Parser)]
struct Options {
    /// One part alone
    #[arg(value_enum)]
    part: Option<Part>,

    /// Steps of each run [default: those of the part]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// Step size η of each run [default: those of the part]
    #[arg(long, value_name = "ETA", allow_negative_numbers = true)]
    lr: Option<f64>,

    #[command(flatten)]
    images: ImageOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    CrossEntropy,
    Momentum,
    Adam,
    Transformer,
    LargeBatch,
    Early,
}

impl Part {
    fn run(self, options: &Options) -> Result<()> {
        match self {
            Self::CrossEntropy => cross_entropy::run(options),
            Self::Momentum => momentum::run(options),
            Self::Adam => adam::run(options),
            Self::Transformer => transformer::run(options),
            Self::LargeBatch => large_batch::run(options),
            Self::Early => early::run(options),
        }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        if self.steps == Some(0) {
            let (option, value, expected) = ("steps", "0".to_string(), "at least 1");
            return Err(ExampleError::Option { option, value, expected });
        }
        match self.lr {
            Some(lr) if !(lr.is_finite() && lr > 0.0) => {
                let (option, value, expected) = ("lr", lr.to_string(), "a number above 0");
                Err(ExampleError::Option { option, value, expected })
            }
            _ => Ok(()),
        }
    }

    /// The steps of a part, as far as the options leave them as they are, with no more samples than there are.
    fn applied_to(&self, stage: Stage, n_samples: usize) -> Stage {
        let (steps, lr) = (self.steps.unwrap_or(stage.steps), self.lr.unwrap_or(stage.lr));
        Stage { steps, lr, batch_size: stage.batch_size.min(n_samples) }
    }
}

fn main() -> ExitCode {
    support::error::report(run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    options.check()?;
    if let Some(part) = options.part {
        return part.run(options);
    }
    for part in Part::value_variants() {
        match part.run(options) {
            // A result too, and the other parts are worth having.
            Err(error @ ExampleError::Diverged { .. }) => println!("{error}"),
            result => result?,
        }
        println!();
    }
    Ok(())
}
