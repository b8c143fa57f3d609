//! Whether mini-batch sharpness is that of the Fisher matrix: λ_max of the mini-batch Hessian against λ_max of the
//! mini-batch Gauss-Newton matrix over batch sizes, figure 17 of the paper.
//!
//! For the squared error Σ(f − y)²/b the Gauss-Newton matrix is (2/b)JᵀJ, which has the eigenvalues of twice the
//! tangent kernel JJᵀ/b, and the Hessian is that and (2/b)Σ(f − y)∇²f. What the paper sees: at the top the
//! second part does not matter. Both are measured on the same mini-batches, at the initial weights, while curvature
//! rises, and at the edge of stochastic stability; how far their top eigenvectors agree, too.
//!
//! `cargo run --release --example fisher_overlap`, and `-- --help` for the options.

#[path = "../support/experiment/mod.rs"]
mod experiment;
mod overlap;
mod seen;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use experiment::images::{Architecture, ImageOptions, Images, Network, check_batch_size};
use experiment::run::{Finished, Job, Stream};
use experiment::schedule::{Schedule, Stage};
use experiment::update::{Optimized, Optimizer};
use overlap::{Draws, Moment, Watched, loss};
use support::error::{ExampleError, Result};

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compare the top of the mini-batch Hessian with that of the mini-batch Gauss-Newton matrix.
///
/// Without options this takes under two minutes on the built-in digits; with --path it is the paper's MLP on
/// CIFAR-10.
///
/// Everything random follows from --seed. Measuring does not change the training. A run that was stopped goes on
/// when it is started again.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: ImageOptions,

    /// Step size η
    #[arg(long, value_name = "ETA", allow_negative_numbers = true)]
    lr: Option<f64>,

    /// Batch size of the training
    #[arg(long, value_name = "B")]
    batch_size: Option<usize>,

    /// SGD steps
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// Batch sizes that are measured, separated by commas
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    sizes: Option<Vec<usize>>,

    /// Mini-batches per size, fewer of large ones
    #[arg(long, value_name = "N", default_value_t = 16)]
    num_batches: usize,

    /// Widths of the hidden layers, separated by commas
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',')]
    hidden: Option<Vec<usize>>,

    /// Initial weights are normal with standard deviation SCALE·√(2/inputs), biases zero
    #[arg(long, value_name = "SCALE", default_value_t = 0.2, allow_negative_numbers = true)]
    init_scale: f64,
}

/// Measurements of mini-batch sharpness, which say where the edge is.
const ROWS: usize = 100;

/// The rows at which both matrices are compared: the initial weights, early ones, and five later ones.
const COMPARED: [usize; 8] = [0, 1, 3, 10, 25, 50, 75, ROWS];

/// Everything that determines the run.
#[derive(Serialize)]
struct Setting<'a> {
    data: &'a str,
    architecture: &'a Architecture,
    loss: &'a str,
    init_scale: f64,
    optimizer: Optimizer,
    schedule: &'a Schedule,
    /// Steps at which the matrices are compared.
    compared_at: &'a [usize],
    draws: &'a Draws,
    seed: u64,
}

fn main() -> ExitCode {
    support::error::report(run(&Options::parse()))
}

impl Options {
    fn stage(&self) -> Stage {
        let quick = self.images.is_quick();
        let or =
            |value: Option<usize>, small, large| value.unwrap_or(if quick { small } else { large });
        Stage {
            steps: or(self.steps, 20_000, 60_000),
            lr: self.lr.unwrap_or(if quick { 0.125 } else { 0.01 }),
            batch_size: or(self.batch_size, 8, 16),
        }
    }

    /// Those that are asked for, or else all that the data has.
    fn sizes(&self, n_samples: usize) -> Vec<usize> {
        let all = match self.images.is_quick() {
            true => vec![1, 4, 16, 64, 256, 1024],
            false => vec![1, 4, 16, 64, 256, 1024, 4096],
        };
        let mine = || all.into_iter().filter(|b| *b <= n_samples).collect();
        self.sizes.clone().unwrap_or_else(mine)
    }

    fn check(&self, n_samples: usize) -> Result<()> {
        let counts = [
            // Fewer steps than rows would have rows at the same step.
            ("steps", self.stage().steps, ROWS, "at least 100"),
            ("num-batches", self.num_batches, 1, "at least 1"),
            ("hidden", self.hidden.iter().flatten().min().copied().unwrap_or(1), 1, "at least 1"),
            ("sizes", self.sizes(n_samples).len(), 1, "at least one size"),
        ];
        for (option, value, least, expected) in counts {
            if value < least {
                return Err(ExampleError::Option { option, value: value.to_string(), expected });
            }
        }
        for (option, value) in [("lr", self.stage().lr), ("init-scale", self.init_scale)] {
            if !(value.is_finite() && value > 0.0) {
                let (value, expected) = (value.to_string(), "a number above 0");
                return Err(ExampleError::Option { option, value, expected });
            }
        }
        check_batch_size("batch-size", self.stage().batch_size, n_samples)?;
        self.sizes(n_samples).into_iter().try_for_each(|b| check_batch_size("sizes", b, n_samples))
    }
}

fn run(options: &Options) -> Result<()> {
    let device = options.images.device.open()?.autodiff();
    let hidden = if options.images.is_quick() { 128 } else { 512 };
    let hidden = options.hidden.clone().unwrap_or(vec![hidden; 2]);
    let architecture = Architecture::Mlp { hidden };
    let data = options.images.data(&architecture, &device)?;
    options.check(data.n)?;
    let folder = options.images.folder("fisher_overlap");
    println!("data:    {}", data.description);
    println!("network: {}", architecture.describe());
    let stage = options.stage();
    let (finished, moments) = train(options, stage, &architecture, &data, &folder)?;
    let seen = seen::Seen::new(&finished.history, stage, moments);
    seen.print_table();
    let title = format!(
        "{}, {}, SGD, η = {}, batches of {}",
        data.name(),
        architecture.describe(),
        stage.lr,
        stage.batch_size
    );
    seen.draw(&title, &folder)?;
    println!("Time: {:.0} s", finished.seconds);
    seen.verdicts().finish(&folder)
}

fn train(
    options: &Options,
    stage: Stage,
    architecture: &Architecture,
    data: &Images,
    folder: &Path,
) -> Result<(Finished<Network>, Vec<Moment>)> {
    let images = &options.images;
    let device = images.device.open()?.autodiff();
    let schedule = Schedule { full_every: 0, ..Schedule::of(stage, ROWS) };
    let at = COMPARED.map(|row| if row == ROWS { stage.steps } else { row * schedule.every });
    let draws = Draws {
        batch_sizes: options.sizes(data.n),
        num_batches: options.num_batches,
        seed: Stream::Noise.seed(images.seed),
    };
    let setting = Setting {
        data: &data.description,
        architecture,
        loss: "mean over samples of the sum of squared errors",
        init_scale: options.init_scale,
        optimizer: Optimizer::Sgd,
        schedule: &schedule,
        compared_at: &at,
        draws: &draws,
        seed: images.seed,
    };
    let title = format!("{}, SGD, η = {}, batches of {}", data.name(), stage.lr, stage.batch_size);
    let job = Job {
        folder,
        title: &title,
        setting: &setting,
        schedule: &schedule,
        seed: images.seed,
        device: images.device.name(),
        data: &data.batch,
        loss,
    };
    let mut watched = Watched {
        training: Optimized::new(Optimizer::Sgd, loss),
        draws: draws.clone(),
        at: at.to_vec(),
        file: folder.join("tops.json"),
        moments: Vec::new(),
    };
    let model = architecture.init(data, options.init_scale, images.seed, &device);
    let finished = job.run(model, &mut watched)?;
    watched.read_finished()?;
    Ok((finished, watched.moments))
}
