//! Which noise keeps full-batch sharpness down: SGD against gradient descent with noise of matching size, figure
//! 10 of the paper.
//!
//! The same network is trained from the same weights by SGD, by gradient descent, and by gradient descent with
//! normal noise whose covariance is that of mini-batches (directional), the diagonal of it, or a multiple of the
//! identity with the same trace. What the paper sees: only noise with the directions of mini-batches keeps
//! full-batch sharpness well below 2/η.
//!
//! `cargo run --release --example noisy_gd`, and `-- --help` for the options.

mod alignment;
#[path = "../support/experiment/mod.rs"]
mod experiment;
mod noise;
mod seen;
#[path = "../support/mod.rs"]
mod support;
mod variance;

use std::path::Path;
use std::process::ExitCode;

use burn::tensor::Device;
use burn_sharpness::observe::History;
use clap::Parser;
use serde::Serialize;

use experiment::images::{Architecture, ImageOptions, Images, check_batch_size};
use experiment::run::{Job, Stream};
use experiment::schedule::{Schedule, Stage};
use noise::{Noise, NoisyDescent};
use support::error::{ExampleError, Result};
use support::mlp::{Mlp, loss};

/// Keeps freed memory for the next tensor instead of mapping it anew (docs/speed.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compare SGD with gradient descent under noise of the same size and other shapes.
///
/// Without options this takes under two minutes on 512 of the built-in digits; with --path it is an MLP on
/// CIFAR-10, where every step but those of SGD takes a gradient of all samples: for a GPU.
///
/// Everything random follows from --seed. Measuring does not change the training. A run that was stopped goes on
/// when it is started again.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: ImageOptions,

    /// Which noises, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    #[arg(default_values = ["none", "sampling", "directional", "diagonal", "isotropic"])]
    noise: Vec<Noise>,

    /// Step size η
    #[arg(long, value_name = "ETA", allow_negative_numbers = true)]
    lr: Option<f64>,

    /// Batch size b: of SGD, of the mini-batches that are measured, and the one that the noise is for
    #[arg(long, value_name = "B", default_value_t = 16)]
    batch_size: usize,

    /// Steps of each run
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// Widths of the hidden layers, separated by commas
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',')]
    hidden: Option<Vec<usize>>,

    /// Initial weights are normal with standard deviation SCALE·√(2/inputs), biases zero
    #[arg(long, value_name = "SCALE", default_value_t = 0.2, allow_negative_numbers = true)]
    init_scale: f64,

    /// Measurements of each run
    #[arg(long, value_name = "N")]
    rows: Option<usize>,

    /// Steps between two looks at the variances of diagonal and isotropic noise
    #[arg(long, value_name = "N", default_value_t = 30)]
    refresh: usize,
}

/// Everything that determines a run.
#[derive(Serialize)]
struct Setting<'a> {
    data: &'a str,
    hidden: &'a [usize],
    loss: &'a str,
    init_scale: f64,
    noise: Noise,
    covariance: &'a str,
    /// Steps between computations of the variance; none for noises that need no variance.
    refresh: Option<usize>,
    schedule: &'a Schedule,
    seed: u64,
}

/// A run that came to its end.
pub struct Panel {
    pub noise: Noise,
    pub lr: f64,
    pub history: History,
    pub model: Mlp,
    pub seconds: f64,
}

/// What is the same for all runs.
struct Plan<'a> {
    images: &'a ImageOptions,
    data: &'a Images,
    device: &'a Device,
    hidden: Vec<usize>,
    init_scale: f64,
    schedule: Schedule,
    refresh: usize,
}

fn main() -> ExitCode {
    support::error::report(run(&Options::parse()))
}

impl Options {
    fn stage(&self) -> Stage {
        let quick = self.images.is_quick();
        let lr = self.lr.unwrap_or(if quick { 0.2 } else { 0.01 });
        let steps = self.steps.unwrap_or(if quick { 8_000 } else { 40_000 });
        Stage { steps, lr, batch_size: self.batch_size }
    }

    fn check(&self) -> Result<()> {
        let counts = [
            ("steps", self.steps),
            ("rows", self.rows),
            ("refresh", Some(self.refresh)),
            ("hidden", self.hidden.as_ref().and_then(|widths| widths.iter().min().copied())),
        ];
        for (option, value) in counts {
            if value == Some(0) {
                let (value, expected) = ("0".to_string(), "at least 1");
                return Err(ExampleError::Option { option, value, expected });
            }
        }
        for (option, value) in [("lr", self.stage().lr), ("init-scale", self.init_scale)] {
            if !(value.is_finite() && value > 0.0) {
                let (value, expected) = (value.to_string(), "a number above 0");
                return Err(ExampleError::Option { option, value, expected });
            }
        }
        Ok(())
    }
}

fn run(options: &Options) -> Result<()> {
    options.check()?;
    let quick = options.images.is_quick();
    let images = ImageOptions {
        samples: options.images.samples.or(quick.then_some(512)),
        ..options.images.clone()
    };
    let device = images.device.open()?.autodiff();
    let hidden = options.hidden.clone().unwrap_or(vec![if quick { 64 } else { 512 }; 2]);
    let architecture = Architecture::Mlp { hidden: hidden.clone() };
    let data = images.data(&architecture, &device)?;
    check_batch_size("batch-size", options.batch_size, data.n)?;
    let folder = images.folder("noisy_gd");
    println!("data:    {}", data.description);
    println!("network: {}", architecture.describe());
    let rows = options.rows.unwrap_or(100);
    let plan = Plan {
        images: &images,
        data: &data,
        device: &device,
        hidden,
        init_scale: options.init_scale,
        schedule: Schedule { num_batches: 8, ..Schedule::of(options.stage(), rows) },
        refresh: options.refresh,
    };
    let mut panels = Vec::new();
    for &noise in &options.noise {
        match plan.train(noise, &folder.join(noise.name())) {
            Ok(panel) => panels.push(panel),
            // A result too, and the others are worth having.
            Err(error @ ExampleError::Diverged { .. }) => println!("{error}"),
            Err(error) => return Err(error),
        }
    }
    seen::print_table(&panels);
    let stage = options.stage();
    let title = format!(
        "{}, {}, η = {}, noise of batches of {}",
        data.name(),
        architecture.describe(),
        stage.lr,
        stage.batch_size
    );
    if !panels.is_empty() {
        seen::draw(&panels, title, &folder)?;
    }
    println!("A picture of each run: {}/*/training.svg", folder.display());
    let mut verdicts = seen::verdicts(&panels);
    seen::alignment(&panels, &data.batch, &mut verdicts)?;
    verdicts.finish(&folder)
}

impl Plan<'_> {
    fn train(&self, noise: Noise, path: &Path) -> Result<Panel> {
        let Self { images, data, schedule, refresh, .. } = self;
        let (seed, stage) = (images.seed, schedule.stages[0]);
        let needs_variance = matches!(noise, Noise::Diagonal | Noise::Isotropic);
        let setting = Setting {
            data: &data.description,
            hidden: &self.hidden,
            loss: "mean over samples of the sum of squared errors",
            init_scale: self.init_scale,
            noise,
            covariance: noise.covariance(),
            refresh: needs_variance.then_some(*refresh),
            schedule,
            seed,
        };
        let title = format!(
            "{}, {}, η = {}, noise of batches of {}",
            data.name(),
            noise.describe(),
            stage.lr,
            stage.batch_size
        );
        let ends = [data.image.iter().product(), data.n_classes];
        let widths = [&ends[..1], &self.hidden, &ends[1..]].concat();
        let weights = Stream::Weights.seed(seed);
        let model = Mlp::new(&widths, self.init_scale, weights, self.device);
        let noise_seed = Stream::Noise.seed(seed);
        let mut update = NoisyDescent::new(noise, &model, &data.batch, noise_seed, *refresh);
        let job = Job {
            folder: path,
            title: &title,
            setting: &setting,
            schedule,
            seed,
            device: images.device.name(),
            data: &data.batch,
            loss,
        };
        let done = job.run(model, &mut update)?;
        Ok(Panel {
            noise,
            lr: stage.lr,
            history: done.history,
            model: done.model,
            seconds: done.seconds,
        })
    }
}
